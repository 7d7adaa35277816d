"""What a person does to many jobs at once: cancel and retry. In chunks, so that workers get their turn between them.

The selection is read first, once; each chunk is then locked and moved only where it still stands. No job is met twice,
whatever becomes of it meanwhile.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Connection,
    Row,
    Select,
    TextClause,
    and_,
    case,
    func,
    select,
    text,
    union_all,
    update,
)

from imagejobs.errors import Cause
from imagejobs.job import FailureGroup, Selection
from imagejobs.ledger.bulk import among
from imagejobs.ledger.counters import NOT_PAUSED, REOPENED
from imagejobs.ledger.engine import Database
from imagejobs.ledger.rows import parts
from imagejobs.ledger.tables import AT_ONCE, END_IT, IN_FLIGHT, NOT_AGAIN, attempts, batches, jobs
from imagejobs.ledger.turns import IS_HINTED, IS_WAITING
from imagejobs.states import LIVE, State

CHUNK = 5000  # jobs a transaction: some tens of milliseconds on SQLite
IS_FLYING = text(f"jobs.{IN_FLIGHT}")
CURRENT = and_(attempts.c.job_id == jobs.c.id, attempts.c.number == jobs.c.attempt)


class Steering:
    """Bulk transitions, each guarded by the state it starts from, with the counters in the same transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def cancel_queued(self, batch_id: int, *, now: float) -> int:
        """queued → canceled for all of the batch. Nothing was paid for them. Returns how many.

        What is in flight goes on, but is not paid for again: if it comes back to the queue, it is canceled there.
        """
        queued = select(jobs.c.id).where(_is_of(batch_id), text("jobs.state = 'queued'"))
        canceled = 0
        for ids in parts(self._ids(_among(batch_id, IS_WAITING, IS_HINTED)), CHUNK):
            with self._database.write() as connection:
                still = [row.id for row in _lock(connection, queued.where(among(connection, ids)))]
                _cancel(connection, batch_id, still, now=now)
            canceled += len(still)
        return canceled + self._cancel_rest(batch_id, now=now)

    def _cancel_rest(self, batch_id: int, *, now: float) -> int:
        """All live states in one statement: a job that changes between them meanwhile is met all the same."""
        still_live = jobs.c.state.in_([state.value for state in LIVE])
        alive = jobs.c.id.in_(_among(batch_id, IS_WAITING, IS_HINTED, IS_FLYING))
        with self._database.write() as connection:
            found = _lock(connection, select(*jobs.c["id", "state"]).where(alive, still_live))
            back = [row.id for row in found if row.state == State.QUEUED]
            _cancel(connection, batch_id, back, now=now)
            flying = [row.id for row in found if row.state != State.QUEUED]
            for ids in parts(flying):
                unmarked = among(connection, ids), jobs.c.cancel_requested == 0
                connection.execute(update(jobs).where(*unmarked).values(cancel_requested=NOT_AGAIN))
            return len(back)

    def ask_to_cancel(self, batch_id: int) -> int:
        """Mark what is in flight: the next sweep cancels it at the provider. Returns how many."""
        flying = select(jobs.c.id).where(
            _is_of(batch_id), IS_FLYING, jobs.c.state.in_((State.SUBMITTING.value, State.RUNNING.value))
        )
        with self._database.write() as connection:
            found = [row.id for row in _lock(connection, flying)]
            for ids in parts(found):
                connection.execute(update(jobs).where(among(connection, ids)).values(cancel_requested=END_IT))
            return len(found)

    def groups(self, batch_id: int, selection: Selection, *, now: float) -> list[FailureGroup]:
        """The selected jobs by cause and text, most first; `copyable` of them are still at the provider, for free."""
        columns = (
            jobs.c.cause,
            func.coalesce(jobs.c.error_key, "").label("error_key"),
            func.count().label("size"),
            func.min(jobs.c.id).label("sample"),
            func.sum(case((_copyable(now), 1), else_=0)).label("copyable"),
        )
        found = (
            _selected(select(*columns), jobs.c.batch_id == batch_id, selection)
            .group_by(jobs.c.cause, jobs.c.error_key)
            .subquery()
        )
        sample = jobs.alias("samples")
        query = select(found, sample.c.row_id, sample.c.error).join(sample, sample.c.id == found.c.sample)
        with self._database.read() as connection:
            return [_group(row) for row in connection.execute(query.order_by(found.c.size.desc(), found.c.sample))]

    def retry(
        self, batch_id: int, selection: Selection, *, max_tries: int, now: float, shown_at: float | None = None
    ) -> tuple[int, int]:
        """Re-queue the selection: copy again what is still there (free), generate the rest again (paid).

        Returns how many of each. A copy that then turns out expired fails, and is not paid for unasked: so does one
        that expired since the plan was shown to somebody, at `shown_at`, as free.
        """
        self._reopen(batch_id, now=now)
        copied = generated = 0
        for source in selection.states:
            is_free = case((_copyable(now if shown_at is None else shown_at), 1), else_=0).label("is_free")
            meant = replace(selection, states=(source,))
            standing = _selected(select(*jobs.c["id", "cause"], is_free), _is_of(batch_id), meant)
            for ids in parts(self._ids(_candidates(batch_id, meant)), CHUNK):
                with self._database.write() as connection:
                    found = _lock(connection, standing.where(among(connection, ids)))
                    free, paid = _requeue(connection, batch_id, source, found, max_tries=max_tries, now=now)
                copied, generated = copied + free, generated + paid
        return copied, generated

    def _reopen(self, batch_id: int, *, now: float) -> None:
        with self._database.write() as connection:
            _count(connection, batch_id, {}, **REOPENED, last_moved_at=now)
            # The marker was taken away, so the store works again; that its files could not be written is past.
            storage = batches.c.id == batch_id, batches.c.paused_kind == "storage"
            connection.execute(update(batches).where(*storage).values(**NOT_PAUSED))

    def _ids(self, chosen: Select[Any] | CompoundSelect[Any]) -> array[int]:
        """Eight bytes each, and no more than a page of them on the way: there may be a million."""
        ids = array("q")
        with self._database.read() as connection:
            for some in connection.execute(chosen.execution_options(yield_per=CHUNK)).partitions():
                ids.extend(row[0] for row in some)
        return ids


