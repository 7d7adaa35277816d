"""Whether the ledger's books balance: what it keeps by addition, held against a full count of its rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Alias, Connection, Table, and_, case, func, or_, select
from sqlalchemy.sql.elements import ColumnElement

from imagejobs.ledger import Ledger
from imagejobs.ledger.tables import attempts, batches, images, jobs, orphans, specs
from imagejobs.states import FINAL, State

MAY_BE_HINTED = (State.QUEUED, State.STORING)
NEVER_PAID_BY_ITSELF = "orphan"  # an adopted prediction was sent, and counted, as the attempt that was declared absent
NOT_POSTED = ("intended", "not_sent")


def assert_books_balance(ledger: Ledger) -> None:
    """Every counter equals a count of rows, and every row is one that a chain of allowed moves can have left.

    Reads one snapshot, so it may be called while workers run. Cost: a few scans of every table.
    """
    with _snapshot(ledger) as connection:
        assert _counted(connection) == _kept(connection)
        for what, strange in _STRANGE.items():
            found = [tuple(row) for row in connection.execute(strange.limit(5))]
            assert (what, []) == (what, found)


@contextmanager
def _snapshot(ledger: Ledger) -> Iterator[Connection]:
    """One moment's view: SQLite's transactions see nothing else, PostgreSQL's have to be asked for it."""
    engine = ledger.database.engine
    level = engine if ledger.database.is_sqlite else engine.execution_options(isolation_level="REPEATABLE READ")
    with level.begin() as connection:
        yield connection


def _kept(connection: Connection) -> dict[str, dict[str, int]]:
    names = [*map(str, State), "total", "images", "creates_sent", "possible_double_payments", "orphans"]
    query = select(batches.c.key, *batches.c[tuple(names)])
    return {row.key: {name: getattr(row, name) for name in names} for row in connection.execute(query)}


def _counted(connection: Connection) -> dict[str, dict[str, int]]:
    by_state = {state.value: _number(jobs.c.state == state) for state in State}
    counts = _by_batch(connection, jobs, total=func.count(jobs.c.id), **by_state)
    was_posted = and_(
        attempts.c.outcome.not_in(NOT_POSTED),
        or_(attempts.c.why.is_(None), attempts.c.why != NEVER_PAID_BY_ITSELF),
    )
    of_attempts = jobs.join(attempts, attempts.c.job_id == jobs.c.id)
    risks = func.coalesce(func.sum(attempts.c.possible_double_payment), 0)
    sent = _by_batch(connection, of_attempts, creates_sent=_number(was_posted), possible_double_payments=risks)
    stored = _by_batch(connection, jobs.join(images, images.c.job_id == jobs.c.id), images=func.count())
    strays = _by_batch(connection, jobs.join(orphans, orphans.c.job_id == jobs.c.id), orphans=func.count())
    keys = connection.execute(select(batches.c.key)).scalars()
    none = dict.fromkeys(
        ("total", "images", "creates_sent", "possible_double_payments", "orphans", *map(str, State)), 0
    )
    return {
        key: none | counts.get(key, {}) | sent.get(key, {}) | stored.get(key, {}) | strays.get(key, {}) for key in keys
    }


def _number(condition: ColumnElement[bool]) -> Any:
    return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)


def _by_batch(connection: Connection, source: Any, **columns: Any) -> dict[str, dict[str, int]]:
    labeled = [column.label(name) for name, column in columns.items()]
    query = select(batches.c.key, *labeled).select_from(batches.join(source, jobs.c.batch_id == batches.c.id))
    rows = connection.execute(query.group_by(batches.c.key))
    return {row.key: {name: getattr(row, name) for name in columns} for row in rows}


def _jobs_where(*conditions: Any) -> Any:
    current = and_(attempts.c.job_id == jobs.c.id, attempts.c.number == jobs.c.attempt)
    shown = jobs.c["id", "row_id", "state", "attempt"]
    return select(*shown).select_from(jobs.outerjoin(attempts, current)).where(*conditions)


def _of_job(table: Table | Alias, value: Any) -> Any:
    return select(value).select_from(table).where(table.c.job_id == jobs.c.id).correlate(jobs).scalar_subquery()


_ALL = attempts.alias("every_attempt")
_ATTEMPTS, _LAST_ATTEMPT = _of_job(_ALL, func.count()), _of_job(_ALL, func.coalesce(func.max(_ALL.c.number), 0))
_IMAGES = _of_job(images, func.count())
_IS_FINAL = jobs.c.state.in_([state.value for state in FINAL])

_STRANGE = {
    "a job whose attempts are not numbered 1 to its own": _jobs_where(
        or_(jobs.c.attempt != _ATTEMPTS, jobs.c.attempt != _LAST_ATTEMPT)
    ),
    "a job of no batch": _jobs_where(jobs.c.batch_id.not_in(select(batches.c.id))),
    "a job of which nobody knows what was asked": _jobs_where(jobs.c.id.not_in(select(specs.c.job_id))),
    "what was asked of no job": select(specs.c.job_id).where(specs.c.job_id.not_in(select(jobs.c.id))),
    "a job in a state that the table does not have": _jobs_where(jobs.c.state.not_in([state.value for state in State])),
    "a message for a job that none may be for": _jobs_where(
        jobs.c.hinted != 0, jobs.c.state.not_in([state.value for state in MAY_BE_HINTED])
    ),
    "an intent that was not recorded": _jobs_where(
        jobs.c.state == State.SUBMITTING, func.coalesce(attempts.c.outcome, "none") != "intended"
    ),
    "a running job without its prediction": _jobs_where(
        jobs.c.state == State.RUNNING, attempts.c.prediction_id.is_(None)
    ),
    "a copy without its addresses or their expiry": _jobs_where(
        jobs.c.state == State.STORING, or_(attempts.c.output.is_(None), attempts.c.expires_at.is_(None))
    ),
    "a success with fewer images than were asked for": _jobs_where(
        jobs.c.state == State.SUCCEEDED, _IMAGES < jobs.c.outputs
    ),
    "a success that remembers addresses": _jobs_where(jobs.c.state == State.SUCCEEDED, attempts.c.output.is_not(None)),
    "a final job without its end": _jobs_where(_IS_FINAL, jobs.c.finished_at.is_(None)),
    "an end of a job that is not final": _jobs_where(~_IS_FINAL, jobs.c.finished_at.is_not(None)),
    "a failure without a cause": _jobs_where(jobs.c.state == State.FAILED, jobs.c.cause.is_(None)),
    "an attempt of no job": select(attempts.c.job_id).where(attempts.c.job_id.not_in(select(jobs.c.id))),
    "an image of no attempt": select(images.c.job_id, images.c.attempt).where(
        ~select(attempts.c.number)
        .where(attempts.c.job_id == images.c.job_id, attempts.c.number == images.c.attempt)
        .exists()
    ),
    "a closed batch with live jobs": select(batches.c.key).where(
        batches.c.closed_at.is_not(None),
        batches.c.queued + batches.c.submitting + batches.c.running + batches.c.storing > 0,
    ),
}
