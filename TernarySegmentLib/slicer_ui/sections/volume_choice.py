"""The CT that is chosen and the CT that the views show: one and the same, or the panel says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from TernarySegmentLib.slicer_ui.mrml.display import SoftTissueWindow
from TernarySegmentLib.slicer_ui.mrml.results import is_scan
from TernarySegmentLib.slicer_ui.mrml.views import show_volume, shown_volumes
from TernarySegmentLib.slicer_ui.status import Status


class VolumeChoice(VTKObservationMixin):
    """Loads scans, follows the views, and gives a CT its window.

    A volume that the views show for the first time was just loaded, and is chosen. One that they showed before may be
    a look at something else: it is offered, and until then a sentence says that the two differ.

    Args:
        ui: the panel's widgets by name.
        status: where failures are shown.
        choose: makes a volume node the panel's.
    """

    def __init__(self, ui: Any, status: Status, choose: Callable[[Any], None]) -> None:
        VTKObservationMixin.__init__(self)
        self._ui, self._status, self._choose = ui, status, choose
        self._chosen: Any = None
        self._met: set[str] = set()
        self._following = self._loading = False
        self._window = SoftTissueWindow()
        self._window_wanted = ""
        for button, action in (
            (ui.loadButton, self.load),
            (ui.dicomButton, self.open_dicom),
            (ui.sampleButton, self.load_sample),
            (ui.useShownButton, self.use_shown),
            (ui.showChosenButton, self.show_chosen),
            (ui.windowButton, self.toggle_window),
        ):
            button.connect("clicked()", action)
        if slicer.app.layoutManager() is not None:
            slicer.app.layoutManager().connect("layoutChanged(int)", self._on_layout)

    def close(self) -> None:
        """Before the widgets go."""
        self.removeObservers()
        if slicer.app.layoutManager() is not None:
            slicer.app.layoutManager().disconnect("layoutChanged(int)", self._on_layout)

    # -- what the panel reports
    def follow(self, following: bool) -> None:
        """Follow the views from now on, as long as the panel is on the screen."""
        self._following = following
        if following:
            self._look()
            self._loading = False

    def show(self, volume: Any) -> None:
        """Take up the panel's choice; None for none."""
        if volume is not self._chosen and self._loading and volume is not None:
            self._window_wanted = volume.GetID()
        self._chosen = volume
        if volume is not None:
            self._met.add(volume.GetID())
        display = volume.GetDisplayNode() if volume is not None else None
        self._ui.windowButton.enabled = display is not None
        self._ui.windowButton.checked = self._window.applied(volume)
        scans = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        self._ui.volumeSelector.sortFilterProxyModel().setHiddenNodeIDs([s.GetID() for s in scans if not is_scan(s)])
        self._say()

    def inspected(self) -> None:
        """The chosen volume is a CT: one that was loaded from here gets the soft-tissue window by itself."""
        volume = self._chosen
        if volume is not None and volume.GetID() == self._window_wanted and self._window.is_free(volume):
            self._window.apply(volume)
            self.show(volume)
        self._window_wanted = ""

    def meet_all(self) -> None:
        """The scene's volumes were there before: none of them was just loaded."""
        self._met = {node.GetID() for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")}

    def forget(self) -> None:
        """The scene is closing; its IDs will be given again."""
        self._met, self._window_wanted = set(), ""
        self._window.forget()

    # -- what can be pressed
    def load(self) -> None:
        """Open a file; Slicer shows it, and what is shown is chosen."""
        self._loading = True
        slicer.util.openAddVolumeDialog()
        self._look()
        self._loading = False

    def open_dicom(self) -> None:
        """Go to the DICOM browser; what was loaded there is chosen on return."""
        self._loading = True
        slicer.util.selectModule("DICOM")

    def load_sample(self) -> None:
        """Load Slicer's sample CT of the liver, which shows the pancreas too."""
        import SampleData  # type: ignore[import-not-found]

        self._loading = True
        try:
            volume = SampleData.SampleDataLogic().downloadSample("CTLiver")
        except Exception as error:  # the Sample Data module raises bare exceptions
            self._status.log(str(error))
            volume = None
        if volume is None:
            text = _("The sample could not be downloaded; check the internet connection or load a CT of your own.")
            self._status.warn(text)
        else:
            self._choose(volume)
        self._loading = False

    def use_shown(self) -> None:
        """Choose the scan that the views show."""
        other = self._other()
        if is_scan(other):
            self._choose(other)

    def show_chosen(self) -> None:
        """Show the chosen scan in the views again."""
        if self._chosen is not None:
            show_volume(self._chosen)

    def toggle_window(self) -> None:
        """Set Slicer's abdominal window, or put back the one that was there before."""
        if self._window.applied(self._chosen):
            self._window.undo(self._chosen)
        elif self._chosen is not None and not self._window.apply(self._chosen):
            self._status.warn(_("This Slicer has no window preset for the abdomen; set one in the module Volumes."))
        self.show(self._chosen)

    # -- the views
    def _look(self) -> None:
        self._watch()
        shown = shown_volumes()
        loaded = [node for node in shown if is_scan(node) and node.GetID() not in self._met]
        self._met |= {node.GetID() for node in shown}
        if loaded:
            self._choose(loaded[0])
        else:
            self._say()

    def _watch(self) -> None:
        for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            if not self.hasObserver(composite, vtk.vtkCommand.ModifiedEvent, self._on_views):
                self.addObserver(composite, vtk.vtkCommand.ModifiedEvent, self._on_views)

    def _on_views(self, caller: Any = None, event: Any = None) -> None:
        if self._following and not (slicer.mrmlScene.IsBatchProcessing() or slicer.mrmlScene.IsClosing()):
            self._look()

    def _on_layout(self, layout: int) -> None:
        self._on_views()

    def _other(self) -> Any:
        """A volume in the views that is not the chosen one; None when there is none."""
        return next((node for node in shown_volumes() if node is not self._chosen), None)

    def _say(self) -> None:
        other = self._other() if self._chosen is not None else None
        text = _("The slice views show “{shown}”, but “{chosen}” is chosen.")
        self._ui.differsLabel.text = (
            text.format(shown=other.GetName(), chosen=self._chosen.GetName()) if other is not None else ""
        )
        self._ui.differsLabel.setVisible(other is not None)
        self._ui.showChosenButton.setVisible(other is not None)
        self._ui.useShownButton.setVisible(is_scan(other))


def volume_to_begin_with() -> Any:
    """The scan in the slice views, else the only one there is; None when that is not clear."""
    shown = [node for node in shown_volumes() if is_scan(node)]
    if shown:
        return shown[0]
    scans = [node for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if is_scan(node)]
    return scans[0] if len(scans) == 1 else None
