"""Full disks, failing disks, limits and kills while a file is written: the old file or the new one, never a part."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from case_counts import CASES

from TernarySegmentLib.errors import OutputError
from TernarySegmentLib.imaging.files.atomic import atomic_path, write_bytes
from TernarySegmentLib.imaging.files.outputs import check_outputs
from TernarySegmentLib.imaging.files.reading import read_ct
from TernarySegmentLib.imaging.files.writing import SUFFIXES, check_grid, write_image, write_mask

from test_imaging_reading import OBLIQUE, ct_image, write_dicom  # isort: skip

HERE = Path(__file__).parent
SHEARED = np.array(OBLIQUE).reshape(3, 3) @ [[1, 0, 0], [0, 1, np.sin(0.3)], [0, 0, np.cos(0.3)]]


@pytest.fixture(scope="module")
def shim(tmp_path_factory) -> Path:
    """The library that makes single operations on files fail, compiled."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs Linux and a C compiler")
    library = tmp_path_factory.mktemp("shim") / "shim.so"
    source = HERE / "faults" / "shim.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


def test_a_fault_at_any_operation_of_any_writer_leaves_the_old_file_or_the_whole_new_one(
    shim, tmp_path, record_property
):
    command = [sys.executable, str(HERE / "faults" / "write_with_faults.py"), str(tmp_path), "0", "100", "4096"]
    done = subprocess.run(
        command, env={**os.environ, "LD_PRELOAD": str(shim)}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout)
    assert result["defects"] == []
    record_property(CASES, sum(result["counts"].values()))
    assert all(count > 30 for count in result["counts"].values())


def test_a_full_file_system_leaves_the_old_file(tmp_path):
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(tmp_path)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("needs the right to mount a file system in memory")
    try:
        noise = sitk.GetImageFromArray(np.random.default_rng(0).integers(0, 9999, (30, 80, 80)).astype(np.int16))
        for suffix in SUFFIXES[1:]:
            path = tmp_path / f"image{suffix}"
            path.write_text("old")
            with pytest.raises(OutputError, match="cannot be written"):
                write_image(noise, path)
            assert path.read_text() == "old"
            assert os.listdir(tmp_path) == [path.name]
            path.unlink()
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


KILLED = """
import sys, numpy as np, SimpleITK as sitk
from TernarySegmentLib.imaging.files.writing import write_image
images = [sitk.GetImageFromArray(np.full((40, 200, 200), value, np.int16)) for value in (1, 2)]
print("ready", flush=True)
while True:
    for image in images:
        write_image(image, sys.argv[1])
"""


def test_a_process_killed_at_thirty_points_leaves_a_whole_file(tmp_path, record_property):
    record_property(CASES, 30)
    found = []
    for point in range(30):
        path = tmp_path / f"image{SUFFIXES[1 + point % 4]}"
        write_image(sitk.GetImageFromArray(np.zeros((40, 200, 200), np.int16)), path)
        child = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(0.013 * point)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        values = np.unique(sitk.GetArrayFromImage(read_ct(path)))
        assert len(values) == 1
        found.append(int(values[0]))
        # what a killed process cannot take away is hidden and says whose it is
        assert all(name.startswith(".ternarysegment-") for name in os.listdir(tmp_path) if name != path.name)
        for name in os.listdir(tmp_path):
            (tmp_path / name).unlink()
    assert len(found) == 30


# --- places -----------------------------------------------------------------------------------------------------------


def test_a_link_stays_a_link_and_its_target_gets_the_file(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link.json").symlink_to(tmp_path / "real" / "target.json")
    write_bytes(tmp_path / "link.json", b"new")
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "real" / "target.json").read_bytes() == b"new"


def test_rights_of_a_replaced_file_are_kept(tmp_path):
    (tmp_path / "report.json").write_text("old")
    (tmp_path / "report.json").chmod(0o640)
    write_bytes(tmp_path / "report.json", b"new")
    assert (tmp_path / "report.json").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("name", ["x" * 250 + ".json", "größer ü.json", "a b'c\".json", "M\udcfcller.json"])
def test_long_and_odd_names_are_written(tmp_path, name):
    write_bytes(tmp_path / name, b"new")
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("special", ["pipe", "null"])
def test_pipes_and_devices_are_not_replaced(tmp_path, special):
    path = tmp_path / "pipe" if special == "pipe" else Path("/dev/null")
    if special == "pipe":
        os.mkfifo(path)
    before = path.stat().st_ino
    with pytest.raises(OutputError, match="pipe or device"):
        write_bytes(path, b"x")
    with pytest.raises(OutputError, match="pipe or device"):
        check_outputs({"--report": path})
    assert path.stat().st_ino == before


def test_a_check_that_fails_keeps_the_old_file(tmp_path):
    def refuse(written: Path) -> None:
        raise OSError("not what was written")

    (tmp_path / "x").write_text("old")
    with pytest.raises(OutputError, match="not what was written"), atomic_path(tmp_path / "x", refuse) as temporary:
        temporary.write_text("new")
    assert (tmp_path / "x").read_text() == "old"
    assert os.listdir(tmp_path) == ["x"]


