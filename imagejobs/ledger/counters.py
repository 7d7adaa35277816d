"""The batch's own row: counters kept in the same transaction as the jobs they count, and what its breaker makes of it.

Status reads are one row, whatever the batch's size; the database itself refuses counts that do not sum.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, func, select, update

from imagejobs import breaker
from imagejobs.breaker import Streak
from imagejobs.ledger.tables import batches
from imagejobs.moves import Move
from imagejobs.states import State

NOT_PAUSED: Mapping[str, Any] = {"paused": None, "paused_kind": None, "probe_at": None, "probe_job": None, "probes": 0}
NO_STREAK: Mapping[str, Any] = {"streak_key": None, "streak": 0}
REOPENED: Mapping[str, Any] = {"generation": batches.c.generation + 1, "closed_at": None, "closing_until": 0.0}
UNSENT = "not_sent"  # the outcome of an attempt whose POST provably never left

_CLAIMED = (
    update(batches)
    .where(batches.c.id == bindparam("batch"))
    .values(
        queued=batches.c.queued - bindparam("n"),
        submitting=batches.c.submitting + bindparam("n"),
        first_submitted_at=func.coalesce(batches.c.first_submitted_at, bindparam("now")),
        last_moved_at=bindparam("now"),
    )
)

_COUNTED = (*map(str, State), "images", "creates_sent", "possible_double_payments")
# One statement whatever moves: it is built once, not for every transaction.
_COUNTED_MOVES = (
    update(batches)
    .where(batches.c.id == bindparam("batch"))
    .values({name: batches.c[name] + bindparam(f"more_{name}") for name in _COUNTED})
    .values(last_moved_at=bindparam("now"))
)
_BREAKER = (
    select(*batches.c["streak_key", "streak", "paused_kind", "probe_job"])
    .where(batches.c.id == bindparam("batch"))
    .with_for_update()
)


def count_claims(connection: Connection, batch_ids: Sequence[int], now: float) -> None:
    """One entry of `batch_ids` a claimed job. Batches in order of id, as everywhere: no deadlock."""
    for batch_id, count in sorted(Counter(batch_ids).items()):
        connection.execute(_CLAIMED, {"batch": batch_id, "n": count, "now": now})


def count_moves(connection: Connection, moves: Sequence[Move], *, replaced: Mapping[int, int], now: float) -> None:
    """Count granted moves. `replaced` is how many older images each job's new ones took the place of."""
    by_batch: dict[int, list[Move]] = defaultdict(list)
    for move in moves:
        by_batch[move.batch_id].append(move)
    for batch_id in sorted(by_batch):
        _count_batch(connection, batch_id, by_batch[batch_id], replaced, now)


def _count_batch(
    connection: Connection, batch_id: int, moves: Sequence[Move], replaced: Mapping[int, int], now: float
) -> None:
    surroundings = _surroundings(connection, batch_id, moves, now)
    change = _changes(moves, replaced)
    more = {f"more_{name}": change[name] for name in _COUNTED}
    connection.execute(_COUNTED_MOVES, {"batch": batch_id, "now": now, **more})
    if surroundings:
        connection.execute(update(batches).where(batches.c.id == batch_id).values(**surroundings))


def _changes(moves: Sequence[Move], replaced: Mapping[int, int]) -> Counter[str]:
    change: Counter[str] = Counter()
    for move in moves:
        change[move.source] -= 1
        change[move.target] += 1
        change["images"] += len(move.images) - (replaced.get(move.job_id, 0) if move.images else 0)
        change["creates_sent"] += move.source is State.SUBMITTING and move.record.get("outcome") != UNSENT
        change["possible_double_payments"] += move.record.get("possible_double_payment", 0)
    return change


def _surroundings(connection: Connection, batch_id: int, moves: Sequence[Move], now: float) -> dict[str, Any]:
    """Whether these moves pause the batch, or end its pause. Its row is locked before it is read.

    While it is paused nothing adds to the streak: what still fails was on its way before.
    """
    row = connection.execute(_BREAKER, {"batch": batch_id}).one()
    before = Streak(row.streak_key, row.streak)
    if row.paused_kind is not None:
        is_over = breaker.is_over(row.paused_kind, moves, probe_job=row.probe_job, streak=before)
        return {**NOT_PAUSED, **NO_STREAK} if is_over else {}
    after = before.after(moves)
    if after.has_tripped:
        return {**_tripped(after, moves, now), "streak_key": after.key, "streak": 0}
    return {"streak_key": after.key, "streak": after.count} if after != before else {}


def _tripped(streak: Streak, moves: Sequence[Move], now: float) -> dict[str, Any]:
    last = next(move for move in reversed(moves) if move.error)
    reason = f"{streak.count} jobs in a row failed alike: {last.error}"
    return {**NOT_PAUSED, "paused": reason, "paused_kind": "breaker", "probe_at": now + breaker.probe_after(0)}
