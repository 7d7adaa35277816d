"""The only writer of a single job's state: rows are locked, seen where they stand, and only then moved.

The batch's counters change in the same transaction as its jobs, and the database itself refuses counts that do not sum.
Lock order, the same everywhere, so that PostgreSQL never sees a deadlock: jobs by id, then batches by id.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from imagejobs.errors import error_key
from imagejobs.job import Image, Job
from imagejobs.ledger.counters import count_claims, count_moves
from imagejobs.ledger.engine import Database
from imagejobs.ledger.grouping import GroupCommit
from imagejobs.ledger.rows import alike, job_of, job_query, padded
from imagejobs.ledger.tables import attempts, batches, images, jobs
from imagejobs.moves import Look, Move, withdrawn
from imagejobs.states import FINAL, State

TIMES_BEATEN = 3  # by another process that wrote the same prediction first; a fault of another kind is raised then


class Transitions:
    """Claims and moves of single jobs, many in one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._commit = GroupCommit(self._apply, turn=database.lock())

    def claim(self, job_ids: Sequence[int], *, account: str, now: float, resolve_at: float) -> list[Job]:
        """Commit the intent to create: queued → submitting for those of `job_ids` that a message may still claim.

        From this commit on, a lost process leaves an unknown outcome, looked up once `resolve_at` has passed.
        Jobs of a paused batch stay queued, but for the one that was chosen as its probe.
        """
        wanted = {"ids": padded(job_ids), "account": account, "resolve_at": resolve_at}
        with self._database.write() as connection:
            claimed = connection.execute(_CLAIM, wanted).all()
            if not claimed:
                return []
            intents = [{"job_id": job.id, "number": job.attempt, "why": job.why, "intent_at": now} for job in claimed]
            connection.execute(_INTENT, intents)
            count_claims(connection, [job.batch_id for job in claimed], now)
            return _load(connection, [job.id for job in claimed])

    def claim_copies(self, job_ids: Sequence[int], *, account: str, lease_until: float) -> list[Job]:
        """Take copies in hand: those of `job_ids` in `storing` that a message was sent for. No transition."""
        wanted = {"ids": padded(job_ids), "account": account, "lease_until": lease_until}
        with self._database.write() as connection:
            return _load(connection, [job.id for job in connection.execute(_LEASE, wanted)])

    def apply(self, moves: Iterable[Move | Look], *, now: float) -> list[Move]:
        """Grant each move whose job still stands where it starts, in its attempt; the others are passed over.

        So is a second move of one job, decided from the same reading as the first; one that claims a prediction which
        another attempt has; and one that would use up the last try. A job that goes back to the queue after its cancel
        was asked for is canceled there. Returns the granted moves, by job. All of it, counters and the breaker too, is
        one transaction, shared with what other threads want applied at the same time.
        """
        ordered = sorted(moves, key=lambda move: move.job_id)
        return self._commit(ordered, now) if ordered else []

    def _apply(self, moves: Sequence[Move | Look], now: float) -> list[Move]:
        ordered = sorted(moves, key=lambda move: move.job_id)
        for _ in range(TIMES_BEATEN):
            try:
                return self._grant(ordered, now)
            except IntegrityError:
                continue  # another process has just written one of these predictions; the next reading shows it
        return self._grant(ordered, now)

    def _grant(self, ordered: Sequence[Move | Look], now: float) -> list[Move]:
        with self._database.write() as connection:
            ground = _survey(connection, ordered)
            granted = [move for move in ordered if ground.grants(move)]
            _write_looks(connection, [move for move in granted if isinstance(move, Look)])
            transitions = [move for move in granted if isinstance(move, Move)]
            withdrawals = [withdrawn(move, at=now) for move in transitions if ground.withdraws(move)]
            _write_moves(connection, transitions, now)
            _write_moves(connection, withdrawals, now)
            transitions += withdrawals
            count_moves(connection, transitions, replaced=_replace_images(connection, transitions), now=now)
            return sorted(transitions, key=lambda move: move.job_id)


def _load(connection: Connection, ids: Sequence[int]) -> list[Job]:
    if not ids:
        return []
    return [job_of(row) for row in connection.execute(_JOBS, {"ids": padded(ids)})]


_JOBS = job_query().where(jobs.c.id.in_(bindparam("ids", expanding=True))).order_by(jobs.c.id)


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


_MAY_SEND = or_(batches.c.paused.is_(None), batches.c.probe_job == jobs.c.id)
_CLAIM = (
    update(jobs)
    .where(jobs.c.id.in_(_claimable(State.QUEUED).where(_MAY_SEND)))
    .values(
        state=State.SUBMITTING,
        hinted=0,
        attempt=jobs.c.attempt + 1,
        due_at=bindparam("resolve_at"),
        cause=None,
        error=None,
        error_key=None,
    )
    .returning(*jobs.c["id", "batch_id", "attempt", "why"])
)
_INTENT = insert(attempts).values(copy_tries=0, outcome="intended")
_LEASE = (
    update(jobs)
    .where(jobs.c.id.in_(_claimable(State.STORING)))
    .values(hinted=0, due_at=bindparam("lease_until"))
    .returning(jobs.c.id)
)