_AFRESH: Mapping[str, Any] = {
    "hinted": 0,
    "cancel_requested": 0,
    "cause": None,
    "error": None,
    "error_key": None,
    "finished_at": None,
    "why": "retry",
}


def _among(batch_id: int, *states: TextClause) -> CompoundSelect[Any]:
    """The ids of the batch's jobs in these states, each read along the index on those."""
    mine = [jobs.c.batch_id == batch_id if one is IS_WAITING else _is_of(batch_id) for one in states]
    chosen = (select(jobs.c.id).where(batch, one) for batch, one in zip(mine, states, strict=True))
    return union_all(*(one.correlate(None) for one in chosen))


def _is_of(batch_id: int) -> ColumnElement[bool]:
    """A job of the batch that is found by something else: its id, or its state.

    + 0 hides the indexes that begin with the batch: SQLite would rather read all of it along one of those, the finished
    jobs too, and once more for every chunk.
    """
    return jobs.c.batch_id + 0 == batch_id


def _lock(connection: Connection, chosen: Select[Any]) -> Sequence[Row[Any]]:
    """The chosen jobs, locked in order of id, as everywhere: no deadlock."""
    return connection.execute(chosen.order_by(jobs.c.id).with_for_update(of=jobs)).all()


def _cancel(connection: Connection, batch_id: int, ids: Sequence[int], *, now: float) -> None:
    """Cancel these, which are queued and locked."""
    for some in parts(ids):
        values = {"state": State.CANCELED.value, "finished_at": now, "hinted": 0}
        connection.execute(update(jobs).where(among(connection, some)).values(**values))
    if ids:
        change = {State.QUEUED: -len(ids), State.CANCELED: len(ids)}
        _count(connection, batch_id, change, last_moved_at=now)


