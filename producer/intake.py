"""A file of rows, read once and checked as a whole before anything of it is sent; its Specs wait in a scratch file.

Memory does not grow with the rows but for some 80 bytes each, which find a duplicate id.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
import unicodedata
from array import array
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Self, cast

from imagejobs.errors import BadInput, Complaint, Fault
from imagejobs.job import Spec, SpecText
from imagejobs.models.catalogue import Models
from imagejobs.models.wording import shown
from imagejobs.spec import NAME_RULE, is_name, is_version, parse_row, row_bytes
from producer.formats import Raw, opened, read_rows, suffixes

MOST_FAULTS = 20  # reported; all are counted
_SLUG_CHARACTERS = 40
_PIECE_BYTES = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What a faultless file amounts to. `digest` is the SHA-256 over the fingerprints of its Specs, in their order."""

    total: int
    images: int
    digest: str


class Intake:
    """One source of rows: a file, standard input, or a program's own mappings; of the last two a scratch copy is made.

    `key` is the batch's key: `batch` if given, else made from the file's name and content, so that the same file is the
    same batch. Close it, or use it in a `with`, to have scratch files removed: accepted rows lie in one, about as large
    as their own file.
    Raises Complaint for a file that cannot be read and for a key that cannot name a folder.
    """

    def __init__(
        self,
        source: Path | BinaryIO | Iterable[Mapping[str, Any]],
        *,
        models: Models,
        default_version: str,
        batch: str | None = None,
    ) -> None:
        if batch is not None and not is_name(batch):
            raise Complaint(f"a batch's key {NAME_RULE} (it names a folder), not {shown(batch)}")
        self._models = models
        self._default_version = default_version
        self._scratch = ExitStack()
        self._path = source if isinstance(source, Path) else self._scratch.enter_context(_spooled(source))
        self._stamp = _stamp(self._path)
        name = source if isinstance(source, Path) else Path("stdin.jsonl")
        self.key = batch or batch_key(name, content_digest(self._path))
        self._accepted = self._scratch.enter_context(_Accepted())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the scratch files."""
        self._scratch.close()

    def check(self) -> Checked:
        """Read every row. Raises BadInput with the first faults and the number of all, and for a file without rows.

        Raises Complaint when the file has changed meanwhile: then its key may be another file's.
        """
        faults = _Faults()
        total = images = 0
        digest = hashlib.sha256()
        self._accepted.clear()
        for found in self._judged():
            total += 1
            if isinstance(found, BadInput):
                faults.add(found)
                continue
            images += found.outputs
            text = SpecText.of(found)
            digest.update(text.fingerprint.encode() + b"\n")
            self._accepted.add(text)
        if not total:
            faults.add(BadInput([Fault(1, "", "no rows: the file is empty")]))
        faults.raise_any()
        if _stamp(self._path) != self._stamp:
            raise Complaint(f"{self._path} was changed while it was read; nothing was sent: submit it again")
        return Checked(total=total, images=images, digest=digest.hexdigest())

    def specs(self) -> Iterator[SpecText]:
        """The Specs of a file that was checked, in its order."""
        return iter(self._accepted)

    def _judged(self) -> Iterator[Spec | BadInput]:
        ids = _Ids()
        try:
            for number, (line, raw) in self._rows():
                yield self._judge(raw, line=line, number=number, ids=ids)
        except BadInput as broken:  # nothing after this place can be read
            yield broken

    def _judge(self, raw: Raw, *, line: int, number: int, ids: _Ids) -> Spec | BadInput:
        try:
            spec = self._spec(raw, line=line, number=number)
            ids.claim(spec.id, line=line)
        except BadInput as bad:
            return bad
        return spec

    def _rows(self) -> Iterator[tuple[int, tuple[int, Raw]]]:
        return enumerate(read_rows(self._path, kinds=self._kinds), start=1)

    def _spec(self, raw: Raw, *, line: int, number: int) -> Spec:
        if isinstance(raw, Fault):
            raise BadInput([raw])
        return parse_row(
            raw,
            line=line,
            number=number,
            default_version=self._default_version,
            batch=self.key,
            checks=self._models.check,
        )

    def _kinds(self, version: Any) -> Mapping[str, str]:
        """What a table's cells become. An impossible version is left to `parse_row` to complain of."""
        wanted = self._default_version if version is None else version
        return (self._models.check(wanted).kinds or {}) if is_version(wanted) else {}


