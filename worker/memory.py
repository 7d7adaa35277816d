"""What keeps a worker small and its memory cheap: `spare` before anything else is imported, `give_back` later.

None of it is needed for a worker to work: where a platform does not have it, the process is larger. See
docs/decisions/0024 and 0031.
"""

from __future__ import annotations

import ctypes
import gc
import sys

_M_ARENA_MAX = -8  # mallopt(3), glibc
_COLLECT_AFTER = (10_000, 10, 5)  # Python's own: 700 objects more than before, and every tenth time the older ones too


def spare() -> None:
    """One pool of memory for all threads, no library that only paints, and cycles looked for rarely."""
    # By default each thread gets a pool of its own, and keeps the largest that it ever had to hold. The threads of a
    # worker take turns at the interpreter's lock anyway.
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
    # structlog imports rich where it is there, to paint tracebacks with: six megabytes, for a log that is read as JSON.
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]  # None: an import of it fails, as if it were absent
    # No call and no image is part of a cycle: they are freed when they are done with, and looking costs a twentieth.
    gc.set_threshold(*_COLLECT_AFTER)


def give_back() -> None:
    """What is free goes back to the machine: a few milliseconds, after something large that will not come again soon.

    glibc takes the first large block that is freed for a sign of more to come: a batch's files, read to be put, and
    the process keeps room for the next ones. Bounds of our own (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD) would hold for
    images too, and having the kernel map each anew costs 0.4 ms for one of 1.5 MB.
    """
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
