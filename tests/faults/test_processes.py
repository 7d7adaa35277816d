"""Worker processes that die: whatever one was doing, every job is paid for once and stored."""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
import redis

from imagejobs.queues import POLL, TEND, key_prefix
from tests.faults import matrix, windows
from tests.servers.waiting import eventually
from tests.system.fleet import Fleet, rows

KILLS = 6
STRIKES = {
    "before its POST": (windows.claimed, []),
    "before the provider accepts": (windows.arrived, [{"on": "create", "kind": "delay", "seconds": 0.5}]),
    "before the reply": (windows.accepted, [{"on": "create", "kind": "delay_after", "seconds": 0.5}]),
}
_SENT = re.compile(rf"^LPUSH \S+(?P<sweep>{POLL}|{TEND}) .*origin\W+gen(?P<pid>\d+)@")


def test_random_workers_killed_every_second(spread: Fleet) -> None:
    """kill -9 of one of three, every second until the last job is done; the counts sum whenever they are looked at."""
    spread.sandbox.faults([{"on": "create", "kind": "delay_after", "seconds": 0.1}])
    spread.submit(rows(matrix.jobs()))
    spread.start(3)
    dice, kills = random.Random(7), windows.Strikes(spread)
    while kills.look().live > 0:
        if kills.is_due() and (up := windows.ready(spread)):
            spread.kill(dice.choice(up))
            spread.start(1)
            kills.struck()
        time.sleep(0.1)
    batch = matrix.finished(spread)

    matrix.proven(
        spread,
        batch,
        fault="kill -9 of random workers",
        injected=kills.count,
        recovery_seconds=kills.recovery_seconds,
    )


@pytest.mark.parametrize("moment", STRIKES)
def test_killed_around_the_post(paced: Fleet, moment: str) -> None:
    """kill -9 of the worker whose creates are just there, again and again: they are looked up, not paid again."""
    window, rules = STRIKES[moment]
    paced.sandbox.faults(rules)
    paced.submit(rows(matrix.jobs()))
    for strike in range(KILLS):
        (worker,) = paced.start(1)
        windows.enter(paced, window, after_jobs=strike * matrix.jobs() // (2 * KILLS))
        paced.kill(worker)
    struck_at, before = time.monotonic(), windows.beyond(paced.batch())
    paced.start(2)
    paced.reached(lambda batch: windows.beyond(batch) > before)
    recovered_at = time.monotonic()
    batch = matrix.finished(paced)

    assert windows.looked_up(paced, "Absent" if window is windows.claimed else "Accepted") > 0
    matrix.proven(
        paced,
        batch,
        fault=f"kill -9 of a worker {moment}",
        injected=KILLS,
        recovery_seconds=recovered_at - struck_at,
    )


def test_the_worker_that_sent_for_the_sweep_is_killed(spread: Fleet) -> None:
    """kill -9 of the process whose pulse sent the sweep that is under way, again and again."""
    spread.sandbox.faults([{"on": "list", "kind": "delay", "seconds": 0.5}])
    spread.submit(rows(matrix.jobs()))
    spread.start(3)
    kills = windows.Strikes(spread, every_seconds=4.0)
    with senders_of(spread) as senders:
        while kills.look().live > 0:
            struck = [worker for worker in windows.ready(spread) if worker.pid in senders()]
            if struck and kills.is_due():
                spread.kill(struck[0])
                spread.start(1)
                kills.struck()
            time.sleep(0.05)
    batch = matrix.finished(spread)

    matrix.proven(
        spread,
        batch,
        fault="kill -9 of the pulse's holder",
        injected=kills.count,
        recovery_seconds=kills.recovery_seconds,
    )


@contextmanager
def senders_of(fleet: Fleet) -> Iterator[Callable[[], set[int]]]:
    """Tells whose messages for a sweep wait or are being worked on, by process id: Celery writes it, Redis is heard."""
    prefix = key_prefix(fleet.settings.account_name)
    latest: dict[str, int] = {}
    with redis.Redis.from_url(fleet.environ["REDIS_URL"], decode_responses=True) as server, server.monitor() as heard:

        def listen() -> None:
            with suppress(redis.ConnectionError, OSError, ValueError):  # how hearing ends
                for said in heard.listen():
                    sent = _SENT.search(said["command"])
                    if sent:
                        latest[sent["sweep"]] = int(sent["pid"])

        def senders() -> set[int]:
            """A sweep that has ended leaves another word under its key."""
            return {pid for sweep, pid in latest.items() if server.get(f"{prefix}due:{sweep}") == "sent"}

        threading.Thread(target=listen, daemon=True).start()
        yield senders
        heard.connection.disconnect()


def test_the_worker_that_runs_the_sweep_is_killed(fleet: Fleet) -> None:
    """kill -9 while the provider's list is being read: another worker sweeps once the due time has run out."""
    fleet.sandbox.faults([{"on": "list", "kind": "delay", "seconds": 1.0}])
    fleet.submit(rows(matrix.jobs()))
    kills = 3
    for _ in range(kills):
        (worker,) = fleet.start(1)
        eventually(lambda: _sweeps(fleet) > 0, timeout_seconds=60, what="a sweep reads the list")
        fleet.kill(worker)
        eventually(lambda: _sweeps(fleet) == 0, timeout_seconds=60, what="the dead sweep's call is over")
    struck_at, read = time.monotonic(), fleet.sandbox.stats()["lists"]
    fleet.start(1)
    eventually(lambda: fleet.sandbox.stats()["lists"] > read, timeout_seconds=60, what="the next sweep")
    recovered_at = time.monotonic()
    batch = matrix.finished(fleet)

    matrix.proven(
        fleet,
        batch,
        fault="kill -9 in mid-sweep",
        injected=kills,
        recovery_seconds=recovered_at - struck_at,
    )


def _sweeps(fleet: Fleet) -> int:
    """Calls for the list that have arrived and are not answered."""
    stats = fleet.sandbox.stats()
    return int(stats["arrived"].get("list", 0)) - int(stats["lists"])
