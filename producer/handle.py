"""For Python: submit rows as a batch, wait for it, read what came of it.

    from producer import submit_batch

    batch = submit_batch([{"id": "r1", "prompt": "a lighthouse"}], batch="tonight")
    batch.wait(timeout_seconds=8 * 3600)
    for image in batch.images():
        print(image["id"], image["uri"])

Workers do the work: `imagejobs worker`, on this machine or others, with the same settings.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagejobs.clock import SystemClock
from imagejobs.job import Batch, FailureGroup, Selection
from imagejobs.manifest import image_record, iso
from imagejobs.settings import Settings
from producer.doors import existing_ledger
from producer.enqueue import submit
from producer.facts import place
from producer.find import find_batch

POLL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class BatchHandle:
    """A batch, by its key. Holds no connection: every call opens what it needs. Raises BadSetting when it cannot."""

    key: str
    settings: Settings

    def status(self) -> Batch:
        """Its counts, pause and progress, as they are now."""
        with existing_ledger(self.settings) as ledger:
            return find_batch(ledger, self.key)

    def wait(self, *, timeout_seconds: float, poll_seconds: float = POLL_SECONDS) -> Batch:
        """Until it is finished, its manifest and completion marker written. Look at `counts`: jobs may have failed.

        Raises TimeoutError, which names the pause if there is one; the batch goes on all the same.
        """
        clock = SystemClock()
        until = clock.monotonic() + timeout_seconds
        with existing_ledger(self.settings) as ledger:
            while True:
                batch = find_batch(ledger, self.key)
                if batch.is_done:
                    return batch
                if clock.monotonic() >= until:
                    because = f" (paused: {batch.paused})" if batch.paused else ""
                    raise TimeoutError(f"{batch.live} jobs of {batch.key} are not finished{because}")
                clock.sleep(min(poll_seconds, max(0.0, until - clock.monotonic())))

    def images(self) -> Iterator[dict[str, Any]]:
        """One mapping an image so far, with the manifest's names: id, index, uri, sha256, width, input, seed …

        `input` and `tags` are JSON texts, times are ISO 8601.
        """
        with existing_ledger(self.settings) as ledger:
            batch = find_batch(ledger, self.key)
            for row in ledger.views.image_rows(batch.id):
                record = image_record(batch.key, row)
                yield {**record, **{name: iso(record[name]) for name in ("created_at", "completed_at", "stored_at")}}

    def failures(self) -> list[FailureGroup]:
        """The failed jobs by cause and text, most first."""
        with existing_ledger(self.settings) as ledger:
            batch = find_batch(ledger, self.key)
            return ledger.steering.groups(batch.id, Selection(), now=ledger.database.now())

    @property
    def uri(self) -> str:
        """Where its images, manifest and completion marker are."""
        return place(self.status())


def submit_batch(
    rows: str | Path | Iterable[Mapping[str, Any]],
    *,
    batch: str | None = None,
    settings: Settings | None = None,
    weight: float = 1.0,
    priority: int = 0,
    not_before: float = 0.0,
) -> BatchHandle:
    """Record rows as a batch and return it; the same key and rows are the same batch, so calling it again is harmless.

    `rows` is the path of a .jsonl, .csv or .parquet file, or mappings as in such a file. Without `batch` the key is
    made from the content. Beside other batches, one of twice the `weight` gets twice the share; a higher `priority`
    goes first; nothing is sent before the moment `not_before` (seconds since the epoch). For a batch that is there
    already they change nothing. `settings` are those of the environment unless given.

    Raises BadInput with every fault by line, Complaint for a key that is taken by other rows, BadSetting for a door
    that does not open (REDIS_URL that does not answer among them): in each case nothing was sent.
    """
    settings = settings or Settings.read(os.environ)
    source = Path(rows) if isinstance(rows, str) else rows
    recorded = submit(source, settings, batch=batch, weight=weight, priority=priority, not_before=not_before)
    return BatchHandle(recorded.batch.key, settings)


def get_batch(key: str, *, settings: Settings | None = None) -> BatchHandle:
    """The batch of that key. Raises Complaint, with the keys that may be meant, when there is none."""
    settings = settings or Settings.read(os.environ)
    with existing_ledger(settings) as ledger:
        return BatchHandle(find_batch(ledger, key).key, settings)
