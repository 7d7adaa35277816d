"""Ends this process with the one that started it, so that no server is left behind."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

PR_SET_PDEATHSIG = 1  # from Linux's sys/prctl.h
LOOK_SECONDS = 1.0


def die_with_parent() -> None:
    """SIGTERM to ourselves when the parent ends.

    Linux tells us itself, and means the *thread* that started us: start this program from a thread that lasts.
    Elsewhere a thread looks every second.
    """
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            sys.exit(0)
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
