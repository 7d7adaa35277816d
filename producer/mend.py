"""Putting back images that `verify` found missing or changed, while the provider still keeps them. Free.

The provider's own record of the prediction says where the output is; only the very bytes that were stored first are put
back. Nothing in the ledger changes: the images are again what it says they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from operator import itemgetter

from imagejobs.clock import Clock, SystemClock
from imagejobs.edges.dialects import Prediction, indexes_of
from imagejobs.edges.download import Downloader, Gone
from imagejobs.edges.images import inspect
from imagejobs.edges.provider import Provider
from imagejobs.edges.store import Store
from imagejobs.errors import Complaint, Permanent, Refused, Throttled, Transient
from imagejobs.job import Batch
from imagejobs.layout import extension_of, image_key
from imagejobs.ledger import Ledger
from imagejobs.manifest import Row
from imagejobs.patience import PATIENT
from imagejobs.settings import Settings
from imagejobs.states import State
from producer.abreast import abreast
from producer.doors import check_provider_settings
from producer.verify import MOST_PIXELS, Flaw, Verification

_MOST_WAITS, _LONGEST_WAIT_SECONDS = 5, 60.0  # for a provider that says 429


class _NotMended(Exception):
    """Why an image stays as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mender:
    """The provider's doors."""

    provider: Provider
    downloader: Downloader
    clock: Clock
    max_bytes: int

    def mend(self, ledger: Ledger, store: Store, batch: Batch, found: Verification) -> Verification:
        """Put back what can be had. What cannot stays listed, with the reason.

        Raises what the store raises when it cannot be written to.
        """
        reasons: dict[tuple[str, int], str] = {}
        flawed = {(flaw.id, flaw.index) for flaw in found.flaws}
        for not_mended in abreast(partial(self._mend, store, batch), of_one_prediction(ledger, batch, flawed)):
            reasons.update(not_mended)
        return Verification(
            checked=found.checked,
            missing=_still(found.missing, reasons),
            wrong=_still(found.wrong, reasons),
            mended=tuple(flaw for flaw in found.flaws if (flaw.id, flaw.index) not in reasons),
        )

    def _mend(self, store: Store, batch: Batch, rows: list[Row]) -> dict[tuple[str, int], str]:
        """Flawed images of one prediction. Returns why some were not put back."""
        try:
            kept = self._kept(batch, rows[0])
        except _NotMended as reason:
            return {(row["id"], row["index"]): str(reason) for row in rows}
        reasons: dict[tuple[str, int], str] = {}
        for row in rows:
            try:
                self._put_back(store, batch, row, kept)
            except _NotMended as reason:
                reasons[row["id"], row["index"]] = str(reason)
        return reasons

    def _kept(self, batch: Batch, row: Row) -> dict[int, str]:
        """Where the provider keeps the job's outputs now, by their index."""
        if row["state"] != State.SUCCEEDED and batch.live:
            raise _NotMended("its job may be at work again")
        if row["prediction_id"] is None:
            raise _NotMended("the provider answered with the images themselves, and has no record of them")
        output = self._record(row["prediction_id"]).output or ()
        return dict(zip(indexes_of(output), output, strict=True))

    def _record(self, prediction_id: str) -> Prediction:
        for _ in range(_MOST_WAITS):
            try:
                return PATIENT(self.provider.get, prediction_id)
            except Throttled as error:
                self.clock.sleep(min(error.after_seconds or 1.0, _LONGEST_WAIT_SECONDS))
            except (Transient, Refused, Permanent) as error:
                raise _NotMended(str(error)) from None
        raise _NotMended("the provider lets nobody look now")

    def _put_back(self, store: Store, batch: Batch, row: Row, kept: Mapping[int, str]) -> None:
        if row["index"] not in kept:
            raise _NotMended("the provider has deleted it")
        try:
            data = PATIENT(self.downloader.fetch, kept[row["index"]], max_bytes=self.max_bytes)
            inspect(data, max_pixels=MOST_PIXELS, decode=True)
        except (Gone, Transient, Permanent) as error:
            raise _NotMended(str(error)) from None
        if hashlib.sha256(data).hexdigest() != row["sha256"]:
            raise _NotMended("the provider gives other bytes now")
        key = image_key(batch.key, row["id"], row["index"], extension_of(row["uri"]))
        PATIENT(store.put, key, data, content_type=row["content_type"], sha256=row["sha256"])


@contextmanager
def open_mender(settings: Settings, batch: Batch) -> Iterator[Mender]:
    """The doors to the provider that made the batch. Raises Complaint where the settings name another."""
    if batch.account != settings.account_name:
        raise Complaint(
            f"{batch.key} was made by {batch.account}, and the settings are those of {settings.account_name}: "
            "set REPLICATE_BASE_URL or IMAGEJOBS_ACCOUNT"
        )
    check_provider_settings(settings)
    clock = SystemClock()
    with closing(Provider(settings, clock=clock)) as provider, closing(Downloader(settings)) as downloader:
        yield Mender(provider=provider, downloader=downloader, clock=clock, max_bytes=settings.max_image_bytes)


def of_one_prediction(ledger: Ledger, batch: Batch, flawed: set[tuple[str, int]]) -> Iterator[list[Row]]:
    """The flawed images, those of one prediction together: of a set that came short twice there may be two."""
    rows = (row for row in ledger.views.image_rows(batch.id) if (row["id"], row["index"]) in flawed)
    for _, images in groupby(rows, key=itemgetter("id", "prediction_id")):
        yield list(images)


def _still(flaws: tuple[Flaw, ...], reasons: dict[tuple[str, int], str]) -> tuple[Flaw, ...]:
    kept = (flaw for flaw in flaws if (flaw.id, flaw.index) in reasons)
    return tuple(replace(flaw, problem=f"{flaw.problem}: {reasons[flaw.id, flaw.index]}") for flaw in kept)