def test_files_are_flushed_as_windows_wants_it(tmp_path, monkeypatch):
    """There, a file that was opened for reading cannot be flushed."""
    fcntl = pytest.importorskip("fcntl", reason="how a file was opened cannot be asked here")
    flush, flushed = os.fsync, []

    def windows(descriptor: int) -> None:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
                raise OSError(errno.EBADF, "Bad file descriptor")
            flushed.append(descriptor)
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", windows)
    write_bytes(tmp_path / "x", b"new")
    assert (tmp_path / "x").read_bytes() == b"new"
    assert len(flushed) == 1


# --- sheared grids ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_sheared_grid_is_kept_or_refused_naming_formats_that_keep_it(tmp_path, suffix):
    mask = sitk.Cast(ct_image(direction=SHEARED.ravel()) > 0, sitk.sitkUInt8)
    path = tmp_path / f"mask{suffix}"
    if suffix in (".nii", ".nii.gz"):
        for act in (lambda: write_mask(mask, path), lambda: check_grid(mask, path)):
            with pytest.raises(OutputError, match=r"choose \.seg\.nrrd, \.nrrd or \.mha"):
                act()
        assert not path.exists()
        return
    write_mask(mask, path)
    read = sitk.ReadImage(str(path))
    for corner in np.ndindex(2, 2, 2):
        index = [far * (n - 1) for far, n in zip(corner, mask.GetSize(), strict=True)]
        places = (image.TransformIndexToPhysicalPoint(index) for image in (read, mask))
        np.testing.assert_allclose(*places, atol=0.01)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_axes_rounded_in_a_header_are_written_in_every_format(tmp_path, suffix):
    axes = np.array(OBLIQUE).reshape(3, 3).round(3)
    mask = sitk.Cast(ct_image(direction=axes.ravel()) > 0, sitk.sitkUInt8)
    mask.SetSpacing((8.0, 8.0, 15.0))  # some 400 mm, over which the rounding makes 0.3 mm
    assert np.abs(axes.T @ axes - np.eye(3)).max() > 1e-4
    write_mask(mask, tmp_path / f"mask{suffix}")


# --- outputs that meet inputs or each other ---------------------------------------------------------------------------


def refused(outputs: dict[str, Path], inputs: list[Path]) -> str:
    with pytest.raises(OutputError) as caught:
        check_outputs(outputs, inputs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("way", ["same", "dots", "link", "hard link", "linked folder", "capitals of nothing"])
def test_an_output_may_not_be_an_input_by_any_name(tmp_path, way):
    ct = tmp_path / "ct.nrrd"
    sitk.WriteImage(ct_image(), str(ct))
    path = tmp_path / "other.nrrd"
    if way == "same":
        path = ct
    elif way == "dots":
        path = tmp_path / "sub" / ".." / "ct.nrrd"
        (tmp_path / "sub").mkdir()
    elif way == "link":
        path.symlink_to(ct)
    elif way == "hard link":
        os.link(ct, path)
    elif way == "linked folder":
        (tmp_path / "folder").symlink_to(tmp_path)
        path = tmp_path / "folder" / "ct.nrrd"
    else:
        check_outputs({"--output": path}, [ct])
        return
    assert "would overwrite the input" in refused({"--report": path}, [ct])


@pytest.mark.parametrize("suffix", [".mhd", ".nhdr"])
def test_the_voxels_beside_a_header_are_an_input_too(tmp_path, suffix):
    sitk.WriteImage(ct_image(), str(tmp_path / f"ct{suffix}"))
    for file in tmp_path.iterdir():
        assert "would overwrite" in refused({"--report": file}, [tmp_path / f"ct{suffix}"])


def test_no_slice_of_the_input_folder_is_overwritten_but_an_old_result_is(tmp_path):
    write_dicom(tmp_path / "ct" / "deep", ct_image())
    one = tmp_path / "ct" / "deep" / "3.dcm"
    (tmp_path / "link.dcm").symlink_to(one)
    for path in (one, tmp_path / "link.dcm"):
        for source in (tmp_path / "ct", one.with_name("5.dcm")):
            assert "would overwrite" in refused({"--output": path}, [source])
    result = tmp_path / "ct" / "mask.seg.nrrd"
    write_mask(ct_image() > 0, result)
    check_outputs({"--output": result}, [tmp_path / "ct"])


@pytest.mark.parametrize("second", ["a.nrrd", "./a.nrrd", "sub/../a.nrrd", "link.nrrd"])
def test_two_outputs_of_one_name_are_refused(tmp_path, second, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "link.nrrd").symlink_to("a.nrrd")
    text = refused({"--output": Path("a.nrrd"), "--report": None, "--confidence": Path(second)}, [])
    assert "--output" in text
    assert "--confidence" in text
    check_outputs({"--output": Path("a.nrrd"), "--confidence": Path("sub/a.nrrd")})


def test_places_without_rights_or_under_a_file_are_refused_before_computing(unprivileged):
    (unprivileged / "shut").mkdir()
    (unprivileged / "shut").chmod(0o500)
    (unprivileged / "file").write_text("x")
    assert "no right to write" in refused({"--output": unprivileged / "shut" / "new" / "m.nrrd"}, [])
    assert "is a file" in refused({"--output": unprivileged / "file" / "m.nrrd"}, [])
    assert "is a folder" in refused({"--output": unprivileged / "shut"}, [])
    assert "lies in a folder named as" in refused(
        {"--output": unprivileged / "m.nrrd", "--report": unprivileged / "m.nrrd" / "r.json"}, []
    )
