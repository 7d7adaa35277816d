"""Orphans: predictions of ours that no attempt knows. They exist when a create was declared absent too soon.

That takes a worker that slept between its last look at the clock and its POST, or a list that lagged longer than the
setting allows for. Whatever the way, the prediction is paid for: it is adopted if its job still needs one.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from imagejobs.job import Job
from imagejobs.ledger.engine import Database
from imagejobs.ledger.rows import alike, job_of, job_query
from imagejobs.ledger.tables import ABSENT, attempts, batches, jobs, orphans
from imagejobs.states import State

IS_ABSENT = text("absent_ones." + ABSENT)
# Built once: a sweep asks them.
_LOST = attempts.alias("absent_ones")
_LATELY = (IS_ABSENT, _LOST.c.intent_at >= bindparam("since"), batches.c.account == bindparam("account"))
_SUSPECTS = job_query().join(_LOST, _LOST.c.job_id == jobs.c.id).where(*_LATELY)
_FIRST_LOST = (
    select(func.min(_LOST.c.intent_at))
    .join(jobs, jobs.c.id == _LOST.c.job_id)
    .join(batches, batches.c.id == jobs.c.batch_id)
    .where(*_LATELY)
)


class Strays:
    """The ledger's side of orphans."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def suspects(self, account: str, *, since: float) -> list[Job]:
        """Jobs one of whose creates was declared absent since then: only theirs can turn up all the same."""
        with self._database.read() as connection:
            rows = connection.execute(_SUSPECTS, {"account": account, "since": since})
            found = {row.id: job_of(row) for row in rows}
        return list(found.values())

    def first_lost(self, account: str, *, since: float) -> float | None:
        """When the first create that was declared absent since then was to be sent; None when none was."""
        with self._database.read() as connection:
            return connection.execute(_FIRST_LOST, {"account": account, "since": since}).scalar()

    def adopt(self, job: Job, *, prediction_id: str, now: float, look_at: float) -> bool:
        """queued → submitting → running in one step: the job has its prediction already.

        False: the job has moved on, or another process that saw the same orphan was quicker.
        """
        try:
            with self._database.write() as connection:
                return _adopt(connection, job, prediction_id=prediction_id, now=now, look_at=look_at)
        except IntegrityError:
            return False  # adopted in the same instant, for a twin of this job

    def count(self, job: Job, *, prediction_id: str, now: float) -> bool:
        """The job has another prediction: this one was paid for beside it. Remembered once, and shown in `status`.

        False: it is no orphan (any more). It belongs to an attempt, or was counted before; it must not be canceled.
        """
        try:
            with self._database.write() as connection:
                return _count(connection, job, prediction_id=prediction_id, now=now)
        except IntegrityError:
            return False  # counted in the same instant

    def counted(self, prediction_ids: Sequence[str]) -> set[str]:
        """Which of these predictions are orphans that were counted."""
        found: set[str] = set()
        with self._database.read() as connection:
            for ids in alike(prediction_ids):
                mine = select(orphans.c.prediction_id).where(orphans.c.prediction_id.in_(ids))
                found.update(connection.execute(mine).scalars())
        return found


def _adopt(connection: Connection, job: Job, *, prediction_id: str, now: float, look_at: float) -> bool:
    standing = _locked(connection, job)
    if standing != (State.QUEUED, job.attempt) or _is_known(connection, prediction_id):
        return False
    values = {"state": State.RUNNING.value, "attempt": job.attempt + 1, "hinted": 0, "due_at": look_at}
    values |= {"cause": None, "error": None, "error_key": None}
    connection.execute(update(jobs).where(jobs.c.id == job.id).values(**values))
    attempt = {"job_id": job.id, "number": job.attempt + 1, "why": "orphan", "intent_at": now}
    attempt |= {"accepted_at": now, "prediction_id": prediction_id, "outcome": "accepted"}
    connection.execute(insert(attempts).values(**attempt))
    counts = {"queued": batches.c.queued - 1, "running": batches.c.running + 1, "last_moved_at": now}
    connection.execute(update(batches).where(batches.c.id == job.batch_id).values(**counts))
    return True


def _count(connection: Connection, job: Job, *, prediction_id: str, now: float) -> bool:
    # The lock waits for a process that is just adopting it: two sweeps may have the same page of the list in hand.
    if _locked(connection, job) is None or _is_known(connection, prediction_id):
        return False
    connection.execute(insert(orphans).values(prediction_id=prediction_id, job_id=job.id, found_at=now))
    more = {"orphans": batches.c.orphans + 1}
    connection.execute(update(batches).where(batches.c.id == job.batch_id).values(**more))
    return True


def _locked(connection: Connection, job: Job) -> tuple[str, int] | None:
    """The job's state and attempt, with its row locked. None for a job of a batch that was discarded or never opened.

    Nothing of that was ever sent: what is said to be its prediction is another's, and would be forgotten with it.
    SQLite gives the id of a discarded batch's job to the next one, so both ids have to be right.
    """
    query = select(*jobs.c["state", "attempt"]).join(batches, batches.c.id == jobs.c.batch_id)
    opened = query.where(jobs.c.id == job.id, jobs.c.batch_id == job.batch_id, batches.c.opened_at.is_not(None))
    row = connection.execute(opened.with_for_update(of=jobs)).first()
    return None if row is None else (row.state, row.attempt)


def _is_known(connection: Connection, prediction_id: str) -> bool:
    columns = (attempts.c.prediction_id, orphans.c.prediction_id)
    return any(connection.execute(select(column).where(column == prediction_id)).first() for column in columns)
