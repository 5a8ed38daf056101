"""Similar cases in the test host: the nearest cases of a chosen index, with pictures where it holds some."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from panel_support import segment, slicer
from test_module_batch import coarse

from TernarySegmentLib.cohort.codes import code_channels, describe
from TernarySegmentLib.cohort.index import Entry, Index, write_index
from TernarySegmentLib.engine.network import drain
from TernarySegmentLib.imaging.files.atomic import write_bytes
from TernarySegmentLib.phantom import make_phantom
from TernarySegmentLib.pipeline import load_model


@functools.cache
def described(seed: int):
    return drain(describe(make_phantom(seed, (3.0, 3.0, 5.0)).ct))


def index_file(folder: Path, thumbnails: bool = True) -> Path:
    """Three cases: this phantom, and two that are far from it."""
    own = described(0)
    picture = own.thumbnail if thumbnails else ""
    model = load_model()
    noise = np.random.default_rng(0).uniform(-1, 1, (2, code_channels(model))).astype(np.float32)
    scans = [(Entry("far/Müller.nrrd", "1"), noise[0]), (Entry("near.nrrd", "2"), own.means),
             (Entry("far/2.nrrd", "3"), noise[1])]  # fmt: skip
    index = Index.empty(model.sha256, code_channels(model)).with_scans(
        (entry, type(own)(means, own.volume_ml, own.mean_hu, own.fat_fraction, picture)) for entry, means in scans
    )
    write_index(index, folder / "archive.npz")
    return folder / "archive.npz"


@pytest.fixture
def segmented(host, widget):
    values, matrix = coarse(0)
    volume = slicer.util.addVolumeFromArray(values, ijkToRAS=matrix, name="scan")
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    widget.panel.open()
    assert host.process_events(until=lambda: widget.ui.segmentButton.enabled, timeout=20)
    segment(host, widget)
    widget.ui.similarButton.collapsed = False
    return widget


def find(host, widget, path: Path) -> list[list[str]]:
    widget.ui.indexPathEdit.currentPath = str(path)
    host.click(widget.ui.similarRunButton)
    assert host.process_events(until=lambda: not widget.panel.background.busy("similar"), timeout=120)
    table = widget.ui.similarTable
    return [[table.item(row, column).text() for column in range(6)] for row in range(table.rowCount)]


def test_the_nearest_case_is_listed_first_with_its_picture_and_measures(host, segmented, tmp_path):
    rows = find(host, segmented, index_file(tmp_path))
    facts = described(0)
    assert len(rows) == 3
    assert rows[0] == [
        "", "100 %", "near.nrrd", f"{facts.volume_ml:.0f}", f"{facts.mean_hu:.0f}", f"{100 * facts.fat_fraction:.0f} %",
    ]  # fmt: skip
    table = segmented.ui.similarTable
    picture = host.panel_of(table).item(0, 0).icon().pixmap(80, 60).toImage()
    assert (picture.width(), picture.height()) == (80, 60)
    assert len({picture.pixel(x, y) for x in range(0, 80, 4) for y in range(0, 60, 4)}) > 10


def test_an_index_without_pictures_is_listed_and_says_so(host, segmented, tmp_path):
    assert len(find(host, segmented, index_file(tmp_path, thumbnails=False))) == 3
    assert "holds no pictures" in segmented.ui.similarLabel.text


@pytest.mark.parametrize(
    ("content", "says"), [(None, "There is no index"), (b"text", "is no index"), ("model", "made with the model")]
)
def test_what_is_no_index_of_this_model_is_refused_in_a_sentence(host, segmented, tmp_path, content, says):
    path = tmp_path / "index.npz"
    if content == "model":
        write_index(Index.empty("0" * 64, 96), path)
    elif content is not None:
        write_bytes(path, content)
    assert find(host, segmented, path) == []
    assert says in segmented.ui.statusLabel.text
    assert segmented.ui.similarRunButton.enabled


def test_an_emptied_mask_is_refused_and_another_scene_forgets_the_list(host, segmented, tmp_path):
    path = index_file(tmp_path)
    assert find(host, segmented, path)
    node = segmented.panel.parameters.result
    volume = segmented.panel.parameters.volume
    empty = sitk.GetArrayFromImage(sitk.Image(volume.GetImageData().GetDimensions(), sitk.sitkUInt8))
    slicer.util.updateSegmentBinaryLabelmapFromArray(empty, node, "pancreas", volume)
    assert find(host, segmented, path) == []
    assert "The mask is empty" in segmented.ui.statusLabel.text
    slicer.mrmlScene.Clear()
    host.process_events()
    assert segmented.ui.similarTable.rowCount == 0
    assert not segmented.ui.similarRunButton.enabled
