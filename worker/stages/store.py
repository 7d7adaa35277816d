"""The store stage: copy every output of one finished prediction into the store, verified. Free to repeat."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from imagejobs.clock import Clock
from imagejobs.edges.dialects import are_numbered, indexes_of
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
from worker.stages.record import Record

OTHERS_SECONDS = 20.0  # a host that lets one output wait for so long may let each: the others come with the next try
OVERTIME_SECONDS = 3600.0  # so long past its hour, an output that is said to be kept and cannot be had is given up


class Overtaken(Exception):
    """The job has gone on without this copy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copier:
    """The doors that copying needs, and its limits. `is_ours` is asked before anything is written.

    Else a process that slept for longer than the outputs live could write the first attempt's image over the one that
    the ledger has of the second.
    """

    downloader: Downloader
    record: Record
    store: Store
    clock: Clock
    dice: Dice
    max_bytes: int
    max_pixels: int
    is_ours: Callable[[Job], bool] = lambda _: True

    def copy(self, job: Job) -> Outcome:
        """Copy all outputs of the job. Failures are retried against the outputs' expiry, not against a count."""
        come: dict[int, Image] = {}  # by index; kept, whatever becomes of the others
        outcome = guarded(lambda: self._unless_overtaken(job, come), otherwise=lambda error: self._broke(job, error))
        if isinstance(outcome, GiveUp | Retry) and come:
            return replace(outcome, images=tuple(come.values()))
        return outcome

    def _unless_overtaken(self, job: Job, come: dict[int, Image]) -> Outcome:
        try:
            return self._copy(job, come)
        except Overtaken:
            return Wait(after_seconds=0.0, error="this worker slept over its copy")

    def _copy(self, job: Job, come: dict[int, Image]) -> Outcome:
        try:
            return self._fetch(job, come)
        except Gone as error:
            return self._undelivered(job, str(error), come)
        except Transient as error:
            if error.cause is Cause.DOWNLOAD and self._is_over(job):
                return self._undelivered(job, str(error), come)
            return self._again(job, str(error), error.after_seconds)

    def _fetch(self, job: Job, come: dict[int, Image]) -> Outcome:
        """Copy all outputs; `come` has those that did. Raises Transient and Gone, once the others were tried."""
        try:
            missing = self._copy_each(job, come)
        except Refused as error:
            return Held(cause=error.cause, reason=str(error))
        if missing is None:
            return complete(job, list(come.values()))
        if isinstance(missing, Permanent):
            return GiveUp(cause=missing.cause, error=str(missing))
        raise missing

    def _copy_each(self, job: Job, come: dict[int, Image]) -> Gone | Permanent | Transient | None:
        """What the job is to be judged by, if any did not come. Raises Refused, and Transient where the store fails."""
        failed: Gone | Permanent | None = None
        passing: Transient | None = None  # it comes again, and the others with it
        began = self.clock.monotonic()
        for index, address in zip(indexes_of(job.output), job.output, strict=True):
            try:
                come[index] = self._copy_one(job, index, address)
            except (Gone, Permanent) as error:
                failed = failed or error
            except Transient as error:
                if error.cause is not Cause.DOWNLOAD or self.clock.monotonic() > began + OTHERS_SECONDS:
                    raise
                passing = passing or error
        return passing or failed

    def _copy_one(self, job: Job, index: int, address: str) -> Image:
        data = self.downloader.fetch(address, max_bytes=self.max_bytes)
        checked = inspect(data, max_pixels=self.max_pixels)
        _check_size(job, (checked.width, checked.height))
        digest = hashlib.sha256(data).hexdigest()
        key = image_key(job.batch, job.row_id, index, checked.extension)
        if not self.is_ours(job):
            raise Overtaken
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

    def _undelivered(self, job: Job, error: str, come: dict[int, Image]) -> Outcome:
        """Not to be had, or not within its hour. Only the provider's own record can say that it was deleted.

        A file host may answer 404 for a minute, and keep things for longer than its word: whoever believed the one or
        the clock would pay again for what can still be fetched. Proxies that answer with the images have no record:
        there the clock decides.
        """
        if job.prediction_id is None:
            return self._expired(error) if self._is_over(job) else self._again(job, error, None)
        try:
            kept = self.record.kept(job)
        except Transient as unclear:
            return self._again(job, f"{error}; {unclear}", unclear.after_seconds)
        except Permanent as unclear:
            return self._overtime(job, f"{error}; {unclear}")
        if not kept:
            return self._expired(error)
        return self._overtime(job, error) if kept == job.output else self._elsewhere(job, kept, come)

    def _elsewhere(self, job: Job, kept: tuple[str, ...], come: dict[int, Image]) -> Outcome:
        """The provider gives other addresses by now."""
        try:
            return self._fetch(replace(job, output=kept), come)
        except Gone as error:
            return self._overtime(job, str(error))
        except Transient as error:
            is_theirs = error.cause is Cause.DOWNLOAD
            return self._overtime(job, str(error)) if is_theirs else self._again(job, str(error), error.after_seconds)

    def _overtime(self, job: Job, error: str) -> Outcome:
        """Kept, and yet not to be had. Nothing is paid for it again by itself; but it must end some time."""
        if self._is_over(job, by_seconds=OVERTIME_SECONDS):
            return GiveUp(cause=Cause.DOWNLOAD, error=f"kept by the provider, and never to be had: {error}")
        return self._again(job, error, None)

    def _expired(self, error: str) -> Outcome:
        return Retry(cause=Cause.EXPIRED, error=f"expired before it could be copied: {error}")

    def _broke(self, job: Job, error: str) -> Outcome:
        return GiveUp(cause=Cause.DOWNLOAD, error=error) if self._is_over(job) else self._again(job, error, None)

    def _again(self, job: Job, error: str, after_seconds: float | None) -> Outcome:
        wait = COPY.seconds(job.copy_tries, self.dice) if after_seconds is None else after_seconds
        return Wait(after_seconds=wait, copy_failed=True, error=error)

    def _is_over(self, job: Job, *, by_seconds: float = 0.0) -> bool:
        return job.expires_at is not None and self.clock.now() > job.expires_at + by_seconds


def complete(job: Job, images: Sequence[Image]) -> Outcome:
    """Success means every image that was asked for; fewer is recorded as just that, with the ones that came kept."""
    if len(images) >= job.outputs:
        return Stored(images=tuple(images))
    missing = sorted(set(range(job.outputs)) - {image.index for image in images})
    is_filtered = are_numbered(job.output)
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
