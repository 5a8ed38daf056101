"""Own weights in the panel: chosen under Advanced, used by the next run, kept in the scene."""

from __future__ import annotations

from dataclasses import replace

import pytest
from panel_support import finish, segment, segmentations, slicer
from quick_model import quick_model

from TernarySegmentLib.engine import modelfile
from TernarySegmentLib.pipeline import load_model
from TernarySegmentLib.slicer_ui.mrml import statistics


@pytest.fixture
def own(tmp_path):
    """The quick weights under another name: another check sum, the same masks. Gives path and check sum."""
    path = tmp_path / "own weights.npz"
    digest = modelfile.save(replace(load_model(quick_model()), provenance={"name": "own"}), path)
    return path, digest[:12]


def test_a_chosen_model_file_is_used_and_an_empty_field_goes_back(host, ready, own):
    widget, _volume = ready
    path, digest = own
    widget.ui.modelPathEdit.setCurrentPath(str(path))
    assert statistics.kept(segment(host, widget)).model == digest
    widget.ui.modelPathEdit.setCurrentPath("")
    assert statistics.kept(segment(host, widget)).model == load_model().sha256[:12]


def test_a_file_that_is_no_model_is_refused_with_a_sentence_and_the_scene_left_alone(host, ready, tmp_path):
    widget, _volume = ready
    path = tmp_path / "notes.npz"
    path.write_text("not a model")
    widget.ui.modelPathEdit.setCurrentPath(str(path))
    before = segmentations()
    host.click(widget.ui.segmentButton)
    finish(host, widget)
    assert "is not a TernarySegment model; choose a .npz file" in widget.ui.statusLabel.text
    assert segmentations() == before


def test_a_scene_keeps_the_choice(host, ready, own, tmp_path):
    widget, _volume = ready
    widget.ui.modelPathEdit.setCurrentPath(str(own[0]))
    slicer.util.saveScene(str(tmp_path / "scene.mrml"))
    host.clear()
    widget.panel.open()
    assert widget.ui.modelPathEdit.currentPath == ""
    slicer.util.loadScene(str(tmp_path / "scene.mrml"))
    widget.panel.open()
    assert widget.ui.modelPathEdit.currentPath == str(own[0])
    host.clear()  # VTK complains, at each drawing, of the voxels, which a .mrml alone does not bring
    host.log.clear()


def test_a_model_file_that_was_written_anew_is_read_anew(own):
    path, digest = own
    assert load_model(path).sha256[:12] == digest
    modelfile.save(replace(load_model(quick_model()), provenance={"name": "a second training"}), path)
    assert load_model(path).sha256[:12] != digest
