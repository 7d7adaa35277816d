"""`run`: everything in one. Checks the doors, records the batch, starts what is not configured, works, watches, stops.

What it is interrupted in goes on with the same command: the batch is in the ledger, and a file is its batch's key.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from imagejobs.clock import Clock
from imagejobs.job import Batch
from imagejobs.ledger import Ledger
from imagejobs.settings import Settings
from producer.doors import check_provider_settings, feed, open_ledger, open_store_of, reachable_broker
from producer.embedded import SANDBOX_ACCOUNT
from producer.enqueue import Order, Recorded, models_of, record
from producer.facts import INTERRUPTED, exit_code
from producer.find import find_batch
from producer.home import Home
from producer.household import Household
from producer.intake import Intake, batch_key, content_digest
from producer.progress import Progress
from producer.vigil import Vigil
from producer.watch import watch


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """What `run` was asked for. A demo is done by the stand-in provider."""

    file: Path
    key: str | None
    is_demo: bool
    processes: int
    patience_seconds: float
    weight: float
    priority: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How it ended. `was_complete`: the batch was finished before, and this run did nothing."""

    batch: Batch
    code: int
    creates_before: int
    took_seconds: float
    was_complete: bool


def run(errand: Errand, settings: Settings, *, progress: Progress, clock: Clock) -> Ending:
    """Do it all. Raises Complaint for what a person must mend first; then nothing was sent."""
    started_at = clock.monotonic()
    settings = settings.model_copy(update={"account": SANDBOX_ACCOUNT}) if errand.is_demo else settings
    home = Home(settings.home).make()
    household = Household(
        settings,
        home,
        is_demo=errand.is_demo,
        processes=errand.processes,
        is_quiet=True,
        say=progress.say,
        clock=clock,
    )
    with open_ledger(settings) as ledger:
        try:
            _check_doors(settings, is_demo=errand.is_demo)
            before = _record(errand, settings, ledger, household, home).batch
            vigil = Vigil(patience_seconds=errand.patience_seconds)
            code = _see_through(before, ledger, household, vigil=vigil, progress=progress, clock=clock)
        finally:
            household.close()
        return Ending(
            batch=find_batch(ledger, before.key),
            code=code,
            creates_before=before.creates_sent,
            took_seconds=clock.monotonic() - started_at,
            was_complete=before.is_done,
        )


def _check_doors(settings: Settings, *, is_demo: bool) -> None:
    """Before anything is recorded: a night that cannot work is refused in the evening."""
    if not is_demo:
        check_provider_settings(settings)
    if settings.redis_url:
        with reachable_broker(settings, account=settings.account_name):
            pass
    with open_store_of(settings.store_url) as store:
        store.check()


def _record(errand: Errand, settings: Settings, ledger: Ledger, household: Household, home: Home) -> Recorded:
    key = errand.key
    if key is None and errand.is_demo:
        key = f"sandbox-{batch_key(errand.file, content_digest(errand.file))}"
    models = models_of(settings, ledger, connected=household.settings)
    order = Order.of(settings, weight=errand.weight, priority=errand.priority)
    with Intake(errand.file, models=models, default_version=settings.version, batch=key) as intake:
        return record(ledger, intake, order, home=home)


def _see_through(
    batch: Batch, ledger: Ledger, household: Household, *, vigil: Vigil, progress: Progress, clock: Clock
) -> int:
    if batch.is_done:
        return exit_code(batch)
    if batch.paused and batch.paused_kind != "user":
        ledger.batches.resume(batch.id)  # who runs it again has mended something; a person's own pause stands
    try:
        household.start()
        if not household.is_working:
            progress.say("another process works in this home folder: watching it")
            with reachable_broker(household.settings(), account=batch.account) as broker:
                feed(ledger, broker, household.settings(), account=batch.account)
        return watch(ledger, batch, progress=progress, vigil=vigil, clock=clock, meanwhile=household.tend)
    except KeyboardInterrupt:
        progress.say("stopping: what is in hand is finished first (Ctrl-C again: at once)")
        return INTERRUPTED
