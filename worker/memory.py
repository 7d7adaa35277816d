"""What keeps a worker small: `spare` before anything else is imported, `give_back` later. See docs/decisions/0024.

None of it is needed for a worker to work: where a platform does not have it, the process is larger.
"""

from __future__ import annotations

import ctypes
import sys

_M_ARENA_MAX = -8  # mallopt(3), glibc


def spare() -> None:
    """One pool of memory for all threads, and no library that only paints."""
    # By default each thread gets a pool of its own, and keeps the largest that it ever had to hold. The threads of a
    # worker take turns at the interpreter's lock anyway.
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
    # structlog imports rich where it is there, to paint tracebacks with: six megabytes, for a log that is read as JSON.
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]  # None: an import of it fails, as if it were absent


def give_back() -> None:
    """What is free goes back to the machine: a few milliseconds, after something large that will not come again soon.

    glibc takes the first large block that is freed for a sign of more to come: a batch's files, read to be put, and
    the process keeps room for the next ones. Bounds of our own (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD) would hold for
    images too, and having the kernel map each anew costs 0.4 ms for one of 1.5 MB.
    """
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
