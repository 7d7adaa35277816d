"""The benchmarks' simulation agrees with what can be calculated; its page can be made from whatever was measured."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import pytest

from imagejobs.limiter import CATCH_UP_SECONDS
from ops.bench.book import Book, Figures
from ops.bench.contestants import ROOT
from ops.bench.doors import ANSWER, LIST, OURS
from ops.bench.scenarios import S1, S2
from ops.bench.simulation import report
from ops.bench.simulation.capacity import Part, fullest
from ops.bench.simulation.compare import pairs
from ops.bench.simulation.events import Lock, Loop, Machine, Process, Task
from ops.bench.simulation.hosts import Costs, Setting
from ops.bench.simulation.night import costs_of, predict, simulate
from ops.bench.simulation.pacer import Pacer, hair

COSTS = Costs(worker=0.005, provider=0.0015, sink=0.0005, redis=0.0002, page=0.002, provider_page=0.005)
MEASURED: Figures = {
    "images_per_second": 80.0,
    "allowance_used": 0.99,
    "other_calls_per_image": 0.1,
    "safe_after_median_s": 0.6,
    "safe_after_p99_s": 2.0,
    "cpu_ms_per_image": 5.5,
    "worked_cpu_ms_per_image": 5.0,
    "provider_cpu_ms_per_image": 1.5,
    "sink_cpu_ms_per_image": 0.5,
    "redis_cpu_ms_per_image": 0.2,
    "database_cpu_ms_per_image": 1.0,
    "database_writes_per_image": 0.5,
    "store_bytes_per_image": 90_000.0,
    "store_requests_per_image": 1.0,
}


def a_book() -> Book:
    book = Book(made_at="2026-11-24 20:00 UTC", machine={"cores": 2}, versions={"commit": "abc"})
    book.scenarios = {"S2": {"name": "S2", "jobs": 150, **_facts()}}
    book.runs = [
        {"play": "1", "scenario": "S2", "contestant": name, "round": 0, "figures": dict(MEASURED), "error": None}
        for name in ("imagejobs-sqlite-2", "imagejobs-postgres-2")
    ]
    book.sheets = {
        "crowd": {
            f"{ledger}, {what}": {"claim_one_ms": 0.5, "sweep_read_ms": 0.3, "bytes_per_image": 900.0}
            for ledger in ("sqlite", "postgres")
            for what in ("1 accounts", "at rest")
        },
        "doors": {OURS: {LIST: 2.0}, ANSWER: {LIST: 5.0}},
    }
    return book


def _facts() -> dict[str, object]:
    names = ("title", "run_seconds", "creates_per_second", "calls_per_second", "burst", "poll_seconds", "threads")
    return {name: getattr(S2, name) for name in (*names, "coroutines")}


@pytest.mark.parametrize("load", [0.3, 0.8])
def test_a_server_with_random_arrivals_makes_wait_as_the_formula_says(load: float) -> None:
    """M/D/1: on the average load / (2 (1 - load)) times the service."""
    loop, dice, service = Loop(), random.Random(7), 0.01
    server, waits, at = Process(Machine(loop, cores=1)), list[float](), 0.0

    def customer() -> Task:
        came = loop.now
        yield server.work(service)
        waits.append(loop.now - came - service)

    for _ in range(30_000):
        at += dice.expovariate(load / service)
        loop.at(at, lambda: loop.start(customer()))
    loop.run()

    assert pytest.approx(load / (2 * (1 - load)) * service, rel=0.05) == sum(waits) / len(waits)


@pytest.mark.parametrize(("cores", "processes", "seconds"), [(1, 1, 3.0), (1, 3, 9.0), (2, 3, 4.5), (4, 3, 3.0)])
def test_processes_share_the_cores_and_use_one_each(cores: int, processes: int, seconds: float) -> None:
    """Three seconds of work for each of them take as long as the cores allow, and no less than three."""
    loop = Loop()
    machine = Machine(loop, cores=cores)
    everybody = [Process(machine) for _ in range(processes)]

    def work(process: Process) -> Task:
        for _ in range(3):
            yield process.work(1.0)

    for process in everybody:
        loop.start(work(process))
    loop.run()

    assert pytest.approx(seconds) == loop.now
    assert [pytest.approx(3.0)] * processes == [process.used for process in everybody]


def test_a_lock_has_one_holder_at_a_time() -> None:
    """Those who wait are served in order, and it is held all the while."""
    loop, order = Loop(), list[int]()
    lock = Lock(loop)

    def holder(number: int) -> Task:
        yield lock.acquire()
        yield loop.sleep(2.0)
        order.append(number)
        lock.release()

    for number in range(3):
        loop.start(holder(number))
    loop.run()

    assert ([0, 1, 2], 6.0, 6.0) == (order, loop.now, lock.held)


def test_the_pacer_gives_each_place_once_and_evenly() -> None:
    """Asked for more than there is, again and again, it gives a hair less than the rate."""
    pacer, slots = Pacer(per_second=100, catch_up_seconds=CATCH_UP_SECONDS), list[float]()
    for ask in range(400):
        now = ask * 0.1
        grant = pacer.reserve(15, ahead_seconds=1.0, now=now)
        slots += [now + grant.after_seconds + place * grant.spacing_seconds for place in range(grant.places)]

    gaps = [later - earlier for earlier, later in pairwise(slots)]
    assert pytest.approx(1 / (100 * hair())) == min(gaps)
    assert pytest.approx(1 / (100 * hair())) == max(gaps)


def test_the_pacer_catches_up_a_little_and_no_rest() -> None:
    """What went by between two messages is caught up at a tenth more; after a rest nothing is."""
    spacings = []
    for away in (0.3, 10.0):
        pacer = Pacer(per_second=10, catch_up_seconds=CATCH_UP_SECONDS)
        pacer.reserve(1, ahead_seconds=1.0, now=0.0)
        spacings.append(pacer.reserve(2, ahead_seconds=1.0, now=away).spacing_seconds)

    assert [pytest.approx(0.9 / (10 * hair())), pytest.approx(1 / (10 * hair()))] == spacings


@pytest.mark.parametrize("cores", [1, 2])
def test_without_a_limit_the_cores_are_what_limits(cores: int) -> None:
    """Images a second are the cores over what an image takes of all parts; the first and last moments apart."""
    figures = simulate(S1.of(1500), costs=COSTS, workers=4, is_sqlite=True, cores=cores)

    everything = COSTS.worker + COSTS.provider + COSTS.sink + COSTS.redis
    assert pytest.approx(cores / everything, rel=0.15) == figures["images_per_second"]


def test_with_cores_to_spare_the_allowance_is_what_limits() -> None:
    """All of it but the hair, whatever the number of workers; and the same again each time."""
    used = [
        simulate(S2.of(600), costs=COSTS, workers=workers, is_sqlite=True, cores=4)["allowance_used"]
        for workers in (1, 4, 4)
    ]

    assert [pytest.approx(hair(), abs=0.01)] * 3 == used
    assert used[1] == used[2]


def test_a_shared_ledger_that_is_too_slow_is_what_limits() -> None:
    """SQLite's one writer: busy all the time, and the accounts share what it can do."""
    night = replace(S2, jobs=300, creates_per_second=10, burst=10)
    setting = Setting(commit_seconds=0.05)

    figures = predict(night, accounts=4, costs=COSTS, setting=setting, is_sqlite=True)

    assert pytest.approx(1.0, abs=0.05) == figures["writer_share"]
    assert (figures["allowance_used"] or 0.0) < 0.9


