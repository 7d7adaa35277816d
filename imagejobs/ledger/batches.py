"""Batches: making and filling them, pausing, and closing them once every job is final."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, and_, bindparam, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from imagejobs.breaker import probe_after
from imagejobs.job import Batch, SpecText
from imagejobs.ledger.bulk import insert_rows, take_ids
from imagejobs.ledger.counters import NO_STREAK, NOT_PAUSED, REOPENED
from imagejobs.ledger.engine import Database
from imagejobs.ledger.rows import batch_of, expiries
from imagejobs.ledger.tables import AT_ONCE, batches, jobs, specs
from imagejobs.ledger.turns import runnable
from imagejobs.states import LIVE, State

IS_IDLE = and_(*(batches.c[state.value] == 0 for state in sorted(LIVE)))

_UNFINISHED = (
    select(batches)
    .where(batches.c.account == bindparam("account"), batches.c.closed_at.is_(None), batches.c.opened_at.is_not(None))
    .order_by(batches.c.id)
)
_OF_KEY = select(batches).where(batches.c.key == bindparam("of_key"))


class Closed(NamedTuple):
    """How a batch was closed."""

    batch_id: int
    generation: int
    at: float


class Batches:
    """What concerns a batch as a whole."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, key: str, *, facts: Mapping[str, Any], now: float) -> Batch | None:
        """A new batch, still shut: nothing is sent before `open`. None when the key is taken.

        `facts`: account, store, rows_digest, and optionally weight, priority, not_before.
        """
        try:
            with self._database.write() as connection:
                connection.execute(insert(batches).values(key=key, created_at=now, **facts))
        except IntegrityError:
            return None
        return self.get(key)

    def add(self, batch_id: int, asked: Sequence[SpecText], *, max_tries: int) -> None:
        """Write these specs as queued jobs, in one transaction. Raises LookupError when the batch was discarded."""
        if not asked:
            return
        grown = {"total": batches.c.total + len(asked), "queued": batches.c.queued + len(asked)}
        with self._database.write() as connection:
            if connection.execute(update(batches).where(batches.c.id == batch_id).values(**grown)).rowcount != 1:
                raise LookupError(f"batch {batch_id} is gone: another submit took it for a dead one and began anew")
            numbered = list(zip(take_ids(connection, len(asked)), asked, strict=True))
            insert_rows(
                connection, jobs, _NEW_JOB, (_new_job(one, batch_id, spec, max_tries) for one, spec in numbered)
            )
            asked_rows = ((one, spec.version, spec.input, spec.tags) for one, spec in numbered)
            insert_rows(connection, specs, ("job_id", "version", "input", "tags"), asked_rows)

    def open(self, batch_id: int, *, now: float) -> None:
        """All rows are in: from now on its jobs are sent. It starts level with its rivals at the fair clock."""
        shut = batches.c.id == batch_id, batches.c.opened_at.is_(None)
        with self._database.write() as connection:
            batch = connection.execute(select(batches.c.account, batches.c.priority).where(*shut)).one_or_none()
            if batch is None:
                return
            rivals = [one for one in runnable(connection, batch.account, now) if one.priority == batch.priority]
            served = max((one.served for one in rivals), default=0.0)
            values = {"opened_at": now, "last_moved_at": now, "served": served}
            connection.execute(update(batches).where(*shut).values(**values))

    def discard(self, batch_id: int) -> None:
        """Forget a batch whose submit died before it was opened. Nothing of it was ever sent."""
        with self._database.write() as connection:
            shut = batches.c.id == batch_id, batches.c.opened_at.is_(None)
            # Jobs before their batch, as everywhere, or a cancel at the same time would wait in a ring with this.
            mine = select(jobs.c.id).where(jobs.c.batch_id == batch_id, select(batches.c.id).where(*shut).exists())
            locked = mine.order_by(jobs.c.id).with_for_update(of=jobs).subquery()
            connection.execute(select(func.count()).select_from(locked))
            if connection.execute(delete(batches).where(*shut)).rowcount:
                ids = select(jobs.c.id).where(jobs.c.batch_id == batch_id)
                connection.execute(delete(specs).where(specs.c.job_id.in_(ids)))
                connection.execute(delete(jobs).where(jobs.c.batch_id == batch_id))

    def get(self, key: str) -> Batch | None:
        """The batch of that key; its counts come from its own row, whatever its size."""
        with self._database.read() as connection:
            row = connection.execute(_OF_KEY, {"of_key": key}).one_or_none()
            return None if row is None else _seen(connection, row)

    def rows_digest(self, batch_id: int) -> str:
        """The digest of the rows that the batch was made of."""
        with self._database.read() as connection:
            return str(connection.execute(select(batches.c.rows_digest).where(batches.c.id == batch_id)).scalar_one())

    def all(self) -> list[Batch]:
        """Every batch, the newest first."""
        with self._database.read() as connection:
            rows = connection.execute(select(batches).order_by(batches.c.id.desc())).all()
            return [_seen(connection, row) for row in rows]

    def unfinished(self, account: str) -> list[Batch]:
        """The account's opened batches that are not closed."""
        with self._database.read() as connection:
            return [batch_of(row) for row in connection.execute(_UNFINISHED, {"account": account})]

    def pause(self, batch_id: int, *, kind: str, reason: str, now: float) -> bool:
        """Send nothing more of it. A person's pause (`user`) ends by `resume` only, the others by a probe too."""
        free = [batches.c.id == batch_id, batches.c.closed_at.is_(None)]
        free += [] if kind == "user" else [batches.c.paused.is_(None)]
        probe_at = None if kind == "user" else now + probe_after(0)
        values = {**NOT_PAUSED, "paused": reason, "paused_kind": kind, "probe_at": probe_at}
        with self._database.write() as connection:
            return connection.execute(update(batches).where(*free).values(**values)).rowcount == 1

    def resume(self, batch_id: int) -> bool:
        """Send again, and close it at once where only that is left. False when it was not paused."""
        paused = batches.c.id == batch_id, batches.c.paused.is_not(None)
        values = {**NOT_PAUSED, **NO_STREAK, "closing_until": 0.0}
        with self._database.write() as connection:
            return connection.execute(update(batches).where(*paused).values(**values)).rowcount == 1

    def start_closing(self, batch_id: int, *, now: float, lease_until: float) -> bool:
        """Take the closing of a batch in hand; one closer at a time, and only when every job is final."""
        mine = batches.c.id == batch_id, batches.c.closed_at.is_(None), batches.c.closing_until <= now, IS_IDLE
        with self._database.write() as connection:
            values = {"closing_until": lease_until}
            return connection.execute(update(batches).where(*mine).values(**values)).rowcount == 1

    def finish_closing(self, batch: Batch, *, now: float) -> bool:
        """Closed, unless a retry has reopened it since `batch` was read: then the marker must go away again."""
        same = (
            batches.c.id == batch.id,
            batches.c.generation == batch.generation,
            batches.c.closed_at.is_(None),
            IS_IDLE,
        )
        values = {**NOT_PAUSED, **NO_STREAK, "closed_at": now, "closing_until": 0.0}
        with self._database.write() as connection:
            return connection.execute(update(batches).where(*same).values(**values)).rowcount == 1

    def reopen(self, batch_id: int, *, closing_until: float) -> Closed | None:
        """Closed no longer, though no job is live yet: from then on, whoever finds it so closes it again.

        A closer that is at it finds a generation that is not its own. Returns how it was closed, if it was.
        """
        idle = batches.c.id == batch_id, IS_IDLE
        with self._database.write() as connection:
            read = select(batches.c.generation, batches.c.closed_at).where(*idle).with_for_update()
            was = connection.execute(read).one_or_none()
            connection.execute(update(batches).where(*idle).values(**{**REOPENED, "closing_until": closing_until}))
        return Closed(batch_id, was.generation, was.closed_at) if was and was.closed_at is not None else None

    def leave_closed(self, was: Closed) -> None:
        """Nothing came of `reopen`: closed as it was, unless something has come of it meanwhile."""
        same = batches.c.id == was.batch_id, batches.c.generation == was.generation + 1, IS_IDLE
        with self._database.write() as connection:
            connection.execute(update(batches).where(*same).values(closed_at=was.at))

    def put_off_closing(self, batch_id: int, *, until: float) -> None:
        """The closing did not work (a store that refuses): try again then."""
        with self._database.write() as connection:
            connection.execute(update(batches).where(batches.c.id == batch_id).values(closing_until=until))


def _seen(connection: Connection, row: Row[Any]) -> Batch:
    """The batch as people see it: with the expiry of what waits to be copied, if anything does."""
    waiting = expiries(batches.c.id == row.id).limit(1)
    return batch_of(row, nearest_expiry=connection.execute(waiting).scalar() if row.storing else None)


_NEW_JOB = (
    *("id", "batch_id", "row_id", "line", "state", "outputs"),
    *("due_at", "hinted", "attempt", "tries_left"),
)


def _new_job(job_id: int, batch_id: int, spec: SpecText, max_tries: int) -> tuple[Any, ...]:
    return (job_id, batch_id, spec.id, spec.line, State.QUEUED.value, spec.outputs, AT_ONCE, 0, 0, max_tries)
