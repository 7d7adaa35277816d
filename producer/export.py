"""A batch's table for somebody's own disk or pipe, finished or not: what is in the store now, and all that made it."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, Literal, TypeAlias

from imagejobs.edges.store import Store
from imagejobs.errors import Cause, Complaint, Permanent
from imagejobs.imagefolder import Metadata
from imagejobs.job import Batch
from imagejobs.layout import METADATA, extension_of, image_key, image_name
from imagejobs.ledger import Ledger
from imagejobs.manifest import Row, Writer, blocks, csv_writer, image_record, jsonl_writer, parquet_writer
from imagejobs.patience import PATIENT
from producer.abreast import abreast

Form: TypeAlias = Literal["jsonl", "parquet", "csv"]
_WRITERS: dict[Form, Writer] = {"jsonl": jsonl_writer, "parquet": parquet_writer, "csv": csv_writer}


def export(ledger: Ledger, batch: Batch, target: Path | BinaryIO, *, form: Form = "jsonl") -> int:
    """Write the manifest's rows, one an image, to a file or an open binary stream. Returns how many.

    A file appears when it is complete, in place of what was there. Raises Complaint when it cannot be written.
    """
    if not isinstance(target, Path):
        return _write(ledger, batch, target, form)
    with _complete_file(target) as file:
        return _write(ledger, batch, file, form)


def export_imagefolder(ledger: Ledger, store: Store, batch: Batch, folder: Path) -> int:
    """Copy the batch's images and their `metadata.jsonl` into a folder that `datasets` loads. Returns how many images.

    Images that are there already, as they should be, are not copied again: an export that was cut off goes on.
    Raises Complaint when the folder cannot be written, and what the store raises; Permanent for an image that is not
    what was stored (see `verify`).
    """
    copied = 0
    with TemporaryFile() as spool:
        metadata = Metadata(spool)
        for row in abreast(partial(_copy, store, batch.key, folder), ledger.views.image_rows(batch.id)):
            metadata.add([row])
            copied += 1
        with _complete_file(folder / METADATA) as file:
            file.writelines(metadata.lines())
    return copied


def _write(ledger: Ledger, batch: Batch, file: BinaryIO, form: Form) -> int:
    written = 0
    with _WRITERS[form](file) as write:
        for block in blocks(ledger.views.image_rows(batch.id)):
            write([image_record(batch.key, row) for row in block])
            written += len(block)
    return written


def _copy(store: Store, batch: str, folder: Path, row: Row) -> Row:
    place = folder / image_name(row["id"], row["index"], extension_of(row["uri"]))
    if not _is_there(place, row):
        data = PATIENT(store.get, image_key(batch, row["id"], row["index"], extension_of(row["uri"])))
        if hashlib.sha256(data).hexdigest() != row["sha256"]:
            raise Permanent(f"{row['uri']} has other bytes than were stored", cause=Cause.STORAGE)
        with _complete_file(place) as file:
            file.write(data)
    return row


def _is_there(place: Path, row: Row) -> bool:
    if not place.is_file() or place.stat().st_size != row["bytes"]:
        return False
    return bool(hashlib.sha256(place.read_bytes()).hexdigest() == row["sha256"])


@contextmanager
def _complete_file(place: Path) -> Iterator[BinaryIO]:
    """A file that takes its place when the block ends, and leaves nothing when it raises."""
    aside = place.with_name(f".{place.name}.{uuid.uuid4().hex[:8]}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("xb") as file:
            yield file
        aside.replace(place)
    except OSError as error:
        raise Complaint(f"{place} cannot be written: {error.strerror or error}") from None
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
