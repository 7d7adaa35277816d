"""What is seen of a contestant's memory while it runs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ops.bench.family import Family

WEIGH_SECONDS = 2.0  # between two looks at memory, which cost the kernel something
WARM_SHARE = 0.25  # of the images: by then every cache and pool is as large as it should get
MB = 1e6

Weighed = tuple[float, Mapping[int, int]]
"""The share of images that were there, and the bytes of each process."""


@dataclass(slots=True)
class Watch:
    """Looks at a family's memory now and then. `kills` is how often it was killed meanwhile."""

    family: Family
    kills: int = 0
    weighed: list[Weighed] = field(default_factory=list)
    _weigh_at: float = 0.0

    def weigh(self, *, share: float) -> None:
        """Look at memory, if it is time or all images are there, and if anybody is left."""
        if share >= 1 or time.monotonic() >= self._weigh_at:
            self._weigh_at = time.monotonic() + WEIGH_SECONDS
            if sizes := self.family.pss_bytes():
                self.weighed.append((share, sizes))

    def figures(self) -> dict[str, float | None]:
        """Peaks, and how much there was more at the end than when a quarter of the images were there."""
        growths = {} if self.kills else growths_mb(self.weighed)
        lasting = [sizes[pid] / MB for _, sizes in self.weighed for pid in growths if pid in sizes]
        return {
            "peak_pss_mb": max((sum(sizes.values()) for _, sizes in self.weighed), default=0) / MB,
            "largest_process_pss_mb": max((max(sizes.values()) for _, sizes in self.weighed), default=0) / MB,
            "pss_growth_mb": None if self.kills else growth_mb(self.weighed),
            "lasting_process_pss_mb": max(lasting, default=None),
            "process_pss_growth_mb": max(growths.values(), default=None),
        }


def growth_mb(weighed: Sequence[Weighed]) -> float | None:
    """Of the whole family, from the first look at a warm one to the last; None without two of them."""
    warm = _warm(weighed)
    return (sum(warm[-1].values()) - sum(warm[0].values())) / MB if len(warm) > 1 else None


def growths_mb(weighed: Sequence[Weighed]) -> dict[int, float]:
    """The same, of each process that was there at both looks."""
    warm = _warm(weighed)
    if len(warm) < 2:
        return {}
    return {pid: (size - warm[0][pid]) / MB for pid, size in warm[-1].items() if pid in warm[0]}


def _warm(weighed: Sequence[Weighed]) -> list[Mapping[int, int]]:
    return [sizes for share, sizes in weighed if share >= WARM_SHARE]
