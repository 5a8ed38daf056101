"""The priority of the threads that compute."""

from __future__ import annotations

import contextlib
import os
import sys
import threading


def take_normal_priority() -> None:
    """Give the calling thread, and those it starts, an ordinary program's share of the processor.

    Slicer on Linux lowers its main thread to the least priority (nice 19, see SLICER_BACKGROUND_THREAD_PRIORITY), which
    every thread started from it inherits; beside a busy program a segmentation would then hardly go on. A system that
    lets nobody raise a priority leaves things as they are.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        if os.getpriority(os.PRIO_PROCESS, thread) > 0:
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, thread, 0)
