"""A run of the benchmarks on simulated time, and what would have been measured of it."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from ops.bench import measures
from ops.bench.book import Figures
from ops.bench.doors import ANSWER, LIST, OURS
from ops.bench.scenarios import Scenario
from ops.bench.simulation.account import Account
from ops.bench.simulation.events import Loop
from ops.bench.simulation.hosts import Costs, Hosts, Setting, bench, busy_share, fleet
from worker.sweeper import SOON_SECONDS

MS = 1e-3
TIMES, FEWER = (
    9,
    3,
)  # runs that differ in when the first sweep falls; figures are medians, as those of measured runs are
MANY = 2500  # rows, from where on chance has evened out within a run, and FEWER do
NEEDED = ("worked_cpu_ms_per_image", "provider_cpu_ms_per_image", "sink_cpu_ms_per_image", "redis_cpu_ms_per_image")


def costs_of(figures: Mapping[str, float | None], doors: Mapping[str, Figures]) -> Costs | None:
    """What an image took of each part in a measured run; None where not all of that is known.

    What the pages of its list took, which `doors` measures, is not the images'.
    """
    page, provider_page = (doors.get(way, {}).get(LIST) for way in (OURS, ANSWER))
    if page is None or provider_page is None or any(figures.get(name) is None for name in NEEDED):
        return None
    worker, provider, sink, redis = (figures[name] or 0.0 for name in NEEDED)
    calls = figures.get("other_calls_per_image") or 0.0
    return Costs(
        worker=max(worker / 2, worker - calls * page) * MS,
        provider=max(provider / 2, provider - calls * provider_page) * MS,
        sink=sink * MS,
        redis=redis * MS,
        database=(figures.get("database_cpu_ms_per_image") or 0.0) * MS,
        page=page * MS,
        provider_page=provider_page * MS,
    )


def simulate(scenario: Scenario, *, costs: Costs, workers: int, is_sqlite: bool, cores: float) -> Figures:
    """One account on one machine, as in a benchmark: medians of several runs, the same ones again each time."""
    dice = random.Random(f"{scenario.name}:{workers}")
    sweeps = [dice.uniform(0, SOON_SECONDS) for _ in range(TIMES if scenario.jobs < MANY else FEWER)]
    return measures.medians(
        [_one(scenario, costs, workers, is_sqlite=is_sqlite, cores=cores, first_sweep_seconds=at) for at in sweeps]
    )


def _one(
    scenario: Scenario, costs: Costs, workers: int, *, is_sqlite: bool, cores: float, first_sweep_seconds: float
) -> Figures:
    loop = Loop()
    hosts = bench(loop, costs=costs, workers=workers, cores=cores, is_sqlite=is_sqlite)
    account = Account(hosts, scenario, finished=loop.stop)
    account.begin(first_sweep_seconds=first_sweep_seconds)
    loop.run()
    return {**figures_of([account], scenario), **_utilisation([hosts], loop.now)}


def predict(scenario: Scenario, *, accounts: int, costs: Costs, setting: Setting, is_sqlite: bool) -> Figures:
    """So many accounts side by side, each with the scenario's limits and rows; their sweeps fall at different times."""
    loop, dice = Loop(), random.Random(accounts)
    everybody = fleet(loop, accounts=accounts, costs=costs, setting=setting, is_sqlite=is_sqlite)
    left = [accounts]

    def finished() -> None:
        left[0] -= 1
        if not left[0]:
            loop.stop()

    begun = [Account(hosts, scenario, finished=finished) for hosts in everybody]
    for account in begun:
        account.begin(first_sweep_seconds=dice.uniform(0, SOON_SECONDS))
    loop.run()
    return {**figures_of(begun, scenario), **_utilisation(everybody, loop.now)}


def figures_of(accounts: Sequence[Account], scenario: Scenario) -> Figures:
    """The figures of `ops/bench/measures.py`, of a simulated night; of several accounts, the one that fares worst."""
    pictures = [picture for account in accounts for picture in account.pictures]
    safe = [picture.safe_at for picture in pictures if picture.safe_at is not None]
    waits = [one.safe_at - one.completed_at for one in pictures if one.safe_at is not None]
    begun = min(picture.created_at for picture in pictures if picture.created_at is not None)
    return {
        "images": len(safe),
        "images_per_second": len(safe) / (max(safe) - begun) if safe else None,
        "allowance_used": min((used for one in accounts if (used := _used(one, scenario)) is not None), default=None),
        "other_calls_per_image": measures.per(sum(account.other_calls for account in accounts), len(safe)),
        "safe_after_median_s": measures.quantile(waits, 0.5),
        "safe_after_p99_s": measures.quantile(waits, 0.99),
    }


def _used(account: Account, scenario: Scenario) -> float | None:
    created = [picture.created_at for picture in account.pictures if picture.created_at is not None]
    return measures.allowance_used(created, creates_per_second=scenario.creates_per_second, burst=scenario.burst)


def _utilisation(everybody: Sequence[Hosts], seconds: float) -> Figures:
    ledger, redis = everybody[0].ledger, everybody[0].redis
    workers = [worker for hosts in everybody for worker in hosts.workers]
    return {
        "workers_cores": busy_share([worker.cpu for worker in workers], seconds),
        "provider_cores": busy_share([hosts.provider for hosts in everybody], seconds),
        "store_cores": busy_share([hosts.sink for hosts in everybody], seconds),
        "redis_cores": busy_share([redis], seconds),
        "database_cores": busy_share([worker.backend for worker in workers], seconds),
        "writer_share": ledger.disk.held / seconds if seconds else None,
        "commits_per_second": ledger.commits / seconds if seconds else None,
    }
