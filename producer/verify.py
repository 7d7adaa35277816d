"""Are the images of a batch still there, and still what was stored? Every object is looked at again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

from imagejobs.edges.images import inspect
from imagejobs.edges.store import Store
from imagejobs.errors import Permanent, Transient
from imagejobs.job import Batch
from imagejobs.layout import extension_of, image_key
from imagejobs.ledger import Ledger
from imagejobs.manifest import Row, resubmittable, to_line
from imagejobs.patience import PATIENT
from producer.abreast import abreast

MOST_PIXELS = 2**31  # no limit: the same bytes, by their hash, were let in under the limit once before
_PROGRESS_EVERY = 100

MISSING = "is missing"
OTHER_BYTES = "has other bytes than were stored"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """One image that is not as it was stored. `id` is its row's, `index` its place among the row's images."""

    id: str
    index: int
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What `verify` found, images in the order of the input. `mended` ones were missing or wrong, and are sound now."""

    checked: int
    missing: tuple[Flaw, ...]
    wrong: tuple[Flaw, ...]
    mended: tuple[Flaw, ...] = ()

    @property
    def is_sound(self) -> bool:
        """Every image is there, and as it was stored."""
        return not self.flaws

    @property
    def flaws(self) -> tuple[Flaw, ...]:
        """All that is still missing or wrong."""
        return (*self.missing, *self.wrong)

    @property
    def advice(self) -> str:
        """What can be done about the flaws, for the person who decides."""
        if self.is_sound:
            return "nothing to do"
        return (
            "The store had these images once, so look at its backups and versions first. Within about an hour of their "
            "making the provider still has them too: --mend fetches them from there, for free. After that they can "
            "only be generated again, which is paid: the rows listed (--rows FILE) are ready to be submitted as a new "
            "batch, with the same seeds."
        )


def verify(
    ledger: Ledger, store: Store, batch: Batch, *, deep: bool = False, progress: Callable[[int], None] | None = None
) -> Verification:
    """Look at every object of the batch: is it there, of the right size, with the right SHA-256?

    The hash is the one that the store keeps with the object; where it keeps none, the object is read. `deep` trusts
    nothing: it reads and decodes every image. `progress` is told how many have been looked at.
    Raises what the store raises when it cannot be asked at all.
    """
    checked = 0
    flaws: list[Flaw] = []
    rows = ledger.views.image_rows(batch.id)
    for flaw in abreast(partial(_check, store, batch.key, deep), rows):
        checked += 1
        if flaw is not None:
            flaws.append(flaw)
        if progress is not None and checked % _PROGRESS_EVERY == 0:
            progress(checked)
    if progress is not None:
        progress(checked)
    missing = tuple(flaw for flaw in flaws if flaw.problem == MISSING)
    wrong = tuple(flaw for flaw in flaws if flaw.problem != MISSING)
    return Verification(checked=checked, missing=missing, wrong=wrong)


def _check(store: Store, batch: str, deep: bool, row: Row) -> Flaw | None:
    key = image_key(batch, row["id"], row["index"], extension_of(row["uri"]))
    problem = _problem(store, key, row, deep=deep)
    return None if problem is None else Flaw(id=row["id"], index=row["index"], problem=problem)


def _problem(store: Store, key: str, row: Row, *, deep: bool) -> str | None:
    stat = PATIENT(store.stat, key)
    if stat is None:
        return MISSING
    if stat.bytes != row["bytes"]:
        return f"has {stat.bytes} bytes, {row['bytes']} were stored"
    if stat.sha256 is not None and not deep:
        return None if stat.sha256 == row["sha256"] else OTHER_BYTES
    return _problem_inside(store, key, row, deep=deep)


def _problem_inside(store: Store, key: str, row: Row, *, deep: bool) -> str | None:
    try:
        data = PATIENT(store.get, key)
    except Permanent:
        return MISSING  # since just now
    if hashlib.sha256(data).hexdigest() != row["sha256"]:
        return OTHER_BYTES
    return _problem_of_image(data) if deep else None


def _problem_of_image(data: bytes) -> str | None:
    try:
        inspect(data, max_pixels=MOST_PIXELS, decode=True)
    except (Transient, Permanent) as error:
        return str(error)
    return None


def write_rows(ledger: Ledger, batch: Batch, found: Verification, file: BinaryIO) -> int:
    """The rows whose images are missing or wrong, as `submit` takes them, one a line. Returns how many rows."""
    wanted = {flaw.id for flaw in found.flaws}
    written = 0
    for row in ledger.views.job_rows(batch.id):
        if row["row_id"] in wanted:
            file.write(to_line(resubmittable(row)))
            written += 1
    return written