def test_the_fullest_part_is_of_what_is_shared() -> None:
    """What each account or host brings itself is no limit of the fleet; nor is the other ledger's."""
    redis = Part(name="Redis", takes=1, unit="ms", gives=1000, step="", is_shared=True)
    writer = Part(name="writer", takes=5, unit="ms", gives=1000, step="", is_shared=True, ledger="sqlite")
    own = Part(name="own", takes=1, unit="calls", gives=10, step="", is_each_accounts=True)

    found = [own, redis, writer]

    assert ("writer", "Redis") == tuple(fullest(found, 10, ledger=one).name for one in ("sqlite", "postgres"))
    assert (0.1, 1.0) == (redis.load(10), own.load(10))


def test_runs_without_their_costs_are_left_out() -> None:
    """Those that were measured before costs were counted, and those of others."""
    book = a_book()
    del book.runs[0]["figures"]["worked_cpu_ms_per_image"]

    assert ["imagejobs-postgres-2"] == [pair.contestant for pair in pairs(book)]


def test_the_list_is_no_part_of_an_image() -> None:
    """What its pages took is counted apart, and never makes more of an image than half of what was measured."""
    doors: dict[str, Figures] = {OURS: {LIST: 2.0}, ANSWER: {LIST: 5.0}}

    assert costs_of(MEASURED, {}) is None
    assert costs_of(MEASURED, doors) == Costs(
        worker=pytest.approx(0.0048),
        provider=pytest.approx(0.001),
        sink=0.0005,
        redis=0.0002,
        database=0.001,
        page=0.002,
        provider_page=0.005,
    )
    assert costs_of({**MEASURED, "other_calls_per_image": 9.0}, doors) == replace(
        costs_of(MEASURED, doors), worker=0.0025, provider=0.00075
    )


def test_the_page_knows_every_part_that_it_shows() -> None:
    """And is the same again when there is nothing measured, or nothing new."""
    page = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    empty = Book(made_at="", machine={}, versions={})

    assert set(report.BLOCKS) == {found[1] for found in report.BLOCK.findall(page)}
    assert report.refreshed(page, empty) == report.refreshed(report.refreshed(page, empty), empty)


@pytest.mark.parametrize("part", ["held-against", "shares", "sizes"])
def test_a_simulated_part_is_a_table(part: str) -> None:
    """Every line of it has as many cells as its head, and the first lines say what was held against what."""
    lines = [line for line in report.BLOCKS[part](a_book()).splitlines() if line.startswith("|")]

    assert len(lines) > 2
    assert {lines[0].count("|")} == {line.count("|") for line in lines}
