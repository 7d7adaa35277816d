"""What is seen of a contestant's memory while it runs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from ops.bench.family import Family

WEIGH_SECONDS = 2.0  # between two looks at memory, which cost the kernel something
WARM_SHARE = 0.25  # of the images: by then every cache and pool is as large as it should get
MB = 1e6


@dataclass(slots=True)
class Watch:
    """Looks at a family's memory now and then. `kills` is how often it was killed meanwhile."""

    family: Family
    kills: int = 0
    weighed: list[tuple[float, list[int]]] = field(default_factory=list)
    """The share of images that were there, and the bytes of each process."""

    _weigh_at: float = 0.0

    def weigh(self, *, share: float) -> None:
        """Look at memory, if it is time, and if anybody is left."""
        if time.monotonic() >= self._weigh_at:
            self._weigh_at = time.monotonic() + WEIGH_SECONDS
            if sizes := self.family.pss_bytes():
                self.weighed.append((share, sizes))

    def figures(self) -> dict[str, float | None]:
        """Peaks, and how much there was more at the end than when a quarter of the images were there."""
        return {
            "peak_pss_mb": max((sum(sizes) for _, sizes in self.weighed), default=0) / MB,
            "largest_process_pss_mb": max((max(sizes) for _, sizes in self.weighed), default=0) / MB,
            "pss_growth_mb": None if self.kills else growth_mb(self.weighed),
        }


def growth_mb(weighed: Sequence[tuple[float, Sequence[int]]]) -> float | None:
    """From the first look at a warm family to the last; None without two of them."""
    warm = [sum(sizes) for share, sizes in weighed if share >= WARM_SHARE]
    return (warm[-1] - warm[0]) / MB if len(warm) > 1 else None
