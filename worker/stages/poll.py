"""The poll stage: what a prediction's record means for its job. Pure; times are seconds since the epoch."""

from __future__ import annotations

from dataclasses import dataclass

from imagejobs.edges.dialects import Prediction
from imagejobs.errors import Cause
from imagejobs.job import Flight, Job
from worker.outcomes import Canceled, Finished, GiveUp, Outcome, Retry, Wait

PENDING = frozenset({"starting", "processing"})
RECHECK_SECONDS = 30.0  # between two looks at a prediction whose record makes no sense, or that does not end
OVERDUE_SECONDS = 60.0  # past its time limit by this much, a prediction is cancelled by us
LOST_SECONDS = 600.0  # past its time limit by this much, whatever it says, it has ended for us

# What providers write into `error`, and what it is taken for (https://replicate.com/docs/reference/error-codes and
# https://github.com/replicate/cog-stable-diffusion/blob/main/predict.py). The first match counts; none is transient:
# trying again is bounded, giving up on a paid night is not.
_FAILURES = (
    ("nsfw", Cause.SAFETY),
    ("safety", Cause.SAFETY),
    ("sensitive content", Cause.SAFETY),
    ("out of memory", Cause.INPUT),
    ("e1001", Cause.INPUT),
    ("maximum size is", Cause.INPUT),
    ("valueerror", Cause.INPUT),
    ("validation", Cause.INPUT),
    ("invalid input", Cause.INPUT),
    ("e4875", Cause.INPUT),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What to do with the job, and whether to ask the provider to cancel the prediction."""

    outcome: Outcome
    cancel: bool = False


def runs_on(flight: Flight, prediction: Prediction, *, now: float, limit_seconds: float) -> bool:
    """Whether there is nothing to decide yet: it has not ended, is wanted, and in time."""
    is_late = now - flight.intent_at - limit_seconds > OVERDUE_SECONDS
    return not (prediction.is_final or flight.cancel_requested or is_late)


def judge(job: Job, prediction: Prediction, *, now: float, limit_seconds: float) -> Verdict:
    """Read one prediction. A status nobody has seen is treated as running, and so ends by its time limit."""
    match prediction.status:
        case "succeeded":
            return Verdict(outcome=_succeeded(prediction, now))
        case "failed":
            return Verdict(outcome=_failed(prediction))
        case "canceled":
            return Verdict(outcome=_canceled(job, prediction, is_late=_late_by(job, now, limit_seconds) > 0))
        case "aborted":
            return Verdict(outcome=_aborted(job))
        case _:
            return _pending(job, prediction, now, limit_seconds)


def _succeeded(prediction: Prediction, now: float) -> Outcome:
    if prediction.output:
        # No later than now, whatever the provider's clock says: the outputs' time is counted from here.
        completed_at = min(prediction.completed_at if prediction.completed_at is not None else now, now)
        return Finished(output=prediction.output, completed_at=completed_at, predict_time_s=prediction.predict_time_s)
    if prediction.data_removed:
        return Retry(cause=Cause.EXPIRED, error="the provider removed the output before it was copied")
    return GiveUp(cause=Cause.SHORT, error="the prediction succeeded without any output", is_copied=True)


def _failed(prediction: Prediction) -> Outcome:
    error = prediction.error or "the prediction failed without saying why"
    cause = next((cause for mark, cause in _FAILURES if mark in error.lower()), Cause.TRANSIENT)
    if cause is Cause.TRANSIENT:
        return Retry(cause=cause, error=error)
    return GiveUp(cause=cause, error=error, is_copied=True)


def _canceled(job: Job, prediction: Prediction, *, is_late: bool) -> Outcome:
    """By request, at its time limit (by the provider, or by us where the provider knows none), or by somebody else."""
    if job.cancel_requested:
        return Canceled()
    if prediction.deadline is not None or is_late:
        return GiveUp(cause=Cause.DEADLINE, error="canceled at its time limit", is_copied=True)
    return GiveUp(cause=Cause.CANCELED, error=prediction.error or "canceled at the provider", is_copied=True)


def _aborted(job: Job) -> Outcome:
    """Ended before it ran, unbilled (https://replicate.com/changelog/2025-10-16-prediction-deadlines)."""
    if job.cancel_requested:
        return Canceled()
    return Retry(cause=Cause.DEADLINE, error="did not start within its time limit")


def _pending(job: Job, prediction: Prediction, now: float, limit_seconds: float) -> Verdict:
    late = _late_by(job, now, limit_seconds)
    if late > LOST_SECONDS:
        error = f"still {prediction.status!r} long after its time limit"
        return Verdict(outcome=GiveUp(cause=Cause.DEADLINE, error=error), cancel=True)
    is_overdue = late > OVERDUE_SECONDS
    return Verdict(outcome=Wait(after_seconds=RECHECK_SECONDS), cancel=is_overdue or job.cancel_requested)


def _late_by(job: Job, now: float, limit_seconds: float) -> float:
    return now - (job.intent_at or now) - limit_seconds
