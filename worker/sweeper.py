"""What a `poll` message does: one sweep over everything that runs, with as few calls as possible.

The provider's list shows a hundred predictions in one call, with status and output, the newest first
(https://replicate.com/docs/reference/http#predictions.list). Single looks are for the few that it does not show, and
for providers without a list.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import structlog

from imagejobs.edges.dialects import Prediction
from imagejobs.edges.provider import NotListed
from imagejobs.errors import Cause, Permanent, Refused, Throttled, Transient
from imagejobs.job import Flight, Job
from imagejobs.states import State
from worker.abreast import Decided
from worker.calls import Calls
from worker.looks import Looks
from worker.outcomes import GiveUp, Held, Outcome, Retry, Wait
from worker.planning import FEW, NOTHING, Limits, RunTimes, next_look, next_sweep
from worker.services import Services
from worker.stages.poll import runs_on
from worker.stages.record import SURELY_READABLE_SECONDS
from worker.strays import Strays

SKEW_SECONDS = 60.0  # how far our clock may be ahead of the provider's
LOOKS_A_SWEEP = 64
BROKEN_LISTS = 3  # in a row: after these, what they do not show is looked at singly
SOON_SECONDS, CALM_SECONDS = 0.5, 2.0  # from one look for something that runs to the next: while creates are sent; else
FIRST_LOOK_SECONDS = 2.0  # how old a prediction is before a single look, where nobody knows how long they take
LISTLESS_SECONDS = 600.0
AGAIN_SECONDS = 0.5  # without a list, or one that can be read: how soon to see who is due

log = structlog.get_logger("imagejobs.poll")


class Sweeper:
    """One account's sweep."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._calls = Calls(services)
        self._looks = Looks(services, calls=self._calls)
        self._strays = Strays(services, calls=self._calls)
        self._run_times = RunTimes()
        self._broken_off = self._failed = 0  # lists in a row: all that were not read on; those that the provider broke
        self._listless_until = 0.0  # monotonic: a provider without a list is not asked for it at every sweep

    def run(self) -> float:
        """Look at everything due. Returns the seconds after which the next sweep makes sense."""
        services = self._services
        flights = services.ledger.views.flights(services.account)
        reach = None if self._is_listless() else self._strays.reach()
        if not flights and reach is None:
            return self._until_any_runs()
        seen, pages = self._list(flights, reach)
        singles = self._stragglers(flights, seen, has_list=pages is not None)
        self._conclude(flights, seen, singles)
        if pages is None or self._failed >= BROKEN_LISTS:
            return AGAIN_SECONDS
        return self._next(flights, seen, calls=pages + len(singles))

    def _until_any_runs(self) -> float:
        """Nothing runs. The next look: soon where creates are sent, later where only a person or an orphan may come."""
        services, now = self._services, self._services.clock.now()
        unfinished = services.ledger.batches.unfinished(services.account)
        if any(batch.counts[State.SUBMITTING] or batch.may_send(now) for batch in unfinished):
            return SOON_SECONDS
        may_turn_up = self._strays.may_turn_up and not self._is_listless()
        return CALM_SECONDS if unfinished or may_turn_up else NOTHING

    def _next(self, flights: Sequence[Flight], seen: Mapping[str, Prediction], *, calls: int) -> float:
        """When to sweep again, by what has ended and what runs on."""
        services, now = self._services, self._services.clock.now()
        over = {one.id: one.completed_at for one in seen.values() if one.is_final}
        flying = [flight for flight in flights if flight.prediction_id not in over]
        further_down = self._further_down(flying, seen, now)
        waits = (
            (self._due_at(flight, may_be_shown=False) if flight in further_down else self._young_until(flight)) - now
            for flight in flying
        )
        return next_sweep(
            calls=calls,
            flying=len(flying),
            ended_at=[at for at in over.values() if at is not None],
            soonest_seconds=min(waits, default=0.0),
            limits=Limits(calls_per_minute=services.calls.per_minute(), keep_seconds=services.settings.keep_seconds),
        )

    def _further_down(self, flying: Sequence[Flight], seen: Mapping[str, Prediction], now: float) -> list[Flight]:
        """The few that the list is not read on for, and will not show: they wait for their single look."""
        unseen = [flight for flight in flying if flight.prediction_id not in seen]
        settled = [flight for flight in unseen if flight.intent_at + self._services.settings.settle_seconds < now]
        return settled if len(unseen) <= FEW and not self._broken_off else []

    def _is_listless(self) -> bool:
        return self._services.clock.monotonic() < self._listless_until

    def _list(self, flights: Sequence[Flight], reach: float | None) -> tuple[dict[str, Prediction], int | None]:
        """What the list shows of `flights`, and how many pages that took; None where the provider has no list.

        `reach` is back to when it is read to its end, in search of orphans.
        """
        if self._is_listless():
            return {}, None
        wanted = {flight.prediction_id for flight in flights}
        seen: dict[str, Prediction] = {}
        others: list[Prediction] = []
        pages, is_broken_off, has_failed = 0, True, False
        since = min([flight.intent_at for flight in flights] + ([] if reach is None else [reach]))
        try:
            for page in self._calls.pages(since - SKEW_SECONDS, has_place=self._calls.may_call):
                is_enough = len(wanted) - len(seen) <= FEW
                pages += not is_enough or not pages
                seen.update({one.id: one for one in page.predictions if one.id in wanted})
                others += [one for one in page.predictions if one.id not in wanted]
                is_enough = len(wanted) - len(seen) <= FEW
                is_broken_off = page.next_cursor is not None and not is_enough
                if reach is None and is_enough:
                    break
        except NotListed:
            self._listless_until = self._services.clock.monotonic() + LISTLESS_SECONDS
            return {}, None
        except (Transient, Throttled, Refused, Permanent) as error:
            log.warning("list_failed", error=str(error))
            is_broken_off = has_failed = True
        self._broken_off = self._broken_off + 1 if is_broken_off else 0
        self._failed = self._failed + 1 if has_failed else 0
        self._strays.take_in(others)
        return seen, pages

    def _stragglers(self, flights: Sequence[Flight], seen: Mapping[str, Prediction], *, has_list: bool) -> list[Flight]:
        """Those to be looked at singly: due and not seen.

        Where the list broke off, most of those not seen are just further down: the next one may show them.
        """
        if has_list and 0 < self._broken_off < BROKEN_LISTS:
            return []
        now = self._services.clock.now()
        unseen = [flight for flight in flights if flight.prediction_id not in seen]
        may_be_shown = has_list and len(unseen) > FEW  # for a few the list is not read on, however old they are
        return [flight for flight in unseen if self._due_at(flight, may_be_shown=may_be_shown) <= now][:LOOKS_A_SWEEP]

    def _due_at(self, flight: Flight, *, may_be_shown: bool) -> float:
        """When it is worth a single look: old enough to have ended, and for the list to have shown it if it does.

        Where creates are paced, it began seconds after its intent.
        """
        shown_at = flight.intent_at + (self._services.settings.settle_seconds if may_be_shown else 0.0)
        ended_at = flight.accepted_at + self._run_times.earliest(flight.version, unseen=FIRST_LOOK_SECONDS)
        return max(flight.due_at, shown_at, ended_at)

    def _young_until(self, flight: Flight) -> float:
        """Before that no list is read for it: however late it was accepted, it has not ended yet."""
        return flight.intent_at + self._run_times.earliest(flight.version)

    def _conclude(self, flights: Sequence[Flight], seen: Mapping[str, Prediction], singles: Sequence[Flight]) -> None:
        """Decide for those of whom there is something to be said, and write it."""
        shown = [flight for flight in flights if flight.prediction_id in seen and self._is_news(flight, seen)]
        looked_at = {flight.job_id: flight.prediction_id for flight in [*shown, *singles]}
        jobs = self._services.ledger.views.jobs(list(looked_at)) if looked_at else []
        # Read anew, and so maybe of another attempt by now: what was seen is no news of that.
        jobs = [job for job in jobs if (job.state, job.prediction_id) == (State.RUNNING, looked_at[job.id])]
        unseen = [job for job in jobs if job.prediction_id not in seen]
        self._looks.conclude([*self._read(jobs, seen), *self._look_at(unseen)])

    def _is_news(self, flight: Flight, seen: Mapping[str, Prediction]) -> bool:
        """Whether there is anything to decide. "Not yet" is not even written: the next sweep sees it again."""
        now, limit_seconds = self._services.clock.now(), self._services.settings.job_seconds
        return not runs_on(flight, seen[flight.prediction_id], now=now, limit_seconds=limit_seconds)

    def _read(self, jobs: Sequence[Job], seen: Mapping[str, Prediction]) -> Iterator[tuple[Job, Outcome]]:
        """What the list says."""
        now = self._services.clock.now()
        for job in jobs:
            prediction = seen.get(job.prediction_id or "")
            if prediction is None:
                continue
            self._run_times.learn(job.version, prediction)
            outcome = self._looks.judge(job, prediction)
            if not isinstance(outcome, Wait) or job.due_at <= now + 1:
                yield job, outcome

    def _look_at(self, singles: Sequence[Job]) -> list[Decided]:
        return list(self._services.looking.map(self._look, singles))

    def _look(self, job: Job) -> Decided:
        """One single GET for one job."""
        if not self._calls.may_call():
            return job, Wait(after_seconds=1.0)
        try:
            prediction = self._services.provider.get(job.prediction_id or "")
            self._run_times.learn(job.version, prediction)
            outcome = self._looks.judge(job, prediction)
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
        if job.age_seconds(self._services.clock.now()) < SURELY_READABLE_SECONDS:
            return Wait(after_seconds=self._patience(job), error=str(error))
        return Retry(cause=Cause.EXPIRED, error=str(error))

    def _patience(self, job: Job) -> float:
        earliest = self._run_times.earliest(job.version, unseen=1.0)
        return next_look(age_seconds=job.age_seconds(self._services.clock.now()), earliest_seconds=earliest)