def batch_key(path: Path, digest: str) -> str:
    """A key that can name a folder, the same for the same file: its name made plain, and 8 digits of its digest."""
    stem = path.name.removesuffix("".join(path.suffixes[-2:])) if suffixes(path)[1] else path.stem
    plain = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9_]+", "-", plain)[:_SLUG_CHARACTERS].strip("-_")
    return f"{slug or 'batch'}-{digest[:8]}"


def content_digest(path: Path) -> str:
    """SHA-256 of the file's content, decompressed: packing a file again does not make another batch of it."""
    digest = hashlib.sha256()
    with opened(path) as file:
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def _stamp(path: Path) -> tuple[int, int, int]:
    """What changes when a file is replaced, grows or is written to."""
    try:
        facts = path.stat()
    except OSError as error:
        raise Complaint(f"{path}: cannot be read ({error.strerror})") from None
    return facts.st_ino, facts.st_size, facts.st_mtime_ns


@contextmanager
def _spooled(source: BinaryIO | Iterable[Mapping[str, Any]]) -> Iterator[Path]:
    """A scratch file of what can be read only once: rows are needed twice."""
    with tempfile.NamedTemporaryFile(prefix="imagejobs-", suffix=".jsonl") as scratch:
        try:
            scratch.writelines(_pieces(source))
            scratch.flush()
        except OSError as error:
            raise _no_room(error) from None
        yield Path(scratch.name)


def _pieces(source: BinaryIO | Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    if hasattr(source, "read"):
        return iter(partial(cast("BinaryIO", source).read, _PIECE_BYTES), b"")
    return (row_bytes(row, line=line) + b"\n" for line, row in enumerate(source, start=1))


class _Accepted:
    """The rows that were accepted, a line each in a scratch file: no JSON text or name has a tab or line feed.

    Reading them back costs a tenth of checking them again.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="imagejobs-", buffering=_PIECE_BYTES)  # noqa: SIM115 - closed by whoever has it

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def clear(self) -> None:
        """Begin anew."""
        self._file.seek(0)
        self._file.truncate()

    def add(self, text: SpecText) -> None:
        """Raises Complaint when there is no room."""
        line = f"{text.id}\t{text.line}\t{text.version}\t{text.input}\t{text.outputs}\t{text.tags or ''}\n"
        try:
            self._file.write(line.encode())
        except OSError as error:
            raise _no_room(error) from None

    def __iter__(self) -> Iterator[SpecText]:
        self._file.seek(0)
        for raw in self._file:
            row_id, line, version, given, outputs, tags = raw[:-1].decode().split("\t")
            yield SpecText(row_id, int(line), version, given, int(outputs), tags or None)


def _no_room(error: OSError) -> Complaint:
    return Complaint(f"no copy of the input can be kept in {tempfile.gettempdir()}: {error.strerror}")


class _Faults:
    """The first faults, and how many there are in all."""

    def __init__(self) -> None:
        self._first: list[Fault] = []
        self._count = 0

    def add(self, bad: BadInput) -> None:
        self._first += bad.faults[: MOST_FAULTS - len(self._first)]
        self._count += bad.count

    def raise_any(self) -> None:
        if self._count:
            raise BadInput(self._first, count=self._count)


class _Ids:
    """Which ids have come, at some 80 bytes each: for the id stands a keyed 60-bit hash of it.

    That a million different ids have two of the same hash happens once in two million files, and costs a refusal.
    Case does not count: where folders do not tell it apart (macOS, Windows), one image would overwrite the other.
    """

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._hashes = array("Q")
        self._lines = array("Q")
        self._doubles = 0

    def claim(self, row_id: str, *, line: int) -> None:
        """Raises BadInput when the id was there before, for the first of them with the line."""
        key = hash(row_id.lower()) & (2**60 - 1)
        if key in self._seen:
            raise BadInput([Fault(line, "id", f"{shown(row_id)} is already the id of {self._where(key)}")])
        self._seen.add(key)
        self._hashes.append(key)
        self._lines.append(line)

    def _where(self, key: int) -> str:
        self._doubles += 1
        if self._doubles > MOST_FAULTS:  # nobody will see it, and the search takes its time
            return "an earlier line"
        return f"line {self._lines[self._hashes.index(key)]} (upper and lower case count as the same)"
