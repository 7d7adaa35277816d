"""What keeps a worker process small, done before anything else is imported. See docs/decisions/0024.

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
