"""The provider itself: accepts orders, shows and cancels predictions. Speaks records and JSON, not HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import time
from base64 import b32encode
from collections.abc import Callable
from typing import Any

from sandbox import shapes
from sandbox.fate import Boots, bent, fate_of, run_seconds
from sandbox.faults import FATE, FaultBook
from sandbox.gallery import Gallery, subject_of
from sandbox.limits import Bucket
from sandbox.models import load_catalog
from sandbox.options import Options
from sandbox.orders import Order
from sandbox.predictions import NS, Look, Prediction, Status, ending, look, prompt_in
from sandbox.stats import Census, Stats
from sandbox.store import Store

QUEUE_SHARE = 0.05  # even a warm model takes this share of a run before it starts
FOR_EVER_NS = 3600 * NS  # one nap while waiting for what never ends; a cancel cuts it short
VENDOR_URL = "https://api.replicate.com"  # where the links in the objects of a proxy point, its own key useless there


class Provider:
    """One account: its predictions, its allowance, its faults and its counts.

    `base` is where it is reached, known once it listens. All methods run on the event loop's thread.
    """

    def __init__(self, options: Options, *, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self.options = options
        self.now_ns = clock_ns
        self.catalog = load_catalog()
        self.store = Store(options.state)
        self.faults = FaultBook(options.seed)
        self.gallery = Gallery(options.image_format, distinct=options.image_cache)
        self.base = ""
        self._changed: dict[str, asyncio.Event] = {}
        self._begin()

    def _begin(self) -> None:
        options = self.options
        self.stats = Stats()
        self.census = Census(self.store.all())
        self.boots = Boots(options.cold_start_seconds)
        self.creates = Bucket(options.creates_per_minute, options.burst)
        self.calls = Bucket(options.calls_per_minute, options.burst)
        self.wait_hint = "body"

    def reset(self) -> None:
        """As freshly started without a journal; fault rules and changed limits are gone, too."""
        self.store.clear()
        self.faults.replace([])
        self._begin()

    def close(self) -> None:
        self.store.close()
        self.gallery.close()

    @property
    def links_base(self) -> str:
        """Base of `next` and `urls.*`."""
        return self.options.links_base or (VENDOR_URL if self.options.dialect == "no-list" else self.base)

    def accept(self, order: Order) -> Prediction:
        """Makes the prediction: from here on it is paid for."""
        prompt = prompt_in(order.input)
        struck = self.faults.strike("create", prompt, FATE)
        created_ns = self.store.next_ns(self.now_ns())
        seed = order.input.get("seed")
        seed = int.from_bytes(os.urandom(2)) if seed is None else int(seed)
        wait = QUEUE_SHARE * self.options.run_seconds + struck.get("slow_start", {}).get("seconds", 0)
        starts_ns = self.boots.ready_ns(order.model.full_name, created_ns) + int(wait * NS)
        run = run_seconds(self.options.run_seconds, prompt=prompt, seed=seed)
        run += struck.get("slow_run", {}).get("seconds", 0)
        limit = None if "no_deadline" in struck else order.cancel_after_seconds
        prediction = Prediction(
            id=_new_key(16)[:26],
            file_key=_new_key(30),
            model=order.model.full_name,
            version=order.version,
            deployment=order.deployment,
            input=order.input,
            seed=seed,
            created_ns=created_ns,
            starts_ns=starts_ns,
            ends_ns=starts_ns + int(run * NS),
            deadline_ns=None if limit is None else created_ns + int(limit * NS),
            webhook=order.webhook,
            webhook_events=order.webhook_events,
            fate=bent(fate_of(order.model, order.input, seed, unsafe_word=self.options.unsafe_word), struck),
        )
        self.store.add(prediction)
        self.census.add(prediction)
        return prediction

    def cancel(self, prediction: Prediction) -> Prediction:
        """Harmless on one that has ended. Wakes whoever waits for its end."""
        canceled = self.store.cancel(prediction, self.now_ns())
        if prediction.id in self._changed:
            self._changed[prediction.id].set()
        return canceled

    def look_at(self, prediction_id: str) -> Look:
        """Raises KeyError for an id that was never given out."""
        prediction = self.store.get(prediction_id)
        if prediction is None:
            raise KeyError(prediction_id)
        return self.look(prediction)

    def latest(self, prediction: Prediction) -> Prediction:
        """Its record with what has happened since; as it was, where a reset has forgotten it."""
        return self.store.get(prediction.id) or prediction

    def look(self, prediction: Prediction) -> Look:
        return look(prediction, self.now_ns(), keep_ns=int(self.options.expire_seconds * NS))

    async def show(self, prediction: Prediction, *, waited: bool = False) -> dict[str, Any]:
        """The prediction object. `waited`: as answered to `Prefer: wait`, where a finished one was recorded to say
        `processing` and to hold its pictures as data: URIs."""
        seen = self.look(prediction)
        trap = waited and seen.status == Status.SUCCEEDED
        shown = shapes.prediction(
            prediction,
            seen,
            outputs=await self.outputs(prediction, seen, as_data=trap),
            one_output=self.catalog.of(prediction.model).one_output,
            links_base=self.links_base,
        )
        if trap:
            shown["status"] = Status.PROCESSING
            del shown["completed_at"], shown["metrics"]
        return shown

    async def outputs(self, prediction: Prediction, seen: Look, *, as_data: bool = False) -> list[str] | None:
        """Addresses of the pictures, original indexes in their names; None while or where there is nothing."""
        fate = prediction.fate
        if seen.status != Status.SUCCEEDED or seen.removed or fate.output == "null":
            return None
        if fate.output_url:
            return [fate.output_url for _ in fate.images]
        if as_data or fate.output == "data":
            model = self.catalog.of(prediction.model)
            return [await self.gallery.data_uri(subject_of(prediction, model, index)) for index in fate.images]
        folder = f"{self.base}/files/{prediction.file_key}"
        return [f"{folder}/out-{index}.{self.options.image_format}" for index in fate.images]

    async def wait_for_end(self, prediction: Prediction, seconds: float | None) -> Prediction:
        """Returns when it has ended or after so many seconds (None: however long it takes), with the latest record."""
        until_ns = None if seconds is None else self.now_ns() + int(seconds * NS)
        while not self.look(prediction).ended and (until_ns is None or self.now_ns() < until_ns):
            ends_ns = ending(prediction)[0]
            if prediction.fate.never_ends:
                ends_ns = self.now_ns() + FOR_EVER_NS
            await self.sleep_until(ends_ns if until_ns is None else min(ends_ns, until_ns), prediction)
            prediction = self.latest(prediction)
        if self.look(prediction).ended:
            self._changed.pop(prediction.id, None)
        return prediction

    async def sleep_until(self, time_ns: int, prediction: Prediction) -> None:
        """Or until the prediction is canceled, if that comes first."""
        seconds = max(0.001, (time_ns - self.now_ns()) / NS)
        changed = self._changed.setdefault(prediction.id, asyncio.Event())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(changed.wait(), timeout=seconds)


def _new_key(n_bytes: int) -> str:
    """Cannot be guessed, in the letters that the vendor's ids have."""
    return b32encode(secrets.token_bytes(n_bytes)).decode().rstrip("=").lower()
