"""The only writer of a job's state. Every statement names the state that it starts from; no row moved, no change.

The batch's counters change in the same transaction as its jobs, and the database itself refuses counts that do not sum.
Lock order, the same everywhere, so that PostgreSQL never sees a deadlock: jobs by id, then batches by id.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, and_, bindparam, case, delete, func, insert, or_, select, update

from imagejobs import breaker
from imagejobs.breaker import Streak
from imagejobs.errors import error_key
from imagejobs.job import Job
from imagejobs.ledger.engine import Database
from imagejobs.ledger.rows import job_of, job_query
from imagejobs.ledger.tables import attempts, batches, images, jobs
from imagejobs.moves import Look, Move
from imagejobs.states import State

UNSENT = ("not_sent",)  # outcomes of an attempt whose POST provably never left
SELF_RESUMING = ("auth_billing", "breaker")  # pauses that end when a probe is accepted


class Transitions:
    """Claims and moves of single jobs, many in one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(self, job_ids: Sequence[int], *, account: str, now: float, resolve_at: float) -> list[Job]:
        """Commit the intent to create: queued → submitting for those of `job_ids` that a message may still claim.

        From this commit on, a lost process leaves an unknown outcome, looked up once `resolve_at` has passed.
        Jobs of a paused batch stay queued, but for the one that was chosen as its probe.
        """
        with self._database.write() as connection:
            ids = connection.execute(_CLAIM, {"ids": list(job_ids), "account": account, "resolve_at": resolve_at})
            claimed = _load(connection, [row.id for row in ids])
            if not claimed:
                return []
            intents = [{"job_id": job.id, "number": job.attempt, "now": now} for job in claimed]
            connection.execute(_INTENT, intents)
            for batch_id, count in sorted(Counter(job.batch_id for job in claimed).items()):
                connection.execute(_COUNT_CLAIMED, {"batch": batch_id, "n": count, "now": now})
            return claimed

    def claim_copies(self, job_ids: Sequence[int], *, account: str, lease_until: float) -> list[Job]:
        """Take copies in hand: those of `job_ids` in `storing` that a message was sent for. No transition."""
        with self._database.write() as connection:
            ids = connection.execute(_LEASE, {"ids": list(job_ids), "account": account, "lease_until": lease_until})
            return _load(connection, [row.id for row in ids])

    def apply(self, moves: Iterable[Move | Look], *, now: float) -> list[Move]:
        """Grant each move whose job still stands where it starts, in its attempt; the others are passed over.

        Returns the granted ones. All of it, counters and the breaker's streak too, is one transaction.
        """
        ordered = sorted(moves, key=lambda move: move.job_id)
        if not ordered:
            return []
        with self._database.write() as connection:
            granted = [move for move in ordered if _grant(connection, move, now)]
            transitions = [move for move in granted if isinstance(move, Move)]
            _count(connection, transitions, now)
            return transitions


def _load(connection: Connection, ids: Sequence[int]) -> list[Job]:
    if not ids:
        return []
    return [job_of(row) for row in connection.execute(job_query().where(jobs.c.id.in_(ids)).order_by(jobs.c.id))]


def _claimable(state: State) -> Any:
    return (
        select(jobs.c.id)
        .join(batches, batches.c.id == jobs.c.batch_id)
        .where(
            jobs.c.id.in_(bindparam("ids", expanding=True)),
            jobs.c.state == state,
            jobs.c.hinted == 1,
            batches.c.account == bindparam("account"),
        )
        .order_by(jobs.c.id)
        .with_for_update(skip_locked=True, of=jobs)
    )


_CLAIM = (
    update(jobs)
    .where(
        jobs.c.id.in_(_claimable(State.QUEUED).where(or_(batches.c.paused.is_(None), batches.c.probe_job == jobs.c.id)))
    )
    .values(
        state=State.SUBMITTING,
        hinted=0,
        attempt=jobs.c.attempt + 1,
        due_at=bindparam("resolve_at"),
        cause=None,
        error=None,
        error_key=None,
    )
    .returning(jobs.c.id)
)
_LEASE = (
    update(jobs)
    .where(jobs.c.id.in_(_claimable(State.STORING)))
    .values(hinted=0, due_at=bindparam("lease_until"))
    .returning(jobs.c.id)
)
_INTENT = insert(attempts).values(
    job_id=bindparam("job_id"),
    number=bindparam("number"),
    why=select(jobs.c.why).where(jobs.c.id == bindparam("job_id")).scalar_subquery(),
    intent_at=bindparam("now"),
    copy_tries=0,
    outcome="intended",
)
_COUNT_CLAIMED = (
    update(batches)
    .where(batches.c.id == bindparam("batch"))
    .values(
        queued=batches.c.queued - bindparam("n"),
        submitting=batches.c.submitting + bindparam("n"),
        first_submitted_at=func.coalesce(batches.c.first_submitted_at, bindparam("now")),
        last_moved_at=bindparam("now"),
    )
)
_MOVE = (
    update(jobs)
    .where(
        jobs.c.id == bindparam("job"), jobs.c.state == bindparam("source"), jobs.c.attempt == bindparam("in_attempt")
    )
    .values(
        state=bindparam("target"),
        due_at=bindparam("due"),
        hinted=bindparam("hint"),
        tries_left=jobs.c.tries_left - bindparam("counted"),
        why=func.coalesce(bindparam("reason"), jobs.c.why),
        cause=bindparam("because"),
        error=bindparam("said"),
        error_key=bindparam("said_key"),
        finished_at=bindparam("finished"),
    )
)
_LOOK = (
    update(jobs)
    .where(
        jobs.c.id == bindparam("job"), jobs.c.state == bindparam("source"), jobs.c.attempt == bindparam("in_attempt")
    )
    .values(due_at=bindparam("due"), hinted=bindparam("hint"), error=func.coalesce(bindparam("said"), jobs.c.error))
)
_COPY_FAILED = (
    update(attempts)
    .where(attempts.c.job_id == bindparam("job"), attempts.c.number == bindparam("in_attempt"))
    .values(copy_tries=attempts.c.copy_tries + 1)
)


