"""Open the module's panel with four views in a window: python Testing/SlicerHost/panel.py [--ct PATH]"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from host import Host
from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import QFileDialog, QScrollArea, QSplitter

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "TernarySegment" / "TernarySegment.py"


def open_window(host: Host, module: Path = MODULE) -> QSplitter:
    """The panel at the left, the views at the right, as in Slicer."""
    widget = host.load_module(module)
    scroll = QScrollArea()
    scroll.setWidgetResizable(True)
    scroll.setWidget(host.panel_of(widget))
    scroll.setMinimumWidth(440)
    window = QSplitter(Qt.Orientation.Horizontal)
    window.setWindowTitle("Pancreas Segmentation – test host")
    window.addWidget(scroll)
    window.addWidget(host.four_up())
    window.setStretchFactor(1, 1)
    window.resize(1400, 900)
    window.module_widget = widget
    return window


def ask_for_file(host: Host) -> bool:
    """Stands for Slicer's Add Data dialogs."""
    path, _ = QFileDialog.getOpenFileName(None, "Load", "", "Images (*.nrrd *.nii *.nii.gz *.mha *.mhd);;All files (*)")
    return bool(path) and host.load_volume(path) is not None


def load_series(host: Host, folder: Path) -> Any:
    """Stands for the DICOM module: a folder's series as a volume, shown in the views."""
    import SimpleITK as sitk
    import slicer

    from TernarySegmentLib.imaging.files.reading import read_ct
    from TernarySegmentLib.slicer_ui.mrml.volumes import to_ras_of

    ct = read_ct(folder)
    node = slicer.util.addVolumeFromArray(sitk.GetArrayFromImage(ct), ijkToRAS=to_ras_of(ct), name=folder.name)
    host.show_volume(node)
    return node


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--ct", type=Path, help="a CT to load: NIfTI, NRRD or DICOM folder; without it a synthetic abdomen is shown"
    )
    parser.add_argument("--seconds", type=float, help="close after this many seconds")
    arguments = parser.parse_args()
    host = Host(interactive=True)
    host.io.on_dialog = lambda _name: ask_for_file(host)
    window = open_window(host)
    window.show()
    host.process_events()
    if arguments.ct is not None and arguments.ct.is_dir():
        load_series(host, arguments.ct)
    elif arguments.ct is not None:
        host.load_volume(arguments.ct)
    else:
        from TernarySegmentLib.slicer_ui.sample import add_phantom

        add_phantom()
    window.module_widget.enter()
    if arguments.seconds is not None:
        QTimer.singleShot(int(arguments.seconds * 1000), window.close)
    host.qt_app.exec()
    host.close()


if __name__ == "__main__":
    main()
