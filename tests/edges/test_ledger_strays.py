"""Orphans, seen by two sweeps at once: adopted or counted once, and never canceled under who has just adopted them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from imagejobs import moves
from imagejobs.job import Job
from imagejobs.ledger import Ledger
from imagejobs.states import State
from tests.desk import NOW, Desk, accepted
from tests.ledger_books import assert_books_balance


def absent(at: Desk, rows: int = 1) -> list[Job]:
    """Jobs in the queue whose create was declared absent."""
    at.batch(rows)
    jobs = at.begin()
    at.apply(*(moves.proven_absent(job, error="not in the list", due_at=NOW) for job in jobs))
    return [at.read(job) for job in jobs]


def adopt(at: Desk, job: Job, prediction_id: str) -> bool:
    return at.ledger.strays.adopt(job, prediction_id=prediction_id, now=NOW, look_at=NOW)


def count(at: Desk, job: Job, prediction_id: str) -> bool:
    return at.ledger.strays.count(job, prediction_id=prediction_id, now=NOW)


def test_an_orphan_is_adopted_by_the_job_that_waits(ledger: Ledger):
    """It is paid for: the job is running, in an attempt of its own, and nothing is sent for it."""
    at = Desk(ledger)
    (job,) = absent(at)

    assert adopt(at, job, "orphan-1")
    found = at.read(job)
    assert (State.RUNNING, 2, "orphan-1") == (found.state, found.attempt, found.prediction_id)
    assert_books_balance(ledger)


def test_a_second_sweep_finds_it_adopted(ledger: Ledger):
    """It must neither count it as paid for beside the job's own, nor cancel it: it is the job's own."""
    at = Desk(ledger)
    (job,) = absent(at)
    assert adopt(at, job, "orphan-2")

    assert not adopt(at, job, "orphan-2")
    assert not count(at, job, "orphan-2")
    assert 0 == at.batch_of(job).orphans


def test_an_orphan_is_not_given_to_two_jobs(ledger: Ledger):
    """Twins read alike: which of them adopts it does not matter, but one it is."""
    at = Desk(ledger)
    one, other = absent(at, rows=2)

    assert [True, False] == [adopt(at, one, "orphan-3"), adopt(at, other, "orphan-3")]
    assert State.QUEUED is at.read(other).state


def test_an_orphan_is_counted_once(ledger: Ledger):
    """However often the list shows it; and what was counted, and canceled, is adopted by nobody."""
    at = Desk(ledger)
    one, other = absent(at, rows=2)
    at.claim(at.take(1))
    (running,) = [job for job in (at.read(one), at.read(other)) if job.state is State.SUBMITTING]
    (waiting,) = [job for job in (at.read(one), at.read(other)) if job.state is State.QUEUED]
    at.apply(accepted(running))

    assert [True, False] == [count(at, running, "orphan-4"), count(at, running, "orphan-4")]
    assert not adopt(at, waiting, "orphan-4")
    assert 1 == at.batch_of(running).orphans
    assert_books_balance(ledger)


def test_sweeps_that_meet_agree(ledger: Ledger):
    """Eight at once, on twins: one adopts, nobody counts what was adopted, and nothing breaks."""
    at = Desk(ledger)
    twins = absent(at, rows=8)
    together = threading.Barrier(len(twins))

    def sweep(job: Job) -> tuple[bool, bool]:
        together.wait(30)
        is_adopted = adopt(at, job, "orphan-5")
        return is_adopted, not is_adopted and count(at, job, "orphan-5")

    with ThreadPoolExecutor(len(twins)) as threads:
        found = list(threads.map(sweep, twins))

    assert 1 == sum(is_adopted for is_adopted, _ in found)
    assert not any(is_counted for _, is_counted in found)
    assert_books_balance(ledger)


def test_nothing_of_a_batch_that_was_never_opened_turns_up(ledger: Ledger):
    """Nothing of it was sent; and it may be discarded, with whatever had been written of it."""
    at = Desk(ledger)
    batch = at.batch(is_open=False)
    (row,) = ledger.views.job_rows(batch.id)
    job = at.read(row["id"])

    assert not adopt(at, job, "orphan-of-another")
    assert not count(at, job, "orphan-of-another")

    ledger.batches.discard(batch.id)

    assert_books_balance(ledger)


def test_a_reading_of_a_discarded_job_is_no_reading_of_the_next_one(ledger: Ledger):
    """SQLite gives its id away again; whoever still holds the old reading moves nobody."""
    at = Desk(ledger)
    batch = at.batch(is_open=False)
    (row,) = ledger.views.job_rows(batch.id)
    old = at.read(row["id"])
    at.batch(rows=0)  # another has its batch's next id
    ledger.batches.discard(batch.id)
    at.batch()

    assert not adopt(at, old, "orphan-of-a-discarded-one")
    assert not count(at, old, "orphan-of-a-discarded-one")
    assert [] == at.ledger.jobs.apply([moves.canceled(old, at=NOW)], now=NOW)
    assert_books_balance(ledger)