def _grant(connection: Connection, move: Move | Look, now: float) -> bool:
    return _grant_look(connection, move) if isinstance(move, Look) else _grant_move(connection, move, now)


def _grant_look(connection: Connection, look: Look) -> bool:
    where = {"job": look.job_id, "in_attempt": look.attempt}
    values = {"source": look.state, "due": look.due_at, "hint": int(look.hinted), "said": look.error}
    if connection.execute(_LOOK, {**where, **values}).rowcount != 1:
        return False
    if look.copy_failed:
        connection.execute(_COPY_FAILED, where)
    return True


def _grant_move(connection: Connection, move: Move, now: float) -> bool:
    is_final = move.target in (State.SUCCEEDED, State.FAILED, State.CANCELED)
    values = {
        "job": move.job_id,
        "in_attempt": move.attempt,
        "source": move.source,
        "target": move.target,
        "due": move.due_at,
        "hint": int(move.hinted),
        "counted": int(move.counted),
        "reason": move.why,
        "because": move.cause,
        "said": move.error,
        "said_key": error_key(move.error) if move.error else None,
        "finished": now if is_final else None,
    }
    if connection.execute(_MOVE, values).rowcount != 1:
        return False
    _record(connection, move)
    return True


def _record(connection: Connection, move: Move) -> None:
    if move.record and move.attempt:
        facts = dict(move.record)
        if facts.get("output") is not None:
            facts["output"] = json.dumps(facts["output"])
        attempt = and_(attempts.c.job_id == move.job_id, attempts.c.number == move.attempt)
        connection.execute(update(attempts).where(attempt).values(**facts))
    if move.images:
        connection.execute(delete(images).where(images.c.job_id == move.job_id))
        connection.execute(insert(images), [_image_row(move, image) for image in move.images])


def _image_row(move: Move, image: Any) -> dict[str, Any]:
    fields = ("index", "uri", "sha256", "bytes", "width", "height", "content_type", "stored_at")
    return {"job_id": move.job_id, "attempt": move.attempt, **{name: getattr(image, name) for name in fields}}


def _count(connection: Connection, moves: Sequence[Move], now: float) -> None:
    by_batch: dict[int, list[Move]] = defaultdict(list)
    for move in moves:
        by_batch[move.batch_id].append(move)
    for batch_id in sorted(by_batch):
        _count_batch(connection, batch_id, by_batch[batch_id], now)


def _count_batch(connection: Connection, batch_id: int, moves: Sequence[Move], now: float) -> None:
    change: Counter[str] = Counter()
    for move in moves:
        change[move.source] -= 1
        change[move.target] += 1
        change["images"] += len(move.images)
        change["creates_sent"] += move.source is State.SUBMITTING and move.record.get("outcome") not in UNSENT
        change["possible_double_payments"] += move.record.get("possible_double_payment", 0)
    values: dict[str, Any] = {name: batches.c[name] + by for name, by in change.items() if by}
    values |= {"last_moved_at": now, **_resumption(moves), **_streak(connection, batch_id, moves, now)}
    connection.execute(update(batches).where(batches.c.id == batch_id).values(**values))


def _resumption(moves: Sequence[Move]) -> dict[str, Any]:
    """A probe that was accepted ends a pause; a copy that worked ends a pause for the store's sake."""
    taken = [move.job_id for move in moves if move.target in (State.RUNNING, State.STORING)]
    over = []
    if taken:
        over.append(and_(batches.c.paused_kind.in_(SELF_RESUMING), batches.c.probe_job.in_(taken)))
    if any(move.target is State.SUCCEEDED for move in moves):
        over.append(batches.c.paused_kind == "storage")
    cleared = {"paused": None, "paused_kind": None, "probe_at": None, "probe_job": None, "probes": 0}
    return {name: case((or_(*over), value), else_=batches.c[name]) for name, value in cleared.items()} if over else {}


def _streak(connection: Connection, batch_id: int, moves: Sequence[Move], now: float) -> dict[str, Any]:
    """What the breaker makes of these moves. The batch's row is locked before it is read."""
    row = connection.execute(
        select(batches.c.streak_key, batches.c.streak, batches.c.paused)
        .where(batches.c.id == batch_id)
        .with_for_update()
    ).one()
    before = Streak(row.streak_key, row.streak)
    after = before.after(moves)
    if after == before:
        return {}
    if not after.has_tripped or row.paused is not None:
        return {"streak_key": after.key, "streak": after.count}
    reason = f"{after.count} jobs in a row failed alike: {moves[-1].error}"
    pause = {"paused": reason, "paused_kind": "breaker", "probe_at": now + breaker.probe_after(0), "probes": 0}
    return {"streak_key": None, "streak": 0, **pause}
