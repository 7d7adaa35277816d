"""A batch in words and figures: what `--json` prints, what its pause asks for, how a command that watched it exits."""

from __future__ import annotations

from typing import Any

from imagejobs.job import Batch
from imagejobs.manifest import iso
from imagejobs.states import State

NEAR_EXPIRY_SECONDS = 1800.0  # an output lives for an hour: half of it has been lost by then
ALL_SUCCEEDED, SOME_FAILED, PAUSED, INTERRUPTED = 0, 3, 4, 130


def facts(batch: Batch, *, now: float) -> dict[str, Any]:
    """The outside contract of `status --json`: names may be added, never changed. Times are ISO 8601, UTC."""
    return {
        "batch": batch.key,
        "total": batch.total,
        **{state.value: batch.counts[state] for state in State},
        "images": batch.images,
        "paused": batch.paused,
        "paused_kind": batch.paused_kind,
        "creates_sent": batch.creates_sent,
        "possible_double_payments": batch.possible_double_payments,
        "orphans": batch.orphans,
        "submitted_at": iso(batch.opened_at),
        "not_before": iso(batch.not_before) if batch.not_before else None,
        "first_submitted_at": iso(batch.first_submitted_at),
        "nearest_expiry": iso(batch.nearest_expiry),
        "finished_at": iso(batch.finished_at),
        "closed": batch.is_done,
        "closed_at": iso(batch.closed_at),
        "account": batch.account,
        "store": batch.store,
        "uri": place(batch),
        "weight": batch.weight,
        "priority": batch.priority,
        **average(batch, now=now),
    }


def place(batch: Batch) -> str:
    """Where everything of the batch is."""
    return f"{batch.store}/{batch.key}"


def final(batch: Batch) -> int:
    """How many jobs are done with, one way or another."""
    return batch.total - batch.live


def in_flight(batch: Batch) -> int:
    """How many jobs are paid for, or may be, and not yet final."""
    return batch.live - batch.counts[State.QUEUED]


def is_expiry_near(batch: Batch, *, now: float) -> bool:
    """Whether outputs that wait to be copied die soon: copying has fallen far behind, or the store is down."""
    return batch.nearest_expiry is not None and batch.nearest_expiry - now < NEAR_EXPIRY_SECONDS


def average(batch: Batch, *, now: float) -> dict[str, float | None]:
    """Jobs a minute since the first was submitted, and how many seconds the rest takes at that; None when unknown."""
    if batch.first_submitted_at is None or not final(batch):
        return {"jobs_per_minute": None, "eta_seconds": None}
    seconds = max(1.0, (batch.finished_at or now) - batch.first_submitted_at)
    per_second = final(batch) / seconds
    return {"jobs_per_minute": round(60 * per_second, 1), "eta_seconds": round(batch.live / per_second)}


def exit_code(batch: Batch) -> int:
    """Of a command that saw the batch to its end."""
    return ALL_SUCCEEDED if batch.counts[State.SUCCEEDED] == batch.total else SOME_FAILED


def way_out(batch: Batch) -> str:
    """What to do about the batch's pause."""
    resume = f"imagejobs resume {batch.key}"
    if batch.paused_kind == "user":
        return f"goes on with: {resume}"
    mend = {
        "auth_billing": "put the account right (token, credit, limits)",
        "storage": "put the store right",
        "breaker": "mend what is behind it",
    }
    first = mend.get(batch.paused_kind or "", "mend it")
    return f"{first}, then: {resume} (or the same run again); by itself it is tried every few minutes"
