"""Recording a batch: every row checked first, then all of them written, then the batch opened; until then all is still.

A batch's key says which batch it is. The same rows again are the same batch, and nothing happens; other rows under the
same key are refused, with the difference.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from imagejobs.clock import Clock, SystemClock
from imagejobs.errors import Complaint
from imagejobs.job import Batch, SpecText
from imagejobs.ledger import Ledger
from imagejobs.models.catalogue import Models
from imagejobs.settings import Settings
from producer.doors import feed, open_ledger, reachable_broker
from producer.home import Home
from producer.intake import Checked, Intake

CHUNK = 5000  # rows a transaction: enough to be quick, little enough for workers to get their turn in between
OTHER_SUBMIT_SECONDS = 900.0  # how long another submit of the same batch may take: a few million rows
FEW = 5  # ids named in a message

Rows = Path | BinaryIO | Iterable[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is said of a batch beside its rows. `not_before` is a moment, seconds since the epoch."""

    account: str
    store: str
    max_tries: int
    weight: float = 1.0
    priority: int = 0
    not_before: float = 0.0

    @classmethod
    def of(cls, settings: Settings, **wishes: float) -> Order:
        """By the settings; `wishes` are weight, priority and not_before."""
        facts: dict[str, Any] = dict(wishes)
        return cls(account=settings.account_name, store=settings.store_url, max_tries=settings.max_tries, **facts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """`is_new`: the batch was not there before. `is_sent`: somebody was told, so a worker need not find it itself."""

    batch: Batch
    is_new: bool
    is_sent: bool = False


def submit(rows: Rows, settings: Settings, *, batch: str | None = None, **wishes: float) -> Recorded:
    """Record the rows as a batch and send for the first of them. Raises Complaint; then nothing was sent.

    When REDIS_URL is set and does not answer, nothing is recorded either.
    """
    home = Home(settings.home).make()
    order = Order.of(settings, **wishes)
    with open_ledger(settings) as ledger, reachable_broker(settings, account=order.account) as broker:
        models = models_of(settings, ledger)
        with Intake(rows, models=models, default_version=settings.version, batch=batch) as intake:
            recorded = record(ledger, intake, order, home=home)
        is_sent = feed(ledger, broker, settings, account=order.account)
    return Recorded(batch=recorded.batch, is_new=recorded.is_new, is_sent=is_sent)


def models_of(settings: Settings, ledger: Ledger, *, connected: Callable[[], Settings] | None = None) -> Models:
    """The checks of all models, their schemas kept in the ledger.

    `connected` gives the settings to reach the provider with, for one that is started only when it is needed.
    """

    def fetch(version: str) -> Mapping[str, Any] | None:
        from imagejobs.edges.provider import Provider  # slow to import, and mostly not needed

        provider = Provider(connected() if connected else settings, clock=SystemClock())
        try:
            return provider.version_schema(version)
        finally:
            provider.close()

    def remember(version: str, schema: dict[str, Any]) -> None:
        ledger.views.keep_input_schema(version, schema, now=ledger.database.now())

    return Models(fetch=fetch, recall=ledger.views.input_schema, remember=remember, unchecked=settings.unchecked)


def record(ledger: Ledger, intake: Intake, order: Order, *, home: Home) -> Recorded:
    """Check every row, then write them all and open the batch; or find that it is there already.

    Raises Complaint (BadInput for rows that cannot be accepted) before anything can be sent. One submit of a batch
    at a time: of several in the same home, the later ones wait and find it done.
    """
    checked = intake.check()
    with _one_at_a_time(home, intake.key, SystemClock()):
        found = ledger.batches.get(intake.key)
        if found is not None and found.opened_at is None:
            ledger.batches.discard(found.id)  # its submit died while it wrote
            found = None
        if found is None:
            return Recorded(batch=_write(ledger, intake, checked, order), is_new=True)
        _expect_same(ledger, found, intake, checked, order)
        return Recorded(batch=found, is_new=False)


def _write(ledger: Ledger, intake: Intake, checked: Checked, order: Order) -> Batch:
    now = ledger.database.now()
    wishes = {"weight": order.weight, "priority": order.priority, "not_before": order.not_before}
    facts = {"account": order.account, "store": order.store, "rows_digest": checked.digest, **wishes}
    batch = ledger.batches.create(intake.key, facts=facts, now=now)
    if batch is None:
        raise Complaint(f"{intake.key} is being submitted from another machine: submit it again when that has ended")
    try:
        specs = intake.specs()
        while chunk := list(islice(specs, CHUNK)):
            ledger.batches.add(batch.id, chunk, max_tries=order.max_tries)
    except BaseException:
        ledger.batches.discard(batch.id)
        raise
    return _open(ledger, batch.id, intake.key)


def _open(ledger: Ledger, batch_id: int, key: str) -> Batch:
    ledger.batches.open(batch_id, now=ledger.database.now())
    batch = ledger.batches.get(key)
    if batch is None or batch.opened_at is None:
        raise Complaint(f"{key} was submitted from another machine at the same time: submit it again")
    return batch


@contextmanager
def _one_at_a_time(home: Home, key: str, clock: Clock) -> Iterator[None]:
    """Without it, a second submit would take the first one's half-written batch for a dead one's and discard it."""
    lock = home.lock(f"submit-{zlib.crc32(key.encode()) % 16}")
    until = clock.monotonic() + OTHER_SUBMIT_SECONDS
    while lock.take() is None:
        if clock.monotonic() > until:
            raise Complaint(f"another submit of {key} is still at it")
        clock.sleep(0.1)
    try:
        yield
    finally:
        lock.release()


def _expect_same(ledger: Ledger, found: Batch, intake: Intake, checked: Checked, order: Order) -> None:
    if found.account != order.account:
        raise Complaint(f"{found.key} is a batch of account {found.account}, not of {order.account}: {_ANOTHER_KEY}")
    if ledger.batches.rows_digest(found.id) != checked.digest:
        raise Complaint(f"{found.key} is there with other rows: {_difference(ledger, found, intake)}; {_ANOTHER_KEY}")
    if found.store != order.store and not found.is_done:
        raise Complaint(f"{found.key} belongs into the store {found.store}: set IMAGEJOBS_STORE to it to go on")


_ANOTHER_KEY = "nothing was sent; give these rows a key of their own with --batch"


def _difference(ledger: Ledger, found: Batch, intake: Intake) -> str:
    """Which ids were added, removed or changed: the first few of each, and how many."""
    before = {row["row_id"]: _mark(_text_of(row)) for row in ledger.views.job_rows(found.id)}
    added, changed = [], []
    for spec in intake.specs():
        mark = before.pop(spec.id, None)
        if mark is None:
            added.append(spec.id)
        elif mark != _mark(spec):
            changed.append(spec.id)
    parts = [_some("added", added), _some("removed", list(before)), _some("changed", changed)]
    return ", ".join(part for part in parts if part) or "the same ones in another order"


def _text_of(row: Mapping[str, Any]) -> SpecText:
    return SpecText(row["row_id"], row["line"], row["version"], row["input"], row["outputs"], row["tags"])


def _mark(spec: SpecText) -> bytes:
    """Stands for a row in memory: there may be a million, with prompts."""
    return blake2b(spec.fingerprint.encode(), digest_size=8).digest()


def _some(what: str, ids: list[str]) -> str:
    shown = ", ".join(ids[:FEW]) + (", …" if len(ids) > FEW else "")
    return f"{len(ids)} {what} ({shown})" if ids else ""
