"""How many examples a fuzzing test tries: few enough for every run of the tests, FUZZ_SCALE times as many at will."""

from __future__ import annotations

import os

_SCALE = int(os.environ.get("FUZZ_SCALE", "1"))


def examples(count: int) -> int:
    """So many in a usual run."""
    return count * _SCALE
