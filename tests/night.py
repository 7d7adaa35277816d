"""A batch as workers leave it: its jobs went through the ledger's own moves, its images are real files in a store."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image as Picture

from imagejobs import moves
from imagejobs.edges.bucket import open_store
from imagejobs.edges.store import Store
from imagejobs.errors import Cause
from imagejobs.job import Batch, Image, Job, Spec, SpecText
from imagejobs.layout import image_key
from imagejobs.ledger import Ledger
from imagejobs.settings import DEFAULT_VERSION
from imagejobs.states import State

ACCOUNT = "api.example.com"
START = 1_700_000_000.0


def a_spec(row_id: str, **facts: Any) -> Spec:
    """A row of one 128 by 128 image, unless told otherwise."""
    given = {"prompt": f"Möwe {row_id}", "width": 128, "height": 128, "num_inference_steps": 50, "seed": 5}
    usual = {"id": row_id, "line": 1, "version": DEFAULT_VERSION, "input": given, "tags": {"mood": "calm"}}
    return Spec(**{**usual, **facts})


def a_png(color: int, size: tuple[int, int] = (128, 128)) -> bytes:
    """A small real image, another one for another color."""
    file = io.BytesIO()
    Picture.new("RGB", size, (color % 256, 80, 120)).save(file, "PNG")
    return file.getvalue()


class Night:
    """One batch, `night`, in a ledger and a store below `folder`, or in those given."""

    def __init__(
        self, folder: Path, specs: Iterable[Spec], *, ledger: Ledger | None = None, store: Store | None = None
    ) -> None:
        self.folder = folder / "store" / "night"
        self.ledger = ledger or Ledger(f"sqlite:///{folder / 'ledger.sqlite'}")
        self.store = store or open_store((folder / "store").as_uri())
        facts = {"account": ACCOUNT, "store": "elsewhere", "rows_digest": "0" * 64}
        batch = self.ledger.batches.create("night", facts=facts, now=START)
        assert batch is not None
        self.ledger.batches.add(batch.id, [SpecText.of(spec) for spec in specs], max_tries=4)
        self.ledger.batches.open(batch.id, now=START)
        self._jobs: dict[str, Job] = {}
        self.now = START
        self.begin()

    @property
    def batch(self) -> Batch:
        """As the ledger has it now."""
        batch = self.ledger.batches.get("night")
        assert batch is not None
        return batch

    def begin(self) -> None:
        """Send every queued job off: each has a prediction now."""
        self.now += 1
        ids = self.ledger.turns.take(ACCOUNT, places=1000, now=self.now, resend_at=self.now + 60)
        jobs = self.ledger.jobs.claim(ids, account=ACCOUNT, now=self.now, resolve_at=self.now + 60)
        accepted = [
            moves.accepted(job, prediction_id=f"p-{job.row_id}-{job.attempt}", at=self.now, look_at=self.now)
            for job in jobs
        ]
        assert len(accepted) == len(self.ledger.jobs.apply(accepted, now=self.now))
        self._jobs |= {job.row_id: replace(job, state=State.RUNNING) for job in jobs}

    def succeed(self, *row_ids: str, images: int = 1, data: bytes | None = None) -> None:
        """These jobs bring that many images each; `data` takes the place of a drawing."""
        for row_id in row_ids:
            job = self._finish(row_id)
            self._apply(moves.stored(job, images=[self._image(job, index, data=data) for index in range(images)]))

    def fail(self, *row_ids: str, indexes: Sequence[int] = ()) -> None:
        """These jobs fail at the safety filter; images of these indexes came all the same."""
        for row_id in row_ids:
            job = self._finish(row_id)
            kept = [self._image(job, index) for index in indexes]
            error = f"NSFW content in {row_id}"
            self._apply(moves.gave_up(job, cause=Cause.SAFETY, error=error, at=self.now, images=kept, is_copied=True))

    def cancel(self, *row_ids: str) -> None:
        """These jobs are given up on request."""
        for row_id in row_ids:
            self._apply(moves.canceled(self._jobs[row_id], at=self.now))

    def put_image(self, row_id: str, index: int, data: bytes) -> str:
        """Put other bytes in an image's place."""
        digest = hashlib.sha256(data).hexdigest()
        key = image_key("night", row_id, index, "png")
        return self.store.put(key, data, content_type="image/png", sha256=digest)

    def _finish(self, row_id: str) -> Job:
        self.now += 1
        job = self._jobs[row_id]
        times = {"completed_at": self.now, "expires_at": self.now + 3600, "resend_at": self.now + 60}
        self._apply(moves.finished(job, output=["https://x/out-0.png"], predict_time_s=1.5, **times))
        return replace(job, state=State.STORING)

    def _image(self, job: Job, index: int, data: bytes | None = None) -> Image:
        data = data or a_png(10 * job.id + index)
        return Image(
            index=index,
            uri=self.put_image(job.row_id, index, data),
            sha256=hashlib.sha256(data).hexdigest(),
            bytes=len(data),
            width=128,
            height=128,
            content_type="image/png",
            stored_at=self.now,
        )

    def _apply(self, move: moves.Move) -> None:
        assert [move] == self.ledger.jobs.apply([move], now=self.now)
