"""Load the module from an installed tree in the test host: segment_installed.py FOLDER [--read-only] [--check WHAT]

FOLDER is the qt-scripted-modules folder of an unpacked package. Ends with an error when any part of the program came
from elsewhere, when a file was left in the tree, or when the check fails.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "SlicerHost"))

from host import Host  # noqa: E402

WAIT_S = 300


def segment(host: Host, widget: object) -> None:
    """Press the button on the synthetic abdomen and look at what comes."""
    import slicer

    from TernarySegmentLib.slicer_ui.mrml.segmentation import SEGMENT_ID
    from TernarySegmentLib.slicer_ui.sample import add_phantom

    ui = widget.ui  # type: ignore[attr-defined]
    volume = add_phantom()
    widget.enter()  # type: ignore[attr-defined]
    wait(host, lambda: ui.segmentButton.enabled)
    host.click(ui.segmentButton)
    wait(host, lambda: ui.segmentButton.enabled)
    node = host.scene.mrml.GetFirstNodeByName(f"{volume.GetName()} pancreas")
    assert node is not None, f"no segmentation node; the panel says: {ui.statusLabel.text}"
    voxels = slicer.util.arrayFromSegmentBinaryLabelmap(node, SEGMENT_ID, volume).sum()
    millilitres = voxels * 1.5 * 1.5 * 3.0 / 1000
    assert millilitres > 20, f"only {millilitres:.1f} mL of pancreas in the synthetic abdomen"
    print(f"segmented {millilitres:.1f} mL")


def wait(host: Host, until: object) -> None:
    assert host.process_events(until, timeout=WAIT_S), f"the panel did not get there within {WAIT_S} s"  # type: ignore[arg-type]


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--read-only", action="store_true", help="fail unless the folder refuses to be written to")
    parser.add_argument("--check", choices=["load", "self-test", "segment"], default="segment")
    arguments = parser.parse_args()
    folder, before = arguments.folder.resolve(), files(arguments.folder)
    if arguments.read_only:
        try:
            tempfile.TemporaryFile(dir=folder / "TernarySegmentLib").close()
        except OSError:
            pass
        else:
            raise SystemExit(f"{folder} can be written to; this run would prove nothing")
    host = Host()
    widget = host.load_module(folder / "TernarySegment.py")
    if arguments.check == "segment":
        segment(host, widget)
    elif arguments.check == "self-test":
        sys.modules["TernarySegment"].TernarySegmentTest().runTest()
    assert not host.errors, host.errors
    ours = {name: module for name, module in sys.modules.items() if name.split(".")[0].startswith("TernarySegment")}
    astray = [name for name, module in ours.items() if not Path(module.__file__ or "").is_relative_to(folder)]
    assert not astray, f"not from the installed tree: {astray}"
    print(f"{len(ours)} modules, all from {folder}")
    host.close()
    assert files(folder) == before, f"left behind: {sorted(set(files(folder)) - set(before))}"


if __name__ == "__main__":
    main()
