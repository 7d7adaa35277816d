"""What keeps a worker small and its memory cheap: `spare` before anything else is imported, `give_back` later.

None of it is needed for a worker to work: where a platform does not have it, the process is larger. See
docs/decisions/0024, 0031, 0035 and 0039.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from contextlib import suppress

_ARENA_MAX = -8  # M_ARENA_MAX of glibc's malloc.h
_NO_CACHE = "glibc.malloc.tcache_count"
_BEGUN_ANEW = "imagejobs_begun_anew"  # an option of Python's -X: it survives where the environment does not
_COLLECT_AFTER = (10_000, 10, 5)  # Python's own: 700 objects more than before, and every tenth time the older ones too


def spare() -> None:
    """One pool of memory for all threads, no library that only paints, and cycles looked for rarely."""
    _tune_malloc()
    # structlog imports rich where it is there, to paint tracebacks with: six megabytes, for a log that is read as JSON.
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]  # None: an import of it fails, as if it were absent
    # No call and no image is part of a cycle: they are freed when they are done with, and looking costs a twentieth.
    gc.set_threshold(*_COLLECT_AFTER)


def _tune_malloc() -> None:
    """By default each thread gets a pool of its own, and beside it a cache of small blocks, which fills up over hours.

    A worker's threads take turns at the interpreter's lock anyway.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return
    own = os.environ.get("GLIBC_TUNABLES", "")
    if "glibc.malloc.arena_max" not in own and "MALLOC_ARENA_MAX" not in os.environ:
        libc.mallopt(_ARENA_MAX, 1)
    if _NO_CACHE not in own and _BEGUN_ANEW not in sys._xoptions and sys.executable:
        _begin_anew(own)


def _begin_anew(own: str) -> None:
    """glibc reads its tunables when a program begins, so this one becomes the same command once more: 20 milliseconds.

    What the owner has set of them stays.
    """
    tuned = os.environ | {"GLIBC_TUNABLES": f"{own}:{_NO_CACHE}=0" if own else f"{_NO_CACHE}=0"}
    again = [sys.executable, "-X", _BEGUN_ANEW, *sys.orig_argv[1:]]
    with suppress(OSError):
        os.execve(sys.executable, again, tuned)  # noqa: S606 - our own command, no shell


def give_back() -> None:
    """What is free goes back to the machine: a few milliseconds, after something large that will not come again soon.

    glibc takes the first large block that is freed for a sign of more to come: a batch's files, read to be put, and
    the process keeps room for the next ones. Bounds of our own (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD) would hold for
    images too, and having the kernel map each anew costs 0.4 ms for one of 1.5 MB.
    """
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
