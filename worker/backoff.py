"""How long to wait before the next try: exponential, full jitter, capped. Pure: the dice are an argument."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Dice = Callable[[], float]  # a number in [0, 1), like random.random


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Waits between `floor_seconds` and `floor_seconds + min(cap, base * 2^tries)`, evenly spread.

    Full jitter spreads a herd that failed together; the floor keeps an unlucky throw from hammering.
    """

    floor_seconds: float
    base_seconds: float
    cap_seconds: float

    def seconds(self, tries: int, dice: Dice) -> float:
        """The wait after `tries` failures (0 for the first)."""
        reach = min(self.cap_seconds, self.base_seconds * 2.0 ** min(tries, 32))
        return self.floor_seconds + dice() * reach


CREATE = Backoff(floor_seconds=1.0, base_seconds=2.0, cap_seconds=120.0)  # before the next paid try
COPY = Backoff(floor_seconds=0.5, base_seconds=1.0, cap_seconds=30.0)  # outputs live an hour: ask often
UNREACHABLE = Backoff(floor_seconds=2.0, base_seconds=2.0, cap_seconds=60.0)
