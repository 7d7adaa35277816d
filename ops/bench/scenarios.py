"""What is run: the provider's limits and moods, how many rows, and what happens in the middle. Data only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One row of questions to every contestant. Rates are the provider's, a second; 0 is no limit."""

    name: str
    title: str
    jobs: int
    run_seconds: float
    cold_start_seconds: float = 0.0
    creates_per_second: float = 0.0
    calls_per_second: float = 0.0
    burst: int = 10
    """Calls that the provider takes at once, before the rate holds."""

    faults: tuple[Mapping[str, Any], ...] = ()
    kill_at: float | None = None
    """Share of images after which every worker is killed with -9, and started again."""

    poll_seconds: float
    """How often those peers look that poll each prediction."""

    threads: int
    """Under way at once in a peer that gives each image a thread."""

    coroutines: int
    """The same, a coroutine."""

    side_px: int = 512
    """Of the pictures: 512 makes PNGs of 90 KB on average, from 50 to 170."""

    warm_up_jobs: int = 16
    """Made before anything is counted, so that imports and connections are not."""

    patience_seconds: float = 30.0
    """Without a new image for so long, what is missing is lost."""

    contestants: tuple[str, ...] = ()
    """Only these, where nobody says otherwise; empty is everybody."""

    def of(self, jobs: int | None) -> Scenario:
        """The same with another number of rows."""
        return self if jobs is None else replace(self, jobs=jobs)


_STRUCK = [
    {"on": on, "kind": kind, "rate": rate}
    for on in ("create", "get", "list", "file")
    for kind, rate in (("status", 0.02), ("reset", 0.01))
]
_STRUCK += [
    {"on": "create", "kind": "reset_after", "rate": 0.01},  # accepted, and the caller is not told
    {"on": "create", "kind": "fail", "rate": 0.03},
]

S1 = Scenario(
    name="S1",
    title="no limit, runs of 0.2 s: CPU and overhead",
    jobs=2000,
    run_seconds=0.2,
    poll_seconds=0.25,
    threads=64,
    coroutines=256,
)
S2 = Scenario(
    name="S2",
    title="100 creates and 500 other calls a second, ten times a real account's; runs of 3 s",
    jobs=3000,
    run_seconds=3.0,
    creates_per_second=100,
    burst=100,
    calls_per_second=500,
    poll_seconds=1.0,
    threads=400,
    coroutines=800,
)
ALL_SIZES = tuple(f"imagejobs-sqlite-{workers}" for workers in (1, 2, 4, 8))
S1_LONG = replace(
    S1,
    name="S1-long",
    title="20,000 small images in one run: whether memory grows",
    jobs=20_000,
    side_px=128,
    contestants=("imagejobs-sqlite-2",),
)
S2_LONG = replace(
    S2,
    name="S2-long",
    title="as S2, for half a minute: the share of the allowance once it is steady, by number of workers",
    contestants=(*ALL_SIZES, "asyncio"),
)
S3 = Scenario(
    name="S3",
    title="2 % errors, 1 % resets, 1 % accepted creates whose reply is lost, 3 % failed runs; all killed at 30 %",
    jobs=1500,
    run_seconds=1.0,
    faults=tuple(_STRUCK),
    kill_at=0.3,
    poll_seconds=0.5,
    threads=64,
    coroutines=256,
    patience_seconds=345.0,  # arq takes up what a dead worker held after five minutes; Celery would after an hour
)
S4 = Scenario(
    name="S4",
    title="a real account: 600 creates and 3,000 other calls a minute, runs of 4 s, ten minutes",
    jobs=6000,
    run_seconds=4.0,
    creates_per_second=10,
    calls_per_second=50,
    poll_seconds=1.0,
    threads=100,
    coroutines=200,
)
S4_COLD = replace(
    S4,
    name="S4-cold",
    title="the same account, with a model that takes two minutes to start",
    cold_start_seconds=120.0,
    poll_seconds=5.0,
    threads=1500,
    coroutines=3000,
    warm_up_jobs=0,
    patience_seconds=200.0,
)
SCENARIOS = {scenario.name: scenario for scenario in (S1, S1_LONG, S2, S2_LONG, S3, S4, S4_COLD)}
