"""Cancel, pause, resume and retry, all at once and without end, against workers, success, failure and expiry."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from imagejobs.errors import Complaint
from imagejobs.job import Batch
from imagejobs.ledger import Ledger
from imagejobs.states import State
from producer import control
from tests.faults import matrix
from tests.ledger_books import assert_books_balance
from tests.servers.sandbox import SandboxServer
from tests.servers.waiting import eventually
from tests.system.fleet import Fleet, rows

ROUNDS = 60  # of each thread that steers
BY_COMMAND = (
    ["pause"],
    ["cancel", "--in-flight"],
    ["retry", "--canceled", "--yes"],
    ["resume"],
    ["cancel"],
    ["retry", "--yes"],
)
KEEP_SECONDS = 4
# Predictions that fail, outputs that are no images, and downloads that fail until the outputs are gone.
TROUBLE = [
    {"on": "create", "kind": "fail", "rate": 0.1},
    {"on": "file", "kind": "bomb", "rate": 0.2},
    {"on": "file", "kind": "status", "status": 503, "rate": 0.3},
]


class Steerer:
    """Somebody with a ledger of their own, and no sense."""

    def __init__(self, fleet: Fleet, seed: int) -> None:
        self._fleet = fleet
        self._dice = random.Random(seed)
        self._ledger = Ledger(fleet.settings.database)
        self.done: Counter[str] = Counter()

    def steer(self) -> None:
        """Do something, again and again."""
        for _ in range(ROUNDS):
            acts = (self._pause, self._resume, self._cancel, self._retry)
            (act,) = self._dice.choices(acts, weights=(1, 3, 1, 3))
            try:
                act()
            except Complaint:
                self.done["refused"] += 1  # finished, or not paused
            else:
                self.done[act.__name__] += 1
            time.sleep(self._dice.random() * 0.2)  # the pace of the steering, not a wait for anything
        self._ledger.close()

    def _pause(self) -> None:
        control.pause(self._ledger, self._fleet.batch(), reason="a whim")

    def _resume(self) -> None:
        control.resume(self._ledger, self._fleet.settings, self._fleet.batch())

    def _cancel(self) -> None:
        control.cancel(self._ledger, self._fleet.batch(), with_flying=self._dice.random() < 0.5)

    def _retry(self) -> None:
        plan = control.plan_retry(self._ledger, self._fleet.batch(), with_canceled=self._dice.random() < 0.7)
        if plan.count:
            control.retry(self._ledger, self._fleet.settings, plan)


@pytest.fixture
def fleet(tmp_path: Path, redis_url: str, database_url: str) -> Iterator[Fleet]:
    """Its allowance makes the batch last about as long as the steering; outputs live for some seconds."""
    per_minute = str(6 * matrix.jobs())
    with (
        SandboxServer(tmp_path / "sandbox", expire_seconds=KEEP_SECONDS) as sandbox,
        Fleet(
            tmp_path,
            sandbox=sandbox,
            redis_url=redis_url,
            DATABASE_URL=database_url,
            IMAGEJOBS_KEEP_SECONDS=str(KEEP_SECONDS),
            IMAGEJOBS_CREATES_PER_MINUTE=per_minute,
            IMAGEJOBS_MAX_TRIES="12",
        ) as fleet,
    ):
        yield fleet


def test_steering_races(fleet: Fleet, tmp_path: Path) -> None:
    """Counts sum and books balance at every sample; in the end one truth, and nothing paid for that was not counted."""
    fleet.sandbox.faults(TROUBLE)
    fleet.submit(rows(matrix.jobs()))
    fleet.start(2)
    steerers = [Steerer(fleet, seed) for seed in range(3)]
    with ThreadPoolExecutor() as pool, sampled(lambda: assert_books_balance(fleet.ledger)) as samples:
        steering = [pool.submit(steerer.steer) for steerer in steerers]
        acts = sum(fleet.command(verb, "night", *options).returncode == 0 for verb, *options in 2 * BY_COMMAND)
        for one in steering:
            one.result()
    done = sum((steerer.done for steerer in steerers), Counter())
    fleet.sandbox.faults([])
    batch = seen_through(fleet)

    assert batch.total == json.loads((tmp_path / "store" / "night" / "_SUCCESS").read_text())["succeeded"]
    assert {"_pause", "_resume", "_cancel", "_retry"} <= done.keys()
    assert samples.total() > 10
    matrix.proven(
        fleet,
        batch,
        fault="cancel, pause, resume, retry at once",
        injected=acts + done.total() - done["refused"],
        paid_retries=matrix.generated_again(fleet, batch),
    )


@contextmanager
def sampled(look: Callable[[], None]) -> Iterator[Counter[str]]:
    """Look again and again, in a thread, until the block ends. What a look raises is raised at the end."""
    over, looks = threading.Event(), Counter[str]()

    def keep_looking() -> None:
        while not over.wait(0.2):
            look()
            looks["done"] += 1

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(keep_looking)
        try:
            yield looks
        finally:
            over.set()
        looking.result()


def seen_through(fleet: Fleet) -> Batch:
    """Once everybody is sensible: go on until every job has succeeded."""

    def goes_on() -> bool:
        batch = fleet.batch()
        if batch.paused:
            fleet.command("resume", "night")
        elif batch.is_done and batch.counts[State.SUCCEEDED] < batch.total:
            fleet.told("retry", "night", "--canceled", "--yes")
        return batch.is_done and batch.counts[State.SUCCEEDED] == batch.total

    eventually(goes_on, timeout_seconds=180 + matrix.jobs(), every_seconds=0.5, what="every job has succeeded")
    return fleet.batch()
