"""What a `poll` message does: one sweep over everything that runs, with as few calls as possible.

The provider's list shows a hundred predictions in one call, with status and output, the newest first
(https://replicate.com/docs/reference/http#predictions.list). Single looks are for the few that it does not show, and
for providers without a list.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import structlog

from imagejobs.edges.dialects import Prediction
from imagejobs.edges.provider import NotListed
from imagejobs.errors import Cause, Permanent, Refused, Throttled, Transient
from imagejobs.job import Job
from worker.abreast import Decided
from worker.calls import Calls
from worker.looks import Looks
from worker.outcomes import GiveUp, Held, Outcome, Retry, Wait
from worker.services import Services
from worker.stages.poll import RECHECK_SECONDS
from worker.stages.record import SURELY_READABLE_SECONDS
from worker.strays import Strays

FEW = 4  # so many that are not seen yet are cheaper looked at singly than by paging on through the list
SKEW_SECONDS = 60.0  # how far our clock may be ahead of the provider's
LOOKS_A_SWEEP = 64
SECONDS_A_PAGE = (
    1.0  # a sweep of n pages is repeated after n seconds: a tenth of a call an image at ten creates a second
)
SLOWEST_SECONDS = 20.0
IDLE_SECONDS = 2.0
LISTLESS_SECONDS = 600.0
AGAIN_SECONDS = 0.5  # without a list: how soon to see who is due

log = structlog.get_logger("imagejobs.poll")


class Sweeper:
    """One account's sweep."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._calls = Calls(services)
        self._looks = Looks(services, calls=self._calls)
        self._strays = Strays(services, calls=self._calls)
        self._listless_until = 0.0  # monotonic: a provider without a list is not asked for it at every sweep

    def run(self) -> float:
        """Look at everything due. Returns the seconds after which the next sweep makes sense."""
        services = self._services
        running = services.ledger.views.running(services.account)
        reach = None if self._is_listless() else self._strays.reach()
        if not running and reach is None:
            return IDLE_SECONDS
        seen, pages = self._list(running, reach)
        singles = self._stragglers(running, seen, has_list=pages is not None)
        self._looks.conclude([*self._read(running, seen), *self._look_at(singles)])
        return AGAIN_SECONDS if pages is None else min(SLOWEST_SECONDS, max(1, pages) * SECONDS_A_PAGE)

    def _is_listless(self) -> bool:
        return self._services.clock.monotonic() < self._listless_until

    def _list(self, running: Sequence[Job], reach: float | None) -> tuple[dict[str, Prediction], int | None]:
        """What the list shows of `running`, and how many pages that took; None where the provider has no list.

        `reach` is back to when it is read to its end, in search of orphans.
        """
        if self._is_listless():
            return {}, None
        wanted = {job.prediction_id for job in running}
        seen: dict[str, Prediction] = {}
        others: list[Prediction] = []
        pages = 0
        since = min([job.intent_at or 0.0 for job in running] + ([] if reach is None else [reach]))
        try:
            for page in self._pages(since - SKEW_SECONDS):
                is_enough = len(wanted) - len(seen) <= FEW
                pages += not is_enough or not pages
                seen.update({one.id: one for one in page if one.id in wanted})
                others += [one for one in page if one.id not in wanted]
                if reach is None and len(wanted) - len(seen) <= FEW:
                    break
        except NotListed:
            self._listless_until = self._services.clock.monotonic() + LISTLESS_SECONDS
            return {}, None
        except (Transient, Throttled, Refused, Permanent) as error:
            log.warning("list_failed", error=str(error))
        self._strays.take_in(others)
        return seen, pages

    def _pages(self, since: float) -> Iterator[Sequence[Prediction]]:
        cursor: str | None = None
        while self._calls.may_call():
            try:
                page = self._services.provider.list(created_after=since, cursor=cursor)
            except Throttled as error:
                self._calls.throttled(error)
                raise
            yield page.predictions
            cursor = page.next_cursor
            if cursor is None:
                return

    def _stragglers(self, running: Sequence[Job], seen: dict[str, Prediction], *, has_list: bool) -> list[Job]:
        """Those to be looked at singly: due, not seen, and old enough for the list to have shown them."""
        now = self._services.clock.now()
        settled = now - (self._services.settings.settle_seconds if has_list else 0.0)
        due = [job for job in running if job.due_at <= now and job.prediction_id not in seen]
        return [job for job in due if (job.intent_at or 0.0) <= settled][:LOOKS_A_SWEEP]

    def _read(self, running: Sequence[Job], seen: dict[str, Prediction]) -> Iterator[tuple[Job, Outcome]]:
        """What the list says. "Not yet" is written only when the job's single look falls due, and so almost never."""
        now = self._services.clock.now()
        for job in running:
            if job.prediction_id not in seen:
                continue
            outcome = self._looks.judge(job, seen[job.prediction_id])
            if not isinstance(outcome, Wait) or job.due_at <= now + 1:
                yield job, outcome

    def _look_at(self, singles: Sequence[Job]) -> list[Decided]:
        return list(self._services.looking.map(self._look, singles))

    def _look(self, job: Job) -> Decided:
        """One single GET for one job."""
        if not self._calls.may_call():
            return job, Wait(after_seconds=1.0)
        try:
            outcome = self._looks.judge(job, self._services.provider.get(job.prediction_id or ""))
        except Throttled as error:
            return job, Wait(after_seconds=self._calls.throttled(error))
        except Transient as error:
            return job, Wait(after_seconds=error.after_seconds or 5.0, error=str(error))
        except Refused as error:
            return job, Held(cause=error.cause, reason=str(error))
        except Permanent as error:
            return job, self._not_there(job, error)
        return job, Wait(after_seconds=self._patience(job)) if isinstance(outcome, Wait) else outcome

    def _not_there(self, job: Job, error: Permanent) -> Outcome:
        """An id only seconds old may not be readable everywhere yet: be sure before it is paid for again."""
        if error.cause is not Cause.EXPIRED:
            return GiveUp(cause=error.cause, error=str(error))
        age = self._services.clock.now() - (job.intent_at or 0.0)
        if age < SURELY_READABLE_SECONDS:
            return Wait(after_seconds=10.0, error=str(error))
        return Retry(cause=Cause.EXPIRED, error=str(error))

    def _patience(self, job: Job) -> float:
        """The older a prediction, the rarer its single looks: a cold start of minutes is normal."""
        age = self._services.clock.now() - (job.intent_at or 0.0)
        return min(RECHECK_SECONDS, max(1.0, age * 0.3))
