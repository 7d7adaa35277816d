"""Services: the ledger, the limiter and the edges, opened once per process, and the one way to write a decision."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import structlog

from imagejobs.batchfiles import Make, make_files
from imagejobs.clock import Clock, SystemClock
from imagejobs.dispatch import Dispatch
from imagejobs.edges.allowances import Overheard
from imagejobs.edges.bucket import open_store
from imagejobs.edges.download import Downloader
from imagejobs.edges.provider import Provider
from imagejobs.edges.store import Store
from imagejobs.errors import BadSetting
from imagejobs.job import Job
from imagejobs.ledger import LEDGER_ERRORS, Ledger
from imagejobs.limiter import CATCH_UP_SECONDS, Limiter
from imagejobs.moves import Look, Move
from imagejobs.queues import Broker
from imagejobs.settings import Settings
from worker.backoff import Dice
from worker.closer import make_apart
from worker.outcomes import Outcome
from worker.settle import Pause, Policy, settle
from worker.stages.record import Record
from worker.stages.store import Copier

PERSIST_SECONDS = 30.0  # how long a decision is held in memory while the database is away; it was paid for
LEDGER_SECONDS = 10.0  # for a reply of the database: a worker's statements are short, and a thread must not hang
LOOKS_AT_ONCE = 8  # single GETs of a sweep in flight

log = structlog.get_logger("imagejobs.worker")


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Everything the tasks share. Safe to use from many threads.

    Creates, copies and looks have threads of their own: however slow one kind is, the others find some.
    """

    settings: Settings
    ledger: Ledger
    broker: Broker
    dispatch: Dispatch
    provider: Provider
    store: Store
    copier: Copier
    creates: Limiter
    calls: Limiter
    policy: Policy
    clock: Clock
    dice: Dice
    creating: Executor
    copying: Executor
    looking: Executor
    make_files: Make = make_files

    @property
    def account(self) -> str:
        """Whose jobs are worked on here."""
        return self.settings.account_name

    def write(self, decided: Iterable[tuple[Job, Outcome]]) -> list[Move]:
        """Write what was decided, all in one transaction, then the pauses. Returns the moves that were granted.

        While the database is away this waits, up to PERSIST_SECONDS: an outcome that is lost here was often paid for,
        and would have to be looked up. Raises one of LEDGER_ERRORS after that.
        """
        now = self.clock.now()
        settled = [settle(job, outcome, policy=self.policy, now=now, dice=self.dice) for job, outcome in decided]
        changes = [one.change for one in settled if one.change is not None]
        began = self.clock.monotonic()
        granted = self._persist(changes, now) if changes else []
        self.creates.waited(self.clock.monotonic() - began)
        for pause in dict.fromkeys(one.pause for one in settled if one.pause is not None):
            self._pause(pause, now)
        return granted

    def _persist(self, changes: list[Move | Look], now: float) -> list[Move]:
        give_up_at = self.clock.monotonic() + PERSIST_SECONDS
        while True:
            try:
                return self.ledger.jobs.apply(changes, now=now)
            except LEDGER_ERRORS as error:
                if self.clock.monotonic() > give_up_at:
                    raise
                log.warning("ledger_away", error=type(error).__name__, changes=len(changes))
                self.clock.sleep(0.5 + self.dice())

    def _pause(self, pause: Pause, now: float) -> None:
        if self.ledger.batches.pause(pause.batch_id, kind=pause.kind, reason=pause.reason, now=now):
            log.warning("batch_paused", batch_id=pause.batch_id, kind=pause.kind, reason=pause.reason)

    def close(self) -> None:
        """Close what was opened."""
        for pool in (self.creating, self.copying, self.looking):
            pool.shutdown(wait=False, cancel_futures=True)
        self.broker.close()
        self.ledger.close()


def open_services(settings: Settings) -> Services:
    """Open every door. Raises BadSetting naming the one that does not open, and the way out."""
    if settings.redis_url is None:
        raise BadSetting("a worker needs REDIS_URL; `imagejobs worker` starts an embedded server where none is set")
    ledger = Ledger(settings.database)
    ledger.database.reply_seconds = LEDGER_SECONDS  # from here on: opening it may have waited for a migration
    clock = _clock(ledger)
    account = settings.account_name
    broker = Broker(settings.redis_url, account=account, threads=settings.threads)
    store = open_store(settings.store_url)
    creates = Limiter(
        broker.redis,
        broker.prefix + "creates",
        per_minute=settings.creates_per_minute,
        catch_up_seconds=CATCH_UP_SECONDS,
    )
    calls = Limiter(broker.redis, broker.prefix + "calls", per_minute=settings.calls_per_minute)
    provider = Provider(settings, clock=clock, hear=_to(creates, calls))
    copier = Copier(
        downloader=Downloader(settings),
        record=Record(provider=provider, calls=calls, clock=clock),
        store=store,
        clock=clock,
        dice=random.random,
        max_bytes=settings.max_image_bytes,
        max_pixels=settings.max_image_pixels,
    )
    return Services(
        settings=settings,
        ledger=ledger,
        broker=broker,
        dispatch=Dispatch(ledger, broker, account=account),
        provider=provider,
        store=store,
        copier=copier,
        creates=creates,
        calls=calls,
        policy=Policy(
            max_tries=settings.max_tries,
            keep_seconds=settings.keep_seconds,
            settle_seconds=settings.settle_seconds,
        ),
        clock=clock,
        dice=random.random,
        creating=ThreadPoolExecutor(settings.threads, "create"),
        copying=ThreadPoolExecutor(settings.threads, "copy"),
        looking=ThreadPoolExecutor(LOOKS_AT_ONCE, "look"),
        make_files=make_apart,
    )


def _to(creates: Limiter, calls: Limiter) -> Callable[[bool, Overheard], None]:
    """What the provider's replies say of the allowance goes to the limiter of that kind of call."""

    def hear(is_create: bool, said: Overheard) -> None:
        (creates if is_create else calls).hear(shown=said.shown, told=said.told)

    return hear


class LedgerClock(SystemClock):
    """The database's clock, for a fleet whose hosts disagree: an intent dated by one is looked up by another.

    Read once at the start and then every minute; in between this machine's own steady clock carries it on, also through
    a suspension. A reading that the process may have slept over is taken again: behind, it would date an intent too
    early, and have it looked up while its POST is on the way; ahead, it would look up the others' too soon.
    """

    REFRESH_SECONDS = 60.0
    QUICK_SECONDS = 1.0
    READINGS = 5

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._ahead = self._read()  # of the steady clock: one number, so that no thread sees half a change
        self._refresh_at = self.monotonic() + self.REFRESH_SECONDS

    def now(self) -> float:
        """Seconds since the epoch, UTC, by the database."""
        if self.monotonic() > self._refresh_at:
            self._refresh()
        return self.monotonic() + self._ahead

    def _refresh(self) -> None:
        self._refresh_at = self.monotonic() + self.REFRESH_SECONDS
        with suppress(*LEDGER_ERRORS):
            self._ahead = self._read()

    def _read(self) -> float:
        for _ in range(self.READINGS):
            asked_at = self.monotonic()
            now, took = self._ledger.database.now(), self.monotonic() - asked_at
            if took <= self.QUICK_SECONDS:
                break
        return now - asked_at - took / 2


def _clock(ledger: Ledger) -> Clock:
    return SystemClock() if ledger.database.is_sqlite else LedgerClock(ledger)