@dataclass(frozen=True, slots=True)
class _Ground:
    """Where the jobs of some moves stand. Each may be moved once."""

    tries_left: dict[int, int] = field(default_factory=dict)
    standing: dict[int, tuple[str, int]] = field(default_factory=dict)
    batch_of: dict[int, int] = field(default_factory=dict)
    unwanted: set[int] = field(default_factory=set)
    known_predictions: set[str] = field(default_factory=set)

    def grants(self, move: Move | Look) -> bool:
        """Whether the move starts where its job stands. Each job is granted one; its place is then taken."""
        starts_at = (move.source if isinstance(move, Move) else move.state, move.attempt)
        if self.standing.get(move.job_id) != starts_at:
            return False
        if isinstance(move, Move) and self.batch_of[move.job_id] != move.batch_id:
            return False  # SQLite gives the id of a discarded batch's job to the next one
        if isinstance(move, Move) and move.counted and self.tries_left[move.job_id] <= 1:
            return False  # decided before a retry gave the job one try, to copy again for free: it is not paid for
        prediction = move.record.get("prediction_id") if isinstance(move, Move) else None
        if prediction is not None and prediction in self.known_predictions:
            return False
        if prediction is not None:
            self.known_predictions.add(prediction)
        del self.standing[move.job_id]
        return True

    def withdraws(self, move: Move) -> bool:
        """Whether the job, now back in the queue, is not wanted any more."""
        return move.target is State.QUEUED and move.job_id in self.unwanted


_STANDING = (
    select(*jobs.c["id", "batch_id", "state", "attempt", "tries_left", "cancel_requested"])
    .where(jobs.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(jobs.c.id)
    .with_for_update()
)
_KNOWN = select(attempts.c.prediction_id).where(attempts.c.prediction_id.in_(bindparam("ids", expanding=True)))


def _survey(connection: Connection, moves: Sequence[Move | Look]) -> _Ground:
    ground = _Ground()
    for ids in alike(sorted({move.job_id for move in moves})):
        for row in connection.execute(_STANDING, {"ids": ids}):
            ground.standing[row.id] = (row.state, row.attempt)
            ground.batch_of[row.id] = row.batch_id
            ground.tries_left[row.id] = row.tries_left
            if row.cancel_requested:
                ground.unwanted.add(row.id)
    new = [move.record["prediction_id"] for move in moves if isinstance(move, Move) and "prediction_id" in move.record]
    for ids in alike(new):
        ground.known_predictions.update(connection.execute(_KNOWN, {"ids": ids}).scalars())
    return ground


_MOVE = (
    update(jobs)
    .where(jobs.c.id == bindparam("job"))
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
    .where(jobs.c.id == bindparam("job"))
    .values(due_at=bindparam("due"), hinted=bindparam("hint"), error=func.coalesce(bindparam("said"), jobs.c.error))
)
_OF_ATTEMPT = (attempts.c.job_id == bindparam("job"), attempts.c.number == bindparam("in_attempt"))
_RECORD = update(attempts).where(*_OF_ATTEMPT)
_COPY_FAILED = update(attempts).where(*_OF_ATTEMPT).values(copy_tries=attempts.c.copy_tries + 1)


def _write_looks(connection: Connection, looks: Sequence[Look]) -> None:
    rows = [{"job": look.job_id, "due": look.due_at, "hint": int(look.hinted), "said": look.error} for look in looks]
    _execute_many(connection, _LOOK, rows)
    failed = [{"job": look.job_id, "in_attempt": look.attempt} for look in looks if look.copy_failed]
    _execute_many(connection, _COPY_FAILED, failed)


def _write_moves(connection: Connection, moves: Sequence[Move], now: float) -> None:
    _execute_many(connection, _MOVE, [_job_row(move, now) for move in moves])
    by_shape: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for move in moves:
        # A job in the queue has no attempt of its own: the last one, if any, is over and stays as it was.
        if move.record and move.source is not State.QUEUED:
            by_shape[tuple(move.record)].append(_attempt_row(move))
    for rows in by_shape.values():
        # Predictions in one order too: two processes that adopt the same ones wait for each other, and never in a ring.
        rows.sort(key=lambda row: row.get("prediction_id") or "")
        _execute_many(connection, _RECORD, rows)


def _execute_many(connection: Connection, statement: Any, rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(statement, rows)


def _job_row(move: Move, now: float) -> dict[str, Any]:
    return {
        "job": move.job_id,
        "target": move.target,
        "due": move.due_at,
        "hint": int(move.hinted),
        "counted": int(move.counted),
        "reason": move.why,
        "because": move.cause,
        "said": move.error,
        "said_key": error_key(move.error) if move.error else None,
        "finished": now if move.target in FINAL else None,
    }


def _attempt_row(move: Move) -> dict[str, Any]:
    facts = dict(move.record)
    if facts.get("output") is not None:
        facts["output"] = json.dumps(facts["output"])
    return {"job": move.job_id, "in_attempt": move.attempt, **facts}


def _replace_images(connection: Connection, moves: Sequence[Move]) -> Counter[int]:
    """Write the images that moves brought, in place of those of an earlier attempt. Returns how many went, by job.

    A part of a set replaces the same part of the one before: what else came of that still lies in the store.
    """
    brought = [move for move in moves if move.images]
    gone: Counter[int] = Counter()
    for ids in alike([move.job_id for move in brought if move.target is State.SUCCEEDED]):
        old = delete(images).where(images.c.job_id.in_(ids)).returning(images.c.job_id)
        gone.update(connection.execute(old).scalars())
    for move in brought:
        if move.target is not State.SUCCEEDED:
            same = images.c.job_id == move.job_id, images.c.index.in_([image.index for image in move.images])
            gone[move.job_id] += connection.execute(delete(images).where(*same)).rowcount
    _execute_many(connection, insert(images), [_image_row(move, image) for move in brought for image in move.images])
    return gone


def _image_row(move: Move, image: Image) -> dict[str, Any]:
    fields = ("index", "uri", "sha256", "bytes", "width", "height", "content_type", "stored_at")
    return {"job_id": move.job_id, "attempt": move.attempt, **{name: getattr(image, name) for name in fields}}
