"""What a `submit` message does: reserve places in the allowance, claim, and send each create in its place."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from math import inf

import structlog

from imagejobs.edges.connections import CONNECT_SECONDS, SEND_SECONDS
from imagejobs.edges.dialects import Prediction
from imagejobs.errors import Cause
from imagejobs.job import Job
from imagejobs.limiter import Grant
from imagejobs.queues import BROKER_ERRORS
from imagejobs.states import State
from worker.abreast import Abreast, Decided
from worker.ahead import Ahead, Taken
from worker.calls import Calls
from worker.outcomes import Accepted, Held, Outcome, Retry, Unknown, Unsent
from worker.services import Services
from worker.stages.guard import guarded
from worker.stages.submit import POST_WITHIN_SECONDS, create
from worker.strays import Strays

AHEAD_SECONDS = 2.5  # places farther off than this are left to a later turn, so that no thread waits for long
LATE_SECONDS = 0.3  # and one spacing: later than this, a slot counts as missed; a few late ones are no burst
PAUSED_WITHIN_SECONDS = 0.5  # of a refusal: until then, its batch's other creates may still be handed on

log = structlog.get_logger("imagejobs.submit")


class Submitter:
    """Submitting never holds all threads of a process: copies and looks always find one."""

    def __init__(self, services: Services, *, threads: int, is_leaving: Callable[[], bool]) -> None:
        """Once it `is_leaving` (told to stop), jobs that wait for a thread are given back."""
        self._services = services
        self._is_leaving = is_leaving
        self._strays = Strays(services, calls=Calls(services))
        self._room = threading.BoundedSemaphore(max(1, threads * 3 // 4))
        self._ahead = Ahead(services.creating, threads)
        self._has_slots = services.settings.creates_per_minute > 0  # as last heard: it may change at any time
        self._refused: tuple[float, Cause] = (-inf, Cause.RATE_LIMITED)  # until when (steady clock) nothing is sent

    def run(self, job_ids: Sequence[int]) -> None:
        """Send the creates of these jobs, as many as the allowance has places for; the others go back to the queue."""
        if not self._room.acquire(blocking=False):
            self._services.ledger.turns.give_back(job_ids)
            return
        try:
            (self._submit if self._has_slots else self._submit_unpaced)(job_ids)
        except BROKER_ERRORS:
            self._services.ledger.turns.give_back(job_ids)  # those not claimed: no other message names them
            raise
        finally:
            self._room.release()

    def _submit_unpaced(self, job_ids: Sequence[int]) -> None:
        """No slot to wait for, but a thread: some of the jobs at a time, and what waits for too long goes back."""
        while job_ids:
            with self._ahead.take(len(job_ids), within_seconds=AHEAD_SECONDS) as taken:
                if not taken.count or self._is_leaving():
                    break
                self._submit(job_ids[: taken.count], taken)
            job_ids = job_ids[taken.count :]
        if job_ids:
            self._services.ledger.turns.give_back(job_ids)

    def _submit(self, job_ids: Sequence[int], taken: Taken | None = None) -> None:
        services = self._services
        grant = services.creates.reserve(len(job_ids), ahead_seconds=AHEAD_SECONDS)
        if grant.places:
            self._has_slots = grant.spacing_seconds > 0
        first_slot = services.clock.monotonic() + grant.after_seconds
        if grant.places < len(job_ids):
            services.ledger.turns.give_back(job_ids[grant.places :], due_at=services.clock.now() + grant.after_seconds)
        if grant.places:
            # Before the claim, which may wait for the ledger: whoever looks these jobs up counts from here.
            claimed_at = services.clock.monotonic()
            claimed = self._claim(job_ids[: grant.places], grant)
            if taken:
                taken.keep(len(claimed))
            self._send(claimed, grant, first_slot, claimed_at=claimed_at, pool=taken or services.creating)

    def _claim(self, job_ids: Sequence[int], grant: Grant) -> list[Job]:
        services = self._services
        now = services.clock.now()
        # Only when this process can no longer send, the reply can no longer come and the list has settled may anybody
        # conclude that a create does not exist.
        unsure = POST_WITHIN_SECONDS + CONNECT_SECONDS + SEND_SECONDS + services.settings.read_seconds
        resolve_at = now + unsure + services.settings.settle_seconds
        claimed = services.ledger.jobs.claim(job_ids, account=services.account, now=now, resolve_at=resolve_at)
        if len(claimed) < len(job_ids):
            services.creates.give_back(grant, len(job_ids) - len(claimed))
            services.ledger.turns.give_back([one for one in job_ids if one not in {job.id for job in claimed}])
        return claimed

    def _send(
        self, claimed: Sequence[Job], grant: Grant, first_slot: float, *, claimed_at: float, pool: Executor
    ) -> None:
        """Each in its slot, however long the one before it takes to be answered."""
        rest = deque(claimed)
        answers = _Answers(self._services, self._strays)
        creates = Abreast(pool, clock=self._services.clock, conclude=answers.conclude)
        try:
            for position in range(len(claimed)):
                slot = first_slot + position * grant.spacing_seconds
                creates.write(until=slot)
                if answers.refusal is not None:
                    break
                self._keep_slot(slot, grant)
                handed_at = self._services.clock.monotonic()
                creates.start(partial(self._create, rest.popleft(), grant, claimed_at=claimed_at, handed_at=handed_at))
        except BROKER_ERRORS:
            # Their intent is committed: said now, nobody has to wait and look them up.
            unsent = Unsent(cause=None, error="not sent: Redis went away", after_seconds=0.0)
            self._services.write([(job, unsent) for job in rest])
            raise
        finally:
            creates.write()
        if rest and answers.refusal is not None:
            self._stop(rest, grant, answers.refusal)

    def _keep_slot(self, slot: float, grant: Grant) -> None:
        """Wait for the slot. One that was missed (a busy machine) is taken anew: late creates must not bunch up."""
        clock = self._services.clock
        if clock.monotonic() - slot > LATE_SECONDS + grant.spacing_seconds and grant.spacing_seconds:
            slot = clock.monotonic() + self._services.creates.reserve(1, ahead_seconds=AHEAD_SECONDS).after_seconds
        if (wait := slot - clock.monotonic()) > 0:
            clock.sleep(wait)

    def _create(self, job: Job, grant: Grant, *, claimed_at: float, handed_at: float) -> Decided:
        services = self._services
        until, cause = self._refused
        if handed_at <= until:  # another message's create was refused while this one waited for a thread
            services.creates.give_back(grant, 1)
            wait = max(0.0, until - services.clock.monotonic())
            return job, Unsent(cause=cause, error="not sent: one before it was refused", after_seconds=wait)
        with structlog.contextvars.bound_contextvars(batch=job.batch, job_id=job.row_id, attempt=job.attempt):
            send = partial(
                create,
                job,
                provider=services.provider,
                clock=services.clock,
                claimed_at=claimed_at,
                cancel_after_seconds=services.settings.job_seconds,
                webhook_url=services.settings.webhook_url,
            )
            began = services.clock.monotonic()
            outcome = guarded(send, otherwise=lambda error: Unknown(error=error))
            if not isinstance(outcome, Unsent):
                self._ahead.took(services.clock.monotonic() - began)
            if isinstance(outcome, Retry) and outcome.cause is Cause.RATE_LIMITED:
                closed = services.creates.throttled(outcome.after_seconds)
                outcome = Retry(cause=outcome.cause, error=outcome.error, after_seconds=closed)
                # Places in hand lie no farther ahead; whoever reserves later finds the allowance closed.
                self._refused = (services.clock.monotonic() + min(closed, AHEAD_SECONDS), outcome.cause)
            elif isinstance(outcome, Held):
                self._refused = (services.clock.monotonic() + PAUSED_WITHIN_SECONDS, outcome.cause)
            log.info("create", outcome=type(outcome).__name__, prediction_id=getattr(outcome, "prediction_id", None))
        return job, outcome

    def _stop(self, rest: Sequence[Job], grant: Grant, because: Outcome) -> None:
        """The provider wants no more just now: the others of this message are not sent."""
        wait = because.after_seconds if isinstance(because, Retry) else 0.0
        cause = because.cause if isinstance(because, Retry | Held) else Cause.RATE_LIMITED
        unsent = Unsent(cause=cause, error="not sent: the one before it was refused", after_seconds=wait or 0.0)
        self._services.write([(job, unsent) for job in rest])
        self._services.creates.give_back(grant, len(rest))


class _Answers:
    """What the creates of one message came to. `refusal`: the provider wants no more just now."""

    def __init__(self, services: Services, strays: Strays) -> None:
        self._services = services
        self._strays = strays
        self.refusal: Outcome | None = None

    def conclude(self, answered: Sequence[Decided]) -> None:
        """Write them; images that came as the answer are sent for at once. What comes too late is an orphan."""
        for _, outcome in answered:
            if isinstance(outcome, Held) or _is_throttled(outcome):
                self.refusal = outcome
        granted = self._services.write(answered)
        moved = {move.job_id for move in granted}
        for job, outcome in answered:
            if isinstance(outcome, Accepted) and job.id not in moved:
                late = Prediction(id=outcome.prediction_id, status="starting", created_at=outcome.at)
                self._strays.take_late(job, late)
        finished = [move.job_id for move in granted if move.target is State.STORING]
        self._services.dispatch.copies(finished, now=self._services.clock.now())


def _is_throttled(outcome: Outcome) -> bool:
    return isinstance(outcome, Retry) and outcome.cause is Cause.RATE_LIMITED
