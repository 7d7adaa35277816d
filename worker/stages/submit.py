"""The submit stage: one POST for one job, and what its reply means. The POST is never repeated here."""

from __future__ import annotations

from imagejobs.clock import Clock
from imagejobs.edges.dialects import ImagesAnswer
from imagejobs.edges.provider import Provider
from imagejobs.edges.webhooks import address
from imagejobs.errors import Cause, NotSent, OutcomeUnknown, Permanent, Refused, Throttled
from imagejobs.job import Job
from worker.backoff import UNREACHABLE
from worker.outcomes import Accepted, Answered, GiveUp, Held, Outcome, Retry, Unknown, Unsent

POST_WITHIN_SECONDS = 5.0  # a claim older than this is stale: somebody may already be looking it up


def create(
    job: Job,
    *,
    provider: Provider,
    clock: Clock,
    claimed_at: float,
    cancel_after_seconds: float,
    webhook_url: str | None = None,
) -> Outcome:
    """Send the job's create, if its claim (`claimed_at`, monotonic) is still fresh.

    A process that slept between claim and POST (SIGSTOP, swap, a closed laptop) must not send: the look-up of unknown
    outcomes may have declared the create absent meanwhile.
    """
    if clock.monotonic() - claimed_at > POST_WITHIN_SECONDS:
        return Unsent(error="this worker slept between its claim and its POST", after_seconds=0.0, cause=None)
    webhook = address(webhook_url, job) if webhook_url else None
    try:
        reply = provider.create(
            version=job.version, input=job.input, cancel_after_seconds=cancel_after_seconds, webhook=webhook
        )
    except NotSent as error:
        return Unsent(error=str(error), after_seconds=UNREACHABLE.base_seconds * 2)
    except OutcomeUnknown as error:
        return Unknown(error=str(error))
    except Throttled as error:
        return Retry(cause=Cause.RATE_LIMITED, error=str(error), after_seconds=error.after_seconds)
    except Refused as error:
        return Held(cause=error.cause, reason=str(error))
    except Permanent as error:
        return GiveUp(cause=error.cause, error=str(error))
    if isinstance(reply, ImagesAnswer):
        return Answered(output=reply.outputs)
    return Accepted(prediction_id=reply.id, at=clock.now())
