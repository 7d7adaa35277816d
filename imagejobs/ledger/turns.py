"""Turns: which queued jobs are sent for next, and what becomes of messages that nobody heard of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    TextClause,
    Update,
    and_,
    bindparam,
    case,
    func,
    select,
    text,
    update,
)

from imagejobs import breaker
from imagejobs.feed import Contender, interleave, level, share
from imagejobs.ledger.engine import Database
from imagejobs.ledger.rows import alike, padded
from imagejobs.ledger.tables import AT_ONCE, HINTED, WAITING, attempts, batches, in_flight, jobs
from imagejobs.states import State

# Written out, not bound: a partial index serves a query only if the text of its condition is there to see.
IS_WAITING = text("jobs." + WAITING.replace("AND ", "AND jobs."))
IS_HINTED = text("jobs." + HINTED.replace("AND ", "AND jobs."))
IS_STORING = in_flight(State.STORING)


class Turns:
    """The ledger's side of the feed. A job that is named in a message is `hinted` until the message is overdue."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def outstanding(self, account: str) -> int:
        """How many queued jobs are named by a message that has not been acted upon."""
        with self._database.read() as connection:
            return int(connection.execute(_OUTSTANDING, {"account": account}).scalar_one())

    def take(self, account: str, *, places: int, now: float, resend_at: float) -> list[int]:
        """Choose up to `places` queued jobs by fair share and mark them as sent for. Returns their ids, interleaved."""
        with self._database.write() as connection:
            contenders = level(runnable(connection, account, now))
            started = {batch.batch_id: batch.served for batch in contenders}
            turns: dict[int, list[int]] = {}
            while places > 0 and contenders:
                empty = set()
                for batch_id, wanted in share(contenders, places).items():
                    got = _mark(connection, batch_id, limit=wanted, now=now, resend_at=resend_at)
                    turns.setdefault(batch_id, []).extend(got)
                    places -= len(got)
                    if len(got) < wanted:
                        empty.add(batch_id)
                if not empty:
                    break
                contenders = [batch for batch in contenders if batch.batch_id not in empty]
            _charge(connection, turns, started)
            return interleave(turns)

    def take_probes(self, account: str, *, now: float, resend_at: float) -> list[int]:
        """One job of each batch whose pause is due for a probe. The next probe comes after twice the time.

        It is taken from the far end of those that wait: a stretch of rows that are themselves at fault then ends the
        pause with the first probe, instead of using up one probe each.

        While a store refuses, the copies that wait for it are probe enough: a create more would only be paid for.
        """
        with self._database.write() as connection:
            probing = connection.execute(_PROBING, {"account": account, "now": now}).all()
            return [job for batch in probing for job in _probe(connection, batch, now, resend_at)]

    def take_copies(self, account: str, *, limit: int, now: float, resend_at: float) -> list[int]:
        """Copies that nobody has in hand: put off until now, or their message lost. The first to expire come first."""
        overdue = {"account": account, "now": now, "most": limit}
        with self._database.write() as connection:
            return _hint(connection, _OVERDUE_COPIES, overdue, resend_at)

    def give_back(self, job_ids: Sequence[int], *, due_at: float = AT_ONCE) -> None:
        """These were sent for and not claimed (no room, no broker): for the next turn, or one from `due_at` on."""
        if not job_ids:
            return
        with self._database.write() as connection:
            _unhint(connection, _UNCLAIMED, due_at=due_at, ids=padded(job_ids))

    def give_back_copies(self, job_ids: Sequence[int], *, now: float) -> None:
        """No message was sent for these copies: the next turn sends one."""
        if not job_ids:
            return
        with self._database.write() as connection:
            _unhint(connection, _UNSENT_COPIES, due_at=now, ids=padded(job_ids))

    def forget_overdue(self, *, now: float) -> int:
        """Messages that nobody acted upon in time are taken for lost: their jobs are the next to have a turn."""
        with self._database.write() as connection:
            return _unhint(connection, _OVERDUE, due_at=AT_ONCE, now=now)

    def forget_all(self, *, now: float) -> int:
        """Redis may have lost any message: every one is taken for lost at once, for copies too."""
        with self._database.write() as connection:
            return _unhint(connection, _ALL_HINTED, due_at=AT_ONCE) + _unhint(connection, _ALL_COPIES, due_at=now)


def _idle(*where: ColumnElement[bool] | TextClause) -> Update:
    """Take these messages for lost, but for those that somebody is acting upon this instant (their rows are locked)."""
    idle = select(jobs.c.id).where(*where).with_for_update(skip_locked=True)
    return update(jobs).where(jobs.c.id.in_(idle)).values(hinted=0, due_at=bindparam("next_due"))


