"""What the provider's own record says of outputs that could not be fetched: still kept, and where, or deleted."""

from __future__ import annotations

from dataclasses import dataclass

from imagejobs.clock import Clock
from imagejobs.edges.provider import Provider
from imagejobs.errors import Cause, Permanent, Refused, Throttled, Transient
from imagejobs.job import Job
from imagejobs.limiter import Limiter
from imagejobs.queues import BROKER_ERRORS

SURELY_READABLE_SECONDS = 60.0  # an id younger than this may not be readable everywhere yet


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Looks at one prediction at a time, under the allowance of calls."""

    provider: Provider
    calls: Limiter
    clock: Clock

    def kept(self, job: Job) -> tuple[str, ...]:
        """The addresses at which the provider keeps the job's outputs now; none: it has deleted them.

        Raises Transient where it cannot be told now, and Permanent where the record makes no sense.
        """
        self._wait_for_a_place()
        try:
            prediction = self.provider.get(job.prediction_id or "")
        except Throttled as error:
            raise Transient(str(error), after_seconds=self.calls.throttled(error.after_seconds)) from None
        except Refused as error:
            raise Transient(str(error)) from None
        except Permanent as error:
            return self._unknown(job, error)
        if prediction.status != "succeeded":
            raise Permanent(f"finished once, and {prediction.status!r} now", cause=Cause.UNKNOWN)
        return prediction.output or ()

    def _wait_for_a_place(self) -> None:
        try:
            grant = self.calls.reserve(1, ahead_seconds=2.0)
        except BROKER_ERRORS as error:
            raise Transient(f"no allowance without Redis: {type(error).__name__}") from None
        if not grant.places:
            raise Transient("no place for a look now", after_seconds=grant.after_seconds)
        self.clock.sleep(grant.after_seconds)

    def _unknown(self, job: Job, error: Permanent) -> tuple[str, ...]:
        """A provider that has forgotten the prediction keeps nothing of it."""
        if error.cause is not Cause.EXPIRED:
            raise error
        if job.age_seconds(self.clock.now()) < SURELY_READABLE_SECONDS:
            raise Transient(str(error))
        return ()
