"""What a person does to many jobs at once: cancel and retry. In chunks, so that workers get their turn between them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Select, and_, func, select, text, update

from imagejobs.errors import Cause
from imagejobs.job import FailureGroup, Selection
from imagejobs.ledger.engine import Database
from imagejobs.ledger.tables import attempts, batches, jobs
from imagejobs.states import State

CHUNK = 5000  # jobs a transaction: some tens of milliseconds on SQLite
CURRENT = and_(attempts.c.job_id == jobs.c.id, attempts.c.number == jobs.c.attempt)


class Steering:
    """Bulk transitions, each guarded by the state it starts from, with the counters in the same transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def cancel_queued(self, batch_id: int, *, now: float) -> int:
        """queued → canceled for all of the batch. Nothing was paid for them. Returns how many."""
        queued = select(jobs.c.id).where(jobs.c.batch_id == batch_id, jobs.c.state == State.QUEUED)
        values = {"state": State.CANCELED.value, "finished_at": now, "hinted": 0}
        return self._in_chunks(batch_id, queued, State.QUEUED, State.CANCELED, values, now=now)

    def ask_to_cancel(self, batch_id: int) -> int:
        """Mark what is in flight: the next sweep cancels it at the provider. Returns how many."""
        flying = jobs.c.batch_id == batch_id, jobs.c.state.in_([State.SUBMITTING.value, State.RUNNING.value])
        with self._database.write() as connection:
            return int(connection.execute(update(jobs).where(*flying).values(cancel_requested=1)).rowcount)

    def groups(self, batch_id: int, selection: Selection, *, now: float) -> list[FailureGroup]:
        """The selected jobs by cause and text, most first; `copyable` of them are still at the provider, for free."""
        columns = (
            jobs.c.cause,
            func.coalesce(jobs.c.error_key, "").label("error_key"),
            func.count().label("count"),
            func.min(jobs.c.id).label("sample"),
            func.sum(_copyable(now).cast(jobs.c.hinted.type)).label("copyable"),
        )
        chosen = _selected(select(*columns), batch_id, selection).group_by(jobs.c.cause, jobs.c.error_key)
        with self._database.read() as connection:
            rows = connection.execute(chosen.order_by(func.count().desc())).all()
            wanted = [row.sample for row in rows]
            samples = {
                row.id: row
                for row in connection.execute(
                    select(jobs.c.id, jobs.c.row_id, jobs.c.error).where(jobs.c.id.in_(wanted))
                )
            }
        return [_group(row, samples[row.sample]) for row in rows]

    def retry(self, batch_id: int, selection: Selection, *, max_tries: int, now: float) -> tuple[int, int]:
        """Re-queue the selection: copy again what is still there (free), generate the rest again (paid).

        Returns how many of each. A copy that then turns out expired fails, and is not paid for unasked.
        """
        self._reopen(batch_id, now=now)
        afresh: dict[str, Any] = {
            "hinted": 0,
            "due_at": now,
            "cancel_requested": 0,
            "cause": None,
            "error": None,
            "error_key": None,
        }
        afresh |= {"finished_at": None, "why": "retry"}
        copied = generated = 0
        for source in selection.states:
            chosen = _selected(select(jobs.c.id), batch_id, selection, state=source)
            free = {**afresh, "state": State.STORING.value, "tries_left": 1}
            paid = {**afresh, "state": State.QUEUED.value, "tries_left": max_tries}
            copied += self._in_chunks(batch_id, chosen.where(_copyable(now)), source, State.STORING, free, now=now)
            generated += self._in_chunks(batch_id, chosen, source, State.QUEUED, paid, now=now)
        return copied, generated

    def _reopen(self, batch_id: int, *, now: float) -> None:
        again = {"generation": batches.c.generation + 1, "closed_at": None, "closing_until": 0.0, "last_moved_at": now}
        with self._database.write() as connection:
            connection.execute(update(batches).where(batches.c.id == batch_id).values(**again))

    def _in_chunks(
        self, batch_id: int, chosen: Select[Any], source: State, target: State, values: dict[str, Any], *, now: float
    ) -> int:
        moved = 0
        while True:
            with self._database.write() as connection:
                chunk = chosen.order_by(jobs.c.id).limit(CHUNK).with_for_update(of=jobs)
                ids = [row.id for row in connection.execute(chunk)]
                if not ids:
                    return moved
                _note_risk(connection, batch_id, ids, target)
                connection.execute(update(jobs).where(jobs.c.id.in_(ids), jobs.c.state == source).values(**values))
                counts = {
                    source.value: batches.c[source.value] - len(ids),
                    target.value: batches.c[target.value] + len(ids),
                }
                connection.execute(update(batches).where(batches.c.id == batch_id).values(**counts, last_moved_at=now))
            moved += len(ids)


def _selected(query: Select[Any], batch_id: int, selection: Selection, state: State | None = None) -> Select[Any]:
    states = [state] if state else list(selection.states)
    # The partial index on failed jobs serves only a query that names the state in its text.
    names = ", ".join(f"'{one.value}'" for one in states)
    condition = text(f"jobs.state = {names}") if len(states) == 1 else text(f"jobs.state IN ({names})")
    query = query.select_from(jobs.outerjoin(attempts, CURRENT)).where(condition, jobs.c.batch_id == batch_id)
    if selection.causes:
        query = query.where(jobs.c.cause.in_(selection.causes))
    if selection.ids:
        query = query.where(jobs.c.row_id.in_(selection.ids))
    if selection.finished_before is not None:
        query = query.where(jobs.c.finished_at <= selection.finished_before)
    return query


def _copyable(now: float) -> Any:
    return and_(attempts.c.output.is_not(None), attempts.c.expires_at > now)


def _note_risk(connection: Connection, batch_id: int, ids: list[int], target: State) -> None:
    """Generating again what may already be paid for is counted where everybody sees it."""
    if target is not State.QUEUED:
        return
    risky = select(jobs.c.id).where(jobs.c.id.in_(ids), jobs.c.cause == Cause.UNKNOWN_OUTCOME)
    count = connection.execute(select(func.count()).select_from(risky.subquery())).scalar_one()
    if count:
        total = batches.c.possible_double_payments + count
        connection.execute(update(batches).where(batches.c.id == batch_id).values(possible_double_payments=total))


def _group(row: Any, sample: Any) -> FailureGroup:
    return FailureGroup(
        cause=row.cause or "unknown",
        error_key=row.error_key,
        count=row.count,
        sample_id=sample.row_id,
        sample_error=sample.error or "",
        copyable=int(row.copyable or 0),
    )