def _requeue(
    connection: Connection, batch_id: int, source: State, found: Sequence[Row[Any]], *, max_tries: int, now: float
) -> tuple[int, int]:
    """Queue these, which are locked: to be copied the free ones, to be generated the others. Returns how many each."""
    free = [job_id for job_id, _, is_free in found if is_free]
    paid = [job_id for job_id, _, is_free in found if not is_free]
    unsure = [job_id for job_id, cause, is_free in found if not is_free and cause == Cause.UNKNOWN_OUTCOME]
    doubles = batches.c.possible_double_payments + _note_risk(connection, unsure)
    for ids, state, tries, due_at in ((free, State.STORING, 1, now), (paid, State.QUEUED, max_tries, AT_ONCE)):
        values = {**_AFRESH, "state": state.value, "tries_left": tries, "due_at": due_at}
        if ids:
            connection.execute(update(jobs).where(among(connection, ids)).values(**values))
    change = {source: -len(found), State.STORING: len(free), State.QUEUED: len(paid)}
    # With every chunk, not only at first: a closer that began in between must find a generation that is not its own.
    _count(connection, batch_id, change, **REOPENED, last_moved_at=now, possible_double_payments=doubles)
    return len(free), len(paid)


def _note_risk(connection: Connection, ids: Sequence[int]) -> int:
    """Generating again what may already be paid for, as these may, is counted where everybody sees it."""
    if not ids:
        return 0
    current = select(jobs.c.attempt).where(jobs.c.id == attempts.c.job_id).scalar_subquery()
    uncounted = attempts.c.possible_double_payment == 0
    risky = update(attempts).where(attempts.c.job_id.in_(ids), attempts.c.number == current, uncounted)
    return int(connection.execute(risky.values(possible_double_payment=1)).rowcount)


def _count(connection: Connection, batch_id: int, change: Mapping[State, int], **values: Any) -> None:
    counts = {state.value: batches.c[state.value] + by for state, by in change.items()}
    connection.execute(update(batches).where(batches.c.id == batch_id).values(**counts, **values))


def _candidates(batch_id: int, selection: Selection) -> Select[Any]:
    """The ids of the selection, and of what finished after it too.

    When a job finished is not in the index on failed ones, and is looked at again under the lock anyway.
    """
    whenever = replace(selection, finished_before=None)
    return _selected(select(jobs.c.id), jobs.c.batch_id == batch_id, whenever).order_by(jobs.c.id)


def _selected(query: Select[Any], is_mine: ColumnElement[bool], selection: Selection) -> Select[Any]:
    # The partial index on failed jobs serves only a query that names the state in its text.
    states = " OR ".join(f"jobs.state = '{state.value}'" for state in selection.states)
    query = query.select_from(jobs.outerjoin(attempts, CURRENT)).where(text(f"({states})"), is_mine)
    if selection.causes:
        query = query.where(jobs.c.cause.in_(selection.causes))
    if selection.ids:
        query = query.where(jobs.c.row_id.in_(selection.ids))
    if selection.finished_before is not None:
        query = query.where(jobs.c.finished_at <= selection.finished_before)
    return query


def _copyable(now: float) -> ColumnElement[bool]:
    return and_(attempts.c.output.is_not(None), attempts.c.expires_at > now)


def _group(row: Row[Any]) -> FailureGroup:
    return FailureGroup(
        cause=row.cause or "unknown",
        error_key=row.error_key,
        count=row.size,
        sample_id=row.row_id,
        sample_error=row.error or "",
        copyable=row.copyable,
    )
