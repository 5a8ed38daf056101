"""Where real CTs for tests are found, and the module's panel in the test host; what is missing makes tests skip."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from inspect import ismodule
from pathlib import Path

import pytest
from case_counts import pytest_collection_modifyitems, pytest_runtest_makereport, pytest_terminal_summary  # noqa: F401


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real CTs: TERNARYSEGMENT_DATA, or ../shared/data beside the checkout."""
    root = Path(__file__).resolve().parents[2]
    folder = Path(os.environ.get("TERNARYSEGMENT_DATA", root.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real CTs in {folder}; set TERNARYSEGMENT_DATA to the folder that holds them")
    return folder


@pytest.fixture(scope="module")
def host():
    """The test host, one per process."""
    pytest.importorskip("panel_support", reason="needs the test host's packages: pip install -e .[host]")
    from host import Host

    return Host.shared()


@pytest.fixture(scope="module")
def library_as_imported():
    """Give the tests that follow the library they imported: Reload drops it, and a second copy has other classes."""
    before = {name: each for name, each in sys.modules.items() if name.split(".")[0] == "TernarySegmentLib"}
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "TernarySegmentLib"]:
        del sys.modules[name]
    sys.modules.update(before)
    for package in before.values():  # "from package import module" takes what it finds there, imported or not
        for name, each in list(vars(package).items()):
            if ismodule(each) and each.__name__ == f"{package.__name__}.{name}" and each.__name__ not in before:
                delattr(package, name)


@pytest.fixture(scope="module")
def module(host, library_as_imported):
    """The module's widget, loaded once per file of tests."""
    import slicer
    from panel_support import MODULE

    widget = host.load_module(MODULE)
    yield widget
    widget = slicer.modules.TernarySegmentWidget  # another one after Reload
    widget.cleanup()
    host.panel_of(widget).window().hide()


@pytest.fixture
def widget(host, module):
    """The panel on an empty scene."""
    host.clear()
    yield module
    if module.panel is not None:
        module.panel.job.cancel()
        host.process_events(until=lambda: not module.panel.job.running, timeout=20)
    assert host.errors == []
    assert host.log == []


@pytest.fixture
def ready(host, widget, request):
    """The panel with the phantom shown and looked at, to be segmented by the quick model unless time is measured."""
    from panel_support import add_phantom
    from quick_model import quick_model

    volume = add_phantom()
    widget.panel.open()
    if request.node.get_closest_marker("clock") is None:
        widget.panel.parameters.model = str(quick_model())
    assert host.process_events(until=lambda: widget.ui.segmentButton.enabled, timeout=20), widget.ui.summaryLabel.text
    return widget, volume


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder in which this process has no more rights than an ordinary user."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield folder
    finally:
        if root:
            os.seteuid(0)
        shutil.rmtree(folder, ignore_errors=True)
