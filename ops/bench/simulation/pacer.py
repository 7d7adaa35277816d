"""The limiter's arithmetic on simulated time: imagejobs/limiter.lua where no 429 has taught anything."""

from __future__ import annotations

import math
import re
from importlib.resources import files

from imagejobs.limiter import Grant

HAIR = re.compile(r"1 / \(rate \* (0\.\d+)\)")  # how much slower than allowed the script paces; read from the script

REST_SECONDS = 3.0  # of nothing to send: what went by meanwhile is not caught up


class Pacer:
    """One account's places in time. `per_second` 0 is no limit."""

    def __init__(self, *, per_second: float, catch_up_seconds: float) -> None:
        self._spacing = 1 / (per_second * hair()) if per_second else 0.0
        self._catch_up_seconds = catch_up_seconds
        self._free_at = 0.0
        self._ideal_at: float | None = None

    def reserve(self, places: int, *, ahead_seconds: float, now: float) -> Grant:
        """As Limiter.reserve."""
        start = max(now, self._free_at)
        if start - now > ahead_seconds:
            return Grant(places=0, after_seconds=start - now - ahead_seconds, spacing_seconds=0.0)
        if not self._spacing:
            return Grant(places=places, after_seconds=0.0, spacing_seconds=0.0)
        granted = min(places, math.floor((now + ahead_seconds - start) / self._spacing) + 1)
        ideal_at = start if self._ideal_at is None else self._ideal_at
        missed = max(0.0, start - ideal_at)
        behind = 0.0 if missed > REST_SECONDS else min(self._catch_up_seconds, missed)
        slot = self._spacing - min(self._spacing * 0.1, behind / granted)
        self._free_at = start + granted * slot
        self._ideal_at = start - behind + granted * self._spacing
        return Grant(places=granted, after_seconds=start - now, spacing_seconds=slot)

    def booked_seconds(self, now: float) -> float:
        """How far ahead places have been reserved."""
        return max(0.0, self._free_at - now)


def hair() -> float:
    """The script's own number. Raises ValueError when it is not written there as it used to be."""
    found = HAIR.search(files("imagejobs").joinpath("limiter.lua").read_text(encoding="utf-8"))
    if found is None:
        raise ValueError("limiter.lua paces differently now: see to ops/bench/simulation/pacer.py")
    return float(found[1])
