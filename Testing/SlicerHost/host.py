"""One `Host` per process: the scene, slicer.app, qt and ctk, and a scripted module loaded as Slicer loads it."""

from __future__ import annotations

import atexit
import ctypes
import importlib.util
import logging
import os
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_LOGGING_RULES", "qt.qpa.*=false")
if sys.platform.startswith("linux") and not os.environ.get("DISPLAY") and not os.environ.get("WAYLAND_DISPLAY"):
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
sys.path.insert(0, str(Path(__file__).parent))

import libraries  # noqa: F401  first: names what is missing before Qt aborts

# isort: split
import application
import applog
import dicom
import parameters
import pythonqt
import sampledata
import scripted
import slicer
import slicer.util
import slicer_packaging
import uiloader
import widgets
from PySide6.QtCore import QPoint, QSettings, Qt, qInstallMessageHandler
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QFileDialog, QMessageBox, QVBoxLayout, QWidget
from scene import Scene
from views import FourUp

_MESSAGES = ("infoDisplay", "warningDisplay", "errorDisplay", "delayDisplay", "messageBox")
_QUESTIONS = ("confirmOkCancelDisplay", "confirmYesNoDisplay", "confirmRetryCloseDisplay")


class qSlicerScriptedLoadableModuleWidget(widgets.qMRMLWidget):
    """The widget that Slicer lends to a scripted module's panel."""

    HIDDEN = ("host", "module_name")

    def reload(self) -> None:
        """Make the Python half again from the module's present source; slicer.util.reloadScriptedModule calls it.

        As in Slicer the new one is set up, but not told that it is on the screen.
        """
        self.host._instantiate(self.module_name)


