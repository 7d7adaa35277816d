"""The store stage: copy every output of one finished prediction into the store, verified. Free to repeat."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from imagejobs.clock import Clock
from imagejobs.edges.download import Downloader, Gone
from imagejobs.edges.images import inspect
from imagejobs.edges.store import Store
from imagejobs.errors import Cause, Permanent, Refused, Transient
from imagejobs.job import Image, Job
from imagejobs.layout import image_key
from imagejobs.models.size import expected_size
from worker.backoff import COPY, Dice
from worker.outcomes import GiveUp, Held, Outcome, Retry, Stored, Wait
from worker.stages.guard import guarded

_NUMBERED = re.compile(r"(?:^|/)out-(\d{1,3})\.[a-z]+$")
GONE_FOR_GOOD = 6  # looks, spread over a minute or more, before an output that is not there counts as deleted


@dataclass(frozen=True, slots=True, kw_only=True)
class Copier:
    """The doors that copying needs, and its limits."""

    downloader: Downloader
    store: Store
    clock: Clock
    dice: Dice
    max_bytes: int
    max_pixels: int

    def copy(self, job: Job) -> Outcome:
        """Copy all outputs of the job. Failures are retried against the outputs' expiry, not against a count."""
        return guarded(
            lambda: self._copy(job), otherwise=lambda error: self._again(job, error, Cause.DOWNLOAD, after_seconds=None)
        )

    def _copy(self, job: Job) -> Outcome:
        indexes = indexes_of(job.output)
        images: list[Image] = []
        try:
            for index, address in zip(indexes, job.output, strict=True):
                images.append(self._copy_one(job, index, address))
        except Gone as error:
            return self._gone(job, str(error))
        except Transient as error:
            return self._again(job, str(error), error.cause, error.after_seconds)
        except Permanent as error:
            return GiveUp(cause=error.cause, error=str(error), images=tuple(images))
        except Refused as error:
            return Held(cause=error.cause, reason=str(error))
        return complete(job, images)

    def _copy_one(self, job: Job, index: int, address: str) -> Image:
        data = self.downloader.fetch(address, max_bytes=self.max_bytes)
        checked = inspect(data, max_pixels=self.max_pixels)
        _check_size(job, (checked.width, checked.height))
        digest = hashlib.sha256(data).hexdigest()
        key = image_key(job.batch, job.row_id, index, checked.extension)
        uri = self.store.put(key, data, content_type=checked.content_type, sha256=digest)
        return Image(
            index=index,
            uri=uri,
            sha256=digest,
            bytes=len(data),
            width=checked.width,
            height=checked.height,
            content_type=checked.content_type,
            stored_at=self.clock.now(),
        )

    def _gone(self, job: Job, error: str) -> Outcome:
        if self._is_over(job) or job.copy_tries + 1 >= GONE_FOR_GOOD:
            return Retry(cause=Cause.EXPIRED, error=error)
        return self._again(job, error, Cause.DOWNLOAD, None)

    def _again(self, job: Job, error: str, cause: Cause, after_seconds: float | None) -> Outcome:
        if cause is Cause.DOWNLOAD and self._is_over(job):
            return Retry(cause=Cause.EXPIRED, error=f"expired before it could be copied: {error}")
        wait = COPY.seconds(job.copy_tries, self.dice) if after_seconds is None else after_seconds
        return Wait(after_seconds=wait, copy_failed=True, error=error)

    def _is_over(self, job: Job) -> bool:
        return job.expires_at is not None and self.clock.now() > job.expires_at


def indexes_of(output: Sequence[str]) -> list[int]:
    """The provider's own index of each output, read from names such as `out-2.png`; else its place in the list.

    Stable Diffusion drops a flagged image silently, and the names of the others keep their number
    (https://github.com/replicate/cog-stable-diffusion/blob/main/predict.py).
    """
    found = [
        _NUMBERED.search(urlsplit(address).path) if not address.startswith("data:") else None for address in output
    ]
    numbers = [int(match.group(1)) for match in found if match]
    return numbers if len(set(numbers)) == len(output) else list(range(len(output)))


def complete(job: Job, images: Sequence[Image]) -> Outcome:
    """Success means every image that was asked for; fewer is recorded as just that, with the ones that came kept."""
    if len(images) >= job.outputs:
        return Stored(images=tuple(images))
    missing = sorted(set(range(job.outputs)) - {image.index for image in images})
    is_filtered = all(_NUMBERED.search(urlsplit(address).path) for address in job.output)
    cause = Cause.SAFETY if is_filtered else Cause.SHORT
    said = "withheld by the safety filter" if is_filtered else "missing without a word"
    error = f"{len(images)} of {job.outputs} images came; {said}: index {', '.join(map(str, missing))}"
    return GiveUp(cause=cause, error=error, images=tuple(images), is_copied=True)


def _check_size(job: Job, size: tuple[int, int]) -> None:
    expected = expected_size(job.version, job.input)
    if expected is not None and size != expected:
        raise Permanent(
            f"the image is {size[0]}x{size[1]}, {expected[0]}x{expected[1]} was asked for", cause=Cause.DOWNLOAD
        )