# Statements are built once: a worker that waits asks all of these every second or two.
_MINE = batches.c.account == bindparam("account")
_NAMED = jobs.c.id.in_(bindparam("ids", expanding=True))
_OUTSTANDING = (
    select(func.count()).select_from(jobs.join(batches, batches.c.id == jobs.c.batch_id)).where(IS_HINTED, _MINE)
)
_RUNNABLE = select(batches.c.id.label("batch_id"), batches.c.weight, batches.c.priority, batches.c.served).where(
    _MINE,
    batches.c.closed_at.is_(None),
    batches.c.opened_at.is_not(None),
    batches.c.paused.is_(None),
    batches.c.not_before <= bindparam("now"),
    batches.c.queued > 0,
)
_COPIES_WAIT = and_(batches.c.paused_kind == "storage", batches.c.running + batches.c.storing > 0)
_PROBING = (
    select(batches.c.id, batches.c.probes)
    .where(_MINE, batches.c.opened_at.is_not(None), batches.c.queued > 0)
    .where(batches.c.probe_at <= bindparam("now"), ~_COPIES_WAIT)
    .order_by(batches.c.id)
)
# The chosen are marked by a statement of its own: a limited subquery inside the update may be run more than once by
# PostgreSQL, and mark too many.
_OVERDUE_COPIES = (
    select(jobs.c.id)
    .join(batches, batches.c.id == jobs.c.batch_id)
    .join(attempts, and_(attempts.c.job_id == jobs.c.id, attempts.c.number == jobs.c.attempt))
    .where(IS_STORING, jobs.c.due_at <= bindparam("now"), _MINE)
    .order_by(attempts.c.expires_at, jobs.c.id)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True, of=jobs)
)
_WAITING = (
    select(jobs.c.id)
    .where(jobs.c.batch_id == bindparam("batch"), IS_WAITING, jobs.c.due_at <= bindparam("now"))
    .order_by(jobs.c.due_at, jobs.c.id)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True, of=jobs)
)
_HINT = update(jobs).where(_NAMED).values(hinted=1, due_at=bindparam("next_due"))
_UNCLAIMED = _idle(_NAMED, IS_HINTED)
_UNSENT_COPIES = _idle(_NAMED, IS_STORING, jobs.c.hinted == 1)
_OVERDUE = _idle(IS_HINTED, jobs.c.due_at <= bindparam("now"))
_ALL_HINTED = _idle(IS_HINTED)
_ALL_COPIES = _idle(IS_STORING, jobs.c.hinted == 1)


def runnable(connection: Connection, account: str, now: float) -> list[Contender]:
    """The account's batches that may send something now."""
    rows = connection.execute(_RUNNABLE, {"account": account, "now": now})
    return [Contender(**row._mapping) for row in rows]


def _hint(connection: Connection, chosen: Select[Any], which: Mapping[str, Any], resend_at: float) -> list[int]:
    """Mark the chosen jobs as sent for, and return them in the order they were chosen in."""
    ids = list(connection.execute(chosen, which).scalars())
    for some in alike(ids):
        connection.execute(_HINT, {"ids": some, "next_due": resend_at})
    return ids


def _unhint(connection: Connection, lost: Update, *, due_at: float, **which: Any) -> int:
    return int(connection.execute(lost, {"next_due": due_at, **which}).rowcount)


def _mark(connection: Connection, batch_id: int, *, limit: int, now: float, resend_at: float) -> list[int]:
    return _hint(connection, _WAITING, {"batch": batch_id, "now": now, "most": limit}, resend_at)


def _far_off(batch_id: int, now: float) -> Select[Any]:
    """The last row of those that have waited longest: two steps into the index, however many wait."""
    waiting = jobs.c.batch_id == batch_id, IS_WAITING
    longest = select(func.min(jobs.c.due_at)).where(*waiting, jobs.c.due_at <= now).scalar_subquery()
    last = select(jobs.c.id).where(*waiting, jobs.c.due_at == longest).order_by(jobs.c.id.desc()).limit(1)
    return last.with_for_update(skip_locked=True, of=jobs)


def _charge(connection: Connection, turns: dict[int, list[int]], started: dict[int, float]) -> None:
    """Move the fair clocks on. Where leveling moved one, it stays moved: otherwise its head start would never end."""
    for batch_id, taken in sorted(turns.items()):
        if taken:
            start = case((batches.c.served < started[batch_id], started[batch_id]), else_=batches.c.served)
            served = start + len(taken) / batches.c.weight
            connection.execute(update(batches).where(batches.c.id == batch_id).values(served=served))


def _probe(connection: Connection, batch: Any, now: float, resend_at: float) -> list[int]:
    taken = _hint(connection, _far_off(batch.id, now), {}, resend_at)
    probe = {"probe_at": now + breaker.probe_after(batch.probes + 1), "probes": batch.probes + 1}
    probe |= {"probe_job": taken[0]} if taken else {}
    still = batches.c.id == batch.id, batches.c.probes == batch.probes, batches.c.probe_at.is_not(None)
    connection.execute(update(batches).where(*still).values(**probe))
    return taken