class FileDialog:
    """qt.QFileDialog's static functions: the next of `Host.paths`, as if the person had chosen it; a plain str, as in
    PythonQt."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def getSaveFileName(self, parent: Any = None, caption: str = "", folder: str = "", kinds: str = "") -> str:
        return self._answer(caption, lambda: QFileDialog.getSaveFileName(None, caption, folder, kinds)[0])

    def getOpenFileName(self, parent: Any = None, caption: str = "", folder: str = "", kinds: str = "") -> str:
        return self._answer(caption, lambda: QFileDialog.getOpenFileName(None, caption, folder, kinds)[0])

    def getExistingDirectory(self, parent: Any = None, caption: str = "", folder: str = "") -> str:
        return self._answer(caption, lambda: QFileDialog.getExistingDirectory(None, caption, folder))

    def _answer(self, caption: str, ask: Callable[[], str]) -> str:
        self._host.dialogs.append(caption)
        if self._host.interactive:
            return ask()
        return str(self._host.paths.pop(0)) if self._host.paths else ""


class Host:
    """Everything a scripted module expects around it.

    Args:
        interactive: show message boxes to a person instead of recording them.
    """

    _one: Host | None = None

    def __init__(self, interactive: bool = False) -> None:
        if Host._one is not None:
            raise RuntimeError("there is one Host per process; use Host.shared()")
        Host._one = self
        self.interactive = interactive
        self.messages: list[tuple[str, str]] = []
        self.answers: list[bool] = []
        self.paths: list[str | Path] = []
        self.errors = pythonqt.errors
        self.log = applog.lines
        self.home = application.make_home()
        QSettings.setDefaultFormat(QSettings.Format.IniFormat)
        QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, str(self.home))
        _keep_singletons()
        qInstallMessageHandler(_qt_message)
        self.qt_app = application.qSlicerApplication(["Slicer"])
        self.qt_app.setApplicationName("Slicer")
        self.qt_app.setOrganizationName("slicerhost")
        self.qt_app.setApplicationVersion("{}.{}.0".format(*application.VERSION))
        self.qt_app.setQuitOnLastWindowClosed(interactive)
        self.scene = Scene(self.home / "tmp")
        applog.watch_vtk()
        self.qt_app.prepare(self.scene, self.home)
        self._install_modules()
        self._install_slicer()
        self._four_up: FourUp | None = None
        self.closed = False
        atexit.register(self.close)

    @classmethod
    def shared(cls) -> Host:
        """The process's host, made when first asked for."""
        return cls._one or cls()

    # -- what `import` finds
    def _install_modules(self) -> None:
        qt = pythonqt.QtModule("qt")
        pythonqt._extra["QFileDialog"] = FileDialog(self)
        pythonqt._extra["QUiLoader"] = pythonqt.wrapper_class(uiloader.HostUiLoader)
        sys.modules["qt"] = qt
        sys.modules["ctk"] = pythonqt.make_module("ctk", widgets.CTK)
        i18n = types.ModuleType("slicer.i18n")
        i18n.tr = lambda text: text  # type: ignore[attr-defined]
        i18n.translate = lambda _context, text: text  # type: ignore[attr-defined]
        for name, module in (
            ("ScriptedLoadableModule", scripted),
            ("parameterNodeWrapper", parameters),
            ("i18n", i18n),
        ):
            sys.modules[f"slicer.{name}"] = module
            setattr(slicer, name, module)
        sys.modules["SampleData"] = sampledata
        self.samples = sampledata.files
        self.pip_calls = slicer_packaging.calls
        self.set_packaging(True)

    def set_packaging(self, present: bool) -> None:
        """Whether slicer.packaging exists, as from Slicer 5.12 on, or not, as in 5.10."""
        if present:
            sys.modules["slicer.packaging"] = slicer_packaging
            slicer.packaging = slicer_packaging
            slicer.util.pip_install = slicer_packaging.pip_install
            slicer.util.pip_uninstall = slicer_packaging.pip_uninstall
        else:
            sys.modules["slicer.packaging"] = None  # type: ignore[assignment]
            vars(slicer).pop("packaging", None)
            slicer.util.pip_install = slicer_packaging.pip_install_5_10
            slicer.util.pip_uninstall = slicer_packaging.pip_uninstall_5_10

    def _install_slicer(self) -> None:
        slicer.app = pythonqt.wrap(self.qt_app)
        for name, qt_class in (
            uiloader.MRML
            | {
                "qSlicerApplication": application.qSlicerApplication,
                "qMRMLSliceWidget": application.qMRMLSliceWidget,
                "qMRMLThreeDWidget": application.qMRMLThreeDWidget,
            }
        ).items():
            setattr(slicer, name, pythonqt.wrapper_class(qt_class))
        slicer.modules = application.ModuleFactory()
        for name, logic in self.scene.logics.items():
            setattr(slicer.modules, name, application.LogicModule(name, logic))
        for name in _MESSAGES:
            setattr(slicer.util, name, self._recorder(name))
        self._dicom = dicom.ctkDICOMDatabase()
        slicer.dicomDatabase = pythonqt.wrap(self._dicom)
        self.io = self.qt_app.ioManager()
        self.dialogs = self.io.dialogs
        slicer.util.selectModule = lambda module: self.dialogs.append(f"selectModule {module}")
        for name in _QUESTIONS:
            setattr(slicer.util, name, self._recorder(name, asks=True))

    def _recorder(self, name: str, asks: bool = False) -> Callable:
        def display(text: str, *args: Any, **kwargs: Any) -> Any:
            if not isinstance(text, str):
                raise ValueError(f"slicer.util.{name} shows text, not {text!r}")
            self.messages.append((name, text))
            if name == "delayDisplay":
                self.qt_app.processEvents()
            if self.interactive and name != "delayDisplay":
                buttons = QMessageBox.StandardButton
                chosen = QMessageBox.question(None, "Slicer", text) if asks else QMessageBox.information(None, "", text)
                return chosen == buttons.Yes if asks else None
            if asks:
                return self.answers.pop(0) if self.answers else True
            logging.getLogger("slicerhost").info("%s: %s", name, text)
            return int(QMessageBox.StandardButton.Ok.value) if name == "messageBox" else None

        return display

    def import_dicom(self, folder: Path) -> list[str]:
        """Add a folder to the DICOM database; returns the instances, as the attribute of a volume names them."""
        found = dicom.index(folder)
        self._dicom.files.update(found)
        return list(found)

    # -- the module
    def load_module(self, path: str | Path) -> Any:
        """Import the module file, make its module and widget as Slicer does; returns the module's widget."""
        path = Path(path).resolve()
        name = path.stem
        if str(path.parent) not in sys.path:
            sys.path.insert(0, str(path.parent))
        _import(name, path)
        cpp_module = application.qSlicerScriptedLoadableModule(path)
        module = pythonqt.wrap(cpp_module)
        setattr(slicer.modules, name.lower(), module)
        setattr(slicer.modules, f"{name}Instance", getattr(sys.modules[name], name)(module))
        self.qt_app.startupCompleted.emit()
        panel = qSlicerScriptedLoadableModuleWidget()
        panel.host, panel.module_name = self, name
        panel.setObjectName(f"{name}ModuleWidget")
        QVBoxLayout(panel)
        panel.setMRMLScene(self.scene.mrml)
        cpp_module.representation = panel
        widget = self._instantiate(name)
        getattr(widget, "enter", lambda: None)()  # a module need not have it; its base class does not
        return widget

    def _instantiate(self, name: str) -> Any:
        panel = pythonqt.unwrap(getattr(slicer.modules, name.lower())).representation
        widget = getattr(sys.modules[name], f"{name}Widget")(pythonqt.wrap(panel))
        setattr(slicer.modules, f"{name}Widget", widget)
        widget.setup()
        return widget

    def panel_of(self, widget: Any) -> QWidget:
        """The PySide6 widget behind a module widget or a proxy."""
        return pythonqt.unwrap(
            getattr(widget, "parent", widget) if not isinstance(widget, pythonqt.Wrapped) else widget
        )

    # -- the person in front of it
    def process_events(self, until: Callable[[], Any] | None = None, timeout: float = 0.05) -> bool:
        """Run the event loop until `until()` is true or `timeout` seconds have passed; says whether it came true."""
        end = time.monotonic() + timeout
        while True:
            self.qt_app.processEvents()
            if until is not None and until():
                return True
            if time.monotonic() > end:
                return until is None
            time.sleep(0.002)

    def click(self, widget: Any) -> None:
        """Press and release the left mouse button in the middle of a widget; it must be enabled and not hidden."""
        target = pythonqt.unwrap(widget)
        if target.window().isHidden():
            target.window().show()
        self.process_events()
        at = target.rect().center()
        if hasattr(target, "isChecked") and pythonqt.meta_of(target).className() in ("QCheckBox", "QRadioButton"):
            at = QPoint(8, target.height() // 2)  # the box and its text, not the empty space beside them
        if not target.isVisible():
            raise RuntimeError(f"'{target.objectName()}' is hidden, so nobody can click it")
        QTest.mouseClick(target, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, at)
        self.process_events()

    def grab(self, widget: Any, path: str | Path, width: int = 480, height: int | None = None) -> Path:
        """Write a picture of a module's panel (or of any widget)."""
        target = self.panel_of(widget)
        if target.isWindow():
            target.show()
            self.process_events()
            for _ in range(2):  # texts wrap, and rows grow, only at the new width
                hint = target.layout().totalHeightForWidth(width) if target.layout() is not None else -1
                target.resize(width, height or max(hint, target.sizeHint().height(), target.minimumSizeHint().height()))
                self.process_events()
        self.process_events()
        target.grab().save(str(path))
        return Path(path)

    # -- the views
    def four_up(self) -> FourUp:
        """The four views as a widget."""
        self._four_up = self.qt_app.layoutManager().viewport()
        return self._four_up

    def render_four_up(self, size: tuple[int, int], path: str | Path | None = None) -> Any:
        """Axial, 3D, coronal and sagittal in one QImage of `size` pixels, also written as PNG when `path` is given."""
        image = self.four_up().picture(*size)
        if path is not None:
            image.save(str(path))
        return image

    def show_volume(self, node: Any) -> None:
        """Show a volume in the slice views and fit them to it."""
        slicer.util.setSliceViewerLayers(background=node, fit=True)

    def load_volume(self, path: str | Path) -> Any:
        """Load a CT as File > Add Data does: read, select, show, fit."""
        return slicer.util.loadVolume(str(path), {"singleFile": True})

    def clear(self) -> None:
        """File > Close Scene; forgets messages and errors too."""
        self.scene.mrml.Clear(0)
        self.scene.turn_views_back()
        self.process_events()
        for kept in (self.messages, self.answers, self.paths, self.errors, self.log, self.pip_calls, self.dialogs):
            kept.clear()

    def close(self) -> None:
        """Let every loaded module clean up, close the views and remove the host's folder; also done at exit."""
        if self.closed:
            return
        self.closed = True
        for name in [name for name in vars(slicer.modules) if name.endswith("Widget")]:
            self.qt_app.moduleManager().moduleAboutToBeUnloaded.emit(name.removesuffix("Widget"))
        if self._four_up is not None:
            for view in self._four_up.views():
                view.shut()
        self.scene.mrml.Clear(1)
        application.remove_home(self.home)


def _keep_singletons() -> None:
    """PySide6 6.12 takes None, True and False for immortal, which they are since Python 3.12 only.

    Measured on 3.11: each click or property write from Python loses one to four of their references; after some
    hundred of them the interpreter ends with "bool_dealloc: deallocating True or False".
    """
    if sys.version_info < (3, 12):
        for kept in (None, True, False):
            ctypes.c_ssize_t.from_address(id(kept)).value += 1 << 40


def _qt_message(_kind: Any, _context: Any, text: str) -> None:
    if "propagateSizeHints" not in text:  # said by the offscreen platform for every window
        print(text, file=sys.stderr)


def _import(name: str, path: Path) -> None:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
