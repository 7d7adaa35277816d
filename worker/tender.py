"""What a `tend` message does: keep house. Feed, send again what is overdue, look up unknown outcomes, close batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import structlog

from imagejobs import closing
from imagejobs.edges.dialects import Prediction
from imagejobs.edges.provider import NotListed
from imagejobs.errors import Cause, Permanent, Refused, Throttled, Transient
from imagejobs.feed import STUCK_OUTPUTS, ease
from imagejobs.job import Batch, Job
from imagejobs.ledger import LEDGER_ERRORS
from imagejobs.patience import Patience
from imagejobs.queues import BROKER_ERRORS
from worker import memory
from worker.abreast import Decided
from worker.calls import Calls
from worker.lookup import BEFORE_SECONDS, resolve, unread
from worker.outcomes import Absent, Accepted, GiveUp, Outcome
from worker.planning import NOTHING
from worker.services import Services

BUSY_SECONDS, CALM_SECONDS = 0.5, 2.0
LOOK_UP, LOOK_UP_SECONDS = "look-up", 5.0  # for a page of the list; a process that dies holds the others up so long
IMAGES_A_SECOND = 500  # closing writes thousands; a closer that takes longer than this has died

log = structlog.get_logger("imagejobs.tend")


class Tender:
    """One account's house-keeping. Each duty stands alone: when one fails, the others are still done."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._calls = Calls(services)

    def run(self) -> float:
        """Do every duty once. Returns the seconds after which the next round makes sense."""
        duties = (self.recover, self.feed, self.send_copies, self.look_up, self.close)
        unfinished = self._unfinished()
        if unfinished == []:
            self._do(self.recover)
            return NOTHING
        done = [self._do(duty) for duty in duties]
        now = self._services.clock.now()
        # Whatever is sent for ahead is used up within moments: with jobs to send, the next feed must be in time.
        may_send = any(one.may_send(now) for one in unfinished or ())
        return BUSY_SECONDS if any(done) or may_send else CALM_SECONDS

    def _unfinished(self) -> list[Batch] | None:
        """Without any, nothing can fall due. None while the ledger cannot tell: something may."""
        try:
            return self._services.ledger.batches.unfinished(self._services.account)
        except LEDGER_ERRORS:
            return None

    def _do(self, duty: Callable[[], int]) -> int:
        try:
            return duty()
        except (*BROKER_ERRORS, *LEDGER_ERRORS) as error:
            log.warning("duty_put_off", duty=duty.__name__, error=type(error).__name__)
            return 0

    def recover(self) -> int:
        """Messages that were lost: their jobs wait for a turn again."""
        lost = self._services.dispatch.recover(now=self._services.clock.now())
        if lost:
            log.warning("messages_lost", jobs=lost)
        return lost

    def feed(self) -> int:
        """Top the submit queue up; less of it when copying falls behind, since finished outputs die within the hour."""
        services = self._services
        now = services.clock.now()
        expiry = services.ledger.views.backlog_expiry(services.account, leave_out=STUCK_OUTPUTS)
        share = ease(expiry, services.settings.keep_seconds, now)
        if share <= 0:
            log.warning("submitting_stopped", because="copying has fallen behind")
            return 0
        creates = services.creates
        booked = creates.booked_seconds()
        return services.dispatch.feed(
            creates_per_minute=creates.per_minute(), booked_seconds=booked, share=share, now=now
        )

    def send_copies(self) -> int:
        """Copies that are due and that nobody has in hand."""
        return self._services.dispatch.overdue_copies(now=self._services.clock.now())

    def look_up(self) -> int:
        """Creates whose reply was lost: adopt, send again, or hold, for all that are due in one pass over the list.

        By one process at a time: workers that start together would each read the whole list.
        """
        services = self._services
        unknown = services.ledger.views.unknown(services.account, now=services.clock.now())
        if not unknown or not services.broker.lease(LOOK_UP, seconds=LOOK_UP_SECONDS):
            return 0
        try:
            return self._look_up(unknown)
        finally:
            services.broker.release(LOOK_UP)

    def _look_up(self, unknown: Sequence[Job]) -> int:
        decided: list[Decided] = []
        try:
            for by_now in self._resolved(unknown):
                decided = by_now
            self._services.broker.is_over(LOOK_UP)
        except NotListed:
            decided = _but_for_found(unknown, decided, otherwise=lambda _: self._without_list())
        except (Transient, Throttled, Refused, Permanent) as error:
            log.warning("look_up_put_off", unknown=len(unknown), error=str(error))
            now = self._services.clock.now()
            since = self._services.broker.lasts(LOOK_UP, now=now)
            decided = _but_for_found(unknown, decided, otherwise=partial(unread, error=error, since=since, now=now))
        self._services.write(decided)
        for job, outcome in decided:
            log.info("looked_up", batch=job.batch, job_id=job.row_id, outcome=type(outcome).__name__)
        return len(decided)

    def _resolved(self, unknown: Sequence[Job]) -> Iterator[list[Decided]]:
        """What the list shows by now, a page at a time, until each of them is found or it ends."""
        services = self._services
        listed: dict[str, Prediction] = {}
        known: set[str] = set()
        since = min(job.intent_at or 0.0 for job in unknown) - BEFORE_SECONDS
        for page in self._calls.pages(since, has_place=self._has_place):
            listed |= {one.id: one for one in page.predictions}
            known |= services.ledger.views.known([one.id for one in page.predictions])
            decided = resolve(unknown, listed.values(), known, now=services.clock.now())
            yield decided
            if all(isinstance(outcome, Accepted) for _, outcome in decided):
                return

    def _has_place(self) -> bool:
        """Raises Throttled rather than end the list early."""
        services = self._services
        grant = services.calls.reserve(1, ahead_seconds=10.0)
        if not grant.places:
            raise Throttled("no place for a list call soon", after_seconds=grant.after_seconds)
        services.clock.sleep(grant.after_seconds)
        services.broker.lease(LOOK_UP, seconds=LOOK_UP_SECONDS, renew=True)
        return True

    def _without_list(self) -> Outcome:
        error = "the create's reply was lost, and this provider has no list to look it up in"
        if self._services.settings.on_unknown == "resubmit":
            return Absent(error=error, is_proven=False)
        return GiveUp(cause=Cause.UNKNOWN_OUTCOME, error=error)

    def close(self) -> int:
        """Batches whose every job is final: manifest, report, and the completion marker last."""
        services = self._services
        done = [batch for batch in services.ledger.batches.unfinished(services.account) if batch.live == 0]
        closed = 0
        for batch in done:
            lease_seconds = 30 + batch.images / IMAGES_A_SECOND
            now = services.clock.now()
            if closing.close(
                services.ledger,
                services.store,
                batch,
                now=now,
                lease_seconds=lease_seconds,
                patience=Patience(services.clock.sleep),
                make=services.make_files,
            ):
                log.info("batch_closed", batch=batch.key, images=batch.images, total=batch.total)
                closed += 1
        if closed:
            memory.give_back()
        return closed


def _but_for_found(
    unknown: Sequence[Job], decided: Sequence[Decided], *, otherwise: Callable[[Job], Outcome | None]
) -> list[Decided]:
    """What the pages that could be read show to be there, is: only absence takes all of them."""
    found = {job.id: (job, outcome) for job, outcome in decided if isinstance(outcome, Accepted)}
    others = ((job, otherwise(job)) for job in unknown if job.id not in found)
    return [*found.values(), *((job, outcome) for job, outcome in others if outcome is not None)]
