"""The only place that decides: an outcome becomes a move and, at times, a pause of the batch.

Where is a 429 handled? Here: `Retry(RATE_LIMITED)` goes back to the queue and counts nothing; the limiter slows down.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from imagejobs import moves
from imagejobs.errors import Cause
from imagejobs.job import Job
from imagejobs.moves import Look, Move
from imagejobs.queues import LOST_MESSAGE_SECONDS
from imagejobs.states import State
from worker.backoff import COPY, CREATE, UNREACHABLE, Dice
from worker.outcomes import (
    Absent,
    Accepted,
    Answered,
    Canceled,
    Finished,
    GiveUp,
    Held,
    Outcome,
    Retry,
    Stored,
    Unknown,
    Unsent,
    Wait,
)

LOST_CREATES = 25  # creates of one job, after which a lost one is not repeated
UNCOUNTED = frozenset({Cause.RATE_LIMITED, Cause.AUTH_BILLING})  # told to wait, not failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What deciding needs to know of the settings, all in seconds."""

    max_tries: int
    keep_seconds: float
    settle_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """The batch must pause: not this job is at fault."""

    batch_id: int
    kind: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What to write: at most one change of the job, and at most one pause of its batch."""

    change: Move | Look | None
    pause: Pause | None = None


def settle(  # noqa: C901, PLR0912 - one flat match: a case an outcome, and the type checker names a forgotten one
    job: Job, outcome: Outcome, *, policy: Policy, now: float, dice: Dice
) -> Settlement:
    """Turn a stage's outcome into what to write."""
    match outcome:
        case Accepted():
            # Its age is counted from here, and the provider's clock may be ahead or behind by minutes.
            at = max(job.intent_at or 0.0, min(outcome.at, now))
            return Settlement(change=moves.accepted(job, prediction_id=outcome.prediction_id, at=at, look_at=now))
        case Answered():
            return Settlement(change=_answered(job, outcome, policy, now))
        case Finished():
            return Settlement(change=_finished(job, outcome, policy, now))
        case Stored():
            return Settlement(change=moves.stored(job, images=outcome.images))
        case Wait():
            return Settlement(change=_wait(job, outcome, now))
        case Retry():
            return Settlement(change=_retry(job, outcome, policy, now, dice))
        case GiveUp():
            return Settlement(change=_give_up(job, outcome, now))
        case Unsent():
            due_at = now + outcome.after_seconds
            unsent = moves.not_sent(job, cause=outcome.cause, error=outcome.error, due_at=due_at)
            return Settlement(change=unsent)
        case Unknown():
            # The process that lost the reply lives, so the list is what to wait for, not the process.
            look_at = now + policy.settle_seconds
            return Settlement(change=moves.look_again(job, due_at=look_at, error=outcome.error))
        case Absent():
            return Settlement(change=_absent(job, outcome, policy, now, dice))
        case Held():
            return _hold(job, outcome, now, dice)
        case Canceled():
            return Settlement(change=moves.canceled(job, at=now))
        case _:
            assert_never(outcome)


def _answered(job: Job, outcome: Answered, policy: Policy, now: float) -> Move:
    expires_at, resend_at = now + policy.keep_seconds, now + LOST_MESSAGE_SECONDS
    return moves.answered(job, output=outcome.output, at=now, expires_at=expires_at, resend_at=resend_at)


def _finished(job: Job, outcome: Finished, policy: Policy, now: float) -> Move:
    return moves.finished(
        job,
        output=outcome.output,
        completed_at=outcome.completed_at,
        expires_at=outcome.completed_at + policy.keep_seconds,
        resend_at=now + LOST_MESSAGE_SECONDS,
        predict_time_s=outcome.predict_time_s,
    )


def _wait(job: Job, outcome: Wait, now: float) -> Look:
    due_at = now + outcome.after_seconds
    return moves.look_again(job, due_at=due_at, copy_failed=outcome.copy_failed, error=outcome.error)


def _retry(job: Job, outcome: Retry, policy: Policy, now: float, dice: Dice) -> Move:
    counted = outcome.cause not in UNCOUNTED
    if counted and job.tries_left <= 1:
        # What the provider has deleted must not be offered as a free copy again.
        is_gone = outcome.cause is Cause.EXPIRED
        return moves.gave_up(
            job, cause=outcome.cause, error=outcome.error, at=now, images=outcome.images, is_copied=is_gone
        )
    wait = outcome.after_seconds
    if wait is None:
        wait = CREATE.seconds(policy.max_tries - job.tries_left, dice)
    if job.state is State.SUBMITTING:
        return moves.refused(job, cause=outcome.cause, error=outcome.error, due_at=now + wait, counted=counted)
    return moves.generate_again(job, cause=outcome.cause, error=outcome.error, due_at=now + wait)


def _give_up(job: Job, outcome: GiveUp, now: float) -> Move:
    return moves.gave_up(
        job, cause=outcome.cause, error=outcome.error, at=now, images=outcome.images, is_copied=outcome.is_copied
    )


def _absent(job: Job, outcome: Absent, policy: Policy, now: float, dice: Dice) -> Move:
    """Nothing was paid, so no try is used up; but a spec whose every create gets lost must end some time."""
    if job.attempt >= LOST_CREATES:
        return moves.gave_up(job, cause=Cause.TRANSIENT, error=outcome.error, at=now)
    due_at = now + CREATE.seconds(min(job.attempt, policy.max_tries), dice)
    if outcome.is_proven:
        return moves.proven_absent(job, error=outcome.error, due_at=due_at)
    return moves.assumed_absent(job, due_at=due_at)


def _hold(job: Job, outcome: Held, now: float, dice: Dice) -> Settlement:
    kind = "storage" if outcome.cause is Cause.STORAGE else "auth_billing"
    pause = Pause(batch_id=job.batch_id, kind=kind, reason=outcome.reason)
    if job.state is State.SUBMITTING:
        change: Move | Look = moves.refused(job, cause=outcome.cause, error=outcome.reason, due_at=now, counted=False)
        return Settlement(change=change, pause=pause)
    waits = COPY if outcome.cause is Cause.STORAGE else UNREACHABLE
    due_at = now + waits.seconds(job.copy_tries, dice)
    change = moves.look_again(job, due_at=due_at, copy_failed=outcome.cause is Cause.STORAGE, error=outcome.reason)
    return Settlement(change=change, pause=pause)
