"""Drive the panel and write pictures: python Testing/SlicerHost/screenshots.py [--ct PATH] [-o FOLDER]"""

from __future__ import annotations

import argparse
from pathlib import Path

from host import Host
from panel import MODULE, ROOT

WAIT_S = 300


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ct", type=Path, help="a CT to segment; without it the synthetic abdomen")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "Resources" / "Screenshots")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    host = Host()
    widget = host.load_module(MODULE)
    ui = widget.ui
    if arguments.ct is not None:
        display = host.load_volume(arguments.ct).GetDisplayNode()
        display.SetAutoWindowLevel(False)
        display.SetWindowLevel(400, 50)  # soft tissue
    else:
        from TernarySegmentLib.slicer_ui.sample import add_phantom

        add_phantom()
    widget.enter()
    wait(host, lambda: ui.segmentButton.enabled)
    host.grab(widget, arguments.output / "panel-before.png")
    host.click(ui.segmentButton)
    wait(host, lambda: ui.progressBar.value > 300 or ui.segmentButton.enabled)
    host.grab(widget, arguments.output / "panel-during.png")
    wait(host, lambda: ui.segmentButton.enabled)
    host.click(ui.show3dBox)
    host.click(ui.jumpButton)
    host.process_events(timeout=0.5)
    host.qt_app.layoutManager().resetThreeDViews()
    host.grab(widget, arguments.output / "panel-after.png")
    host.render_four_up((1200, 900), arguments.output / "views.png")
    for picture in sorted(arguments.output.glob("*.png")):
        print(picture)
    host.close()


def wait(host: Host, until: object) -> None:
    if not host.process_events(until, timeout=WAIT_S):  # type: ignore[arg-type]
        raise SystemExit(f"The panel did not get there within {WAIT_S} s.")


if __name__ == "__main__":
    main()
