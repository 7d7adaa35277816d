"""Who used how much processor time: the contestant, the servers, and whoever else is on the machine."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from ops.bench import measures
from ops.bench.family import TICKS_A_SECOND, Family
from ops.bench.servers import Provider, Servers

IDLE = slice(3, 5)  # fields of the kernel's count: idle, and idle for want of a disk
COUNTED = 8  # of its fields; those behind are contained in others


@dataclass(frozen=True, slots=True)
class Reading:
    """Totals at a moment, in seconds; `servers` as in `Servers.totals`."""

    at: float
    family: float
    machine: float
    servers: dict[str, float]

    @classmethod
    def of(cls, family: Family, servers: Servers, provider: Provider) -> Reading:
        """Now."""
        return cls(time.monotonic(), family.cpu_seconds(), machine_seconds(), servers.totals(provider))

    @property
    def ours(self) -> float:
        """What belongs to the run."""
        return self.family + sum(value for name, value in self.servers.items() if name.endswith("_cpu_ms")) / 1000


def machine_seconds() -> float:
    """For how long the machine's cores have been busy, all together."""
    ticks = list(map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1 : 1 + COUNTED]))
    return (sum(ticks) - sum(ticks[IDLE])) / TICKS_A_SECOND


def per_image(before: Reading, after: Reading, images: int) -> dict[str, float | None]:
    """The servers' share in each image."""
    return {
        f"{name}_per_image": measures.per(after.servers[name] - before.servers[name], images) for name in after.servers
    }


def cores_left(before: Reading, after: Reading) -> float:
    """How many of the cores the run could have had: those that nobody else used."""
    others = after.machine - before.machine - (after.ours - before.ours)
    return (os.cpu_count() or 1) - max(0.0, others) / (after.at - before.at)
