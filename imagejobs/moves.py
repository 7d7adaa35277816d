"""Every change of a job's state, as a value: one constructor a transition, filled with just what that one may set.

A move is a wish. `Ledger.apply` grants it only if the job still stands where the move starts, in the same attempt;
a late, doubled or forged message therefore ends as a move that is not granted, and harms nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from imagejobs.errors import Cause
from imagejobs.job import Image, Job
from imagejobs.states import State, is_allowed


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One guarded transition. `record` is what it adds to the attempt's own row."""

    job_id: int
    batch_id: int
    attempt: int
    source: State
    target: State
    due_at: float = 0.0
    hinted: bool = False
    counted: bool = False
    cause: Cause | None = None
    error: str | None = None
    why: str | None = None
    record: Mapping[str, Any] = field(default_factory=dict)
    images: tuple[Image, ...] = ()

    def __post_init__(self) -> None:
        if not is_allowed(self.source, self.target):
            raise ValueError(f"no transition from {self.source} to {self.target}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """No transition: when to look at the job again. `copy_failed` counts a free copy that did not work."""

    job_id: int
    attempt: int
    state: State
    due_at: float
    hinted: bool = False
    copy_failed: bool = False
    error: str | None = None


def _move(job: Job, source: State, target: State, **facts: Any) -> Move:
    return Move(job_id=job.id, batch_id=job.batch_id, attempt=job.attempt, source=source, target=target, **facts)


def accepted(job: Job, *, prediction_id: str, at: float, look_at: float) -> Move:
    """The provider took it: from here on it is paid for. Also: found in the provider's list after a lost reply."""
    record = {"prediction_id": prediction_id, "accepted_at": at, "outcome": "accepted"}
    return _move(job, State.SUBMITTING, State.RUNNING, due_at=look_at, record=record)


def answered(job: Job, *, output: Sequence[str], at: float, expires_at: float, resend_at: float) -> Move:
    """A proxy answered the create with the images themselves: paid, finished, and to be copied at once."""
    record = {"accepted_at": at, "completed_at": at, "outcome": "finished"}
    return _move(
        job,
        State.SUBMITTING,
        State.STORING,
        due_at=resend_at,
        hinted=True,
        record={**record, "output": list(output), "expires_at": expires_at},
    )


def refused(job: Job, *, cause: Cause, error: str, due_at: float, counted: bool) -> Move:
    """The provider said no before anything was paid; the job waits for another turn."""
    record = {"outcome": "refused", "cause": cause, "error": error}
    return _move(
        job,
        State.SUBMITTING,
        State.QUEUED,
        due_at=due_at,
        counted=counted,
        cause=cause,
        error=error,
        why=str(cause),
        record=record,
    )


def not_sent(job: Job, *, cause: Cause | None, error: str, due_at: float) -> Move:
    """The POST provably never left this machine: as if it had not been tried, but the breaker hears of the cause."""
    record = {"outcome": "not_sent", "cause": cause, "error": error}
    return _move(
        job,
        State.SUBMITTING,
        State.QUEUED,
        due_at=due_at,
        cause=cause,
        error=error,
        why="not_sent",
        record=record,
    )


def proven_absent(job: Job, *, error: str, due_at: float) -> Move:
    """A create whose reply was lost is not in the provider's list and can no longer get there: nothing was paid."""
    return _move(
        job,
        State.SUBMITTING,
        State.QUEUED,
        due_at=due_at,
        cause=Cause.TRANSIENT,
        error=error,
        why="absent",
        record={"outcome": "absent"},
    )


def assumed_absent(job: Job, *, due_at: float) -> Move:
    """The same where there is no list to prove it by, and the owner chose to submit again: maybe paid twice."""
    record = {"outcome": "assumed_absent", "possible_double_payment": 1}
    return _move(job, State.SUBMITTING, State.QUEUED, due_at=due_at, why="assumed_absent", record=record)


def finished(
    job: Job,
    *,
    output: Sequence[str],
    completed_at: float,
    expires_at: float,
    resend_at: float,
    predict_time_s: float | None,
) -> Move:
    """The outputs exist at the provider; their clock is running, so a copy is sent for in the same breath."""
    record = {
        "completed_at": completed_at,
        "expires_at": expires_at,
        "predict_time_s": predict_time_s,
        "output": list(output),
        "outcome": "finished",
    }
    return _move(job, State.RUNNING, State.STORING, due_at=resend_at, hinted=True, record=record)


def generate_again(job: Job, *, cause: Cause, error: str, due_at: float) -> Move:
    """Paid, and nothing came of it: the next attempt will pay again, and takes one of the tries."""
    return _move(
        job,
        job.state,
        State.QUEUED,
        due_at=due_at,
        counted=True,
        cause=cause,
        error=error,
        why=str(cause),
        record={"outcome": "lost" if cause is Cause.EXPIRED else "failed", "cause": cause, "error": error},
    )


def stored(job: Job, *, images: Sequence[Image]) -> Move:
    """Every image asked for is in the store, verified. The provider's addresses are forgotten."""
    return _move(
        job,
        State.STORING,
        State.SUCCEEDED,
        images=tuple(images),
        record={"outcome": "succeeded", "output": None},
    )


def gave_up(
    job: Job, *, cause: Cause, error: str, at: float, images: Sequence[Image] = (), is_copied: bool = False
) -> Move:
    """Final, with a cause. Images that did come are kept; outputs not yet copied stay known for a free retry."""
    record: dict[str, Any] = {"outcome": "failed", "cause": cause, "error": error}
    record |= {"output": None} if is_copied else {}
    return _move(
        job,
        job.state,
        State.FAILED,
        due_at=at,
        cause=cause,
        error=error,
        images=tuple(images),
        record=record,
    )


def canceled(job: Job, *, at: float) -> Move:
    """Ended on request."""
    return _move(job, job.state, State.CANCELED, due_at=at, record={"outcome": "canceled"})


def withdrawn(move: Move, *, at: float) -> Move:
    """What follows on a move back to the queue when the job's cancel has been asked for: it is not sent again."""
    return replace(
        move, source=State.QUEUED, target=State.CANCELED, due_at=at, counted=False, cause=None, record={}, images=()
    )


def look_again(
    job: Job, *, due_at: float, hinted: bool = False, copy_failed: bool = False, error: str | None = None
) -> Look:
    """Not yet: come back at `due_at`. No attempt is burned."""
    return Look(
        job_id=job.id,
        attempt=job.attempt,
        state=job.state,
        due_at=due_at,
        hinted=hinted,
        copy_failed=copy_failed,
        error=error,
    )
