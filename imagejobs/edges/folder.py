"""The store that is a folder: `file:///…`.

An object appears whole or not at all: it is written aside, flushed to the disk, and renamed. The flush is deliberate:
a power cut must not take an image that is recorded as stored, for it was paid for. It costs 0.2 ms of processor and,
on a solid-state disk, less than a millisecond, in which other threads run.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from imagejobs.edges.store import Stat, checked_key, probe
from imagejobs.errors import Cause, Permanent, Refused, Transient

INCOMING = ".incoming"
"""Beside the batches, so that what a killed writer leaves behind is never taken for an image."""

_WAYS_OUT = {
    errno.ENOSPC: "the disk is full: make room",
    errno.EDQUOT: "the quota is used up: make room",
    errno.EACCES: "this user may not use it: change its owner or mode",
    errno.EPERM: "this user may not use it: change its owner or mode",
    errno.EROFS: "the file system is read-only",
    errno.ENOENT: "it is not there, and cannot be made",
    errno.ENOTDIR: "a file stands where a folder should be",
    errno.EEXIST: "a file stands where a folder should be",
    errno.EISDIR: "a folder stands where a file should be",
}


class FolderStore:
    """Objects as files under `root`, which is made when first written to. Keeps no hashes: whoever asks reads."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def put(self, key: str, data: bytes, *, content_type: str, sha256: str) -> str:  # noqa: ARG002 - a folder keeps neither
        """Raises Refused (disk full, not allowed, read-only), Transient, Permanent (all with cause STORAGE)."""
        return self._publish(key, lambda file: file.write(data))

    def put_file(self, key: str, path: Path, content_type: str) -> str:  # noqa: ARG002 - as above
        """A copy: the given file stays."""
        with path.open("rb") as source:
            return self._publish(key, lambda file: shutil.copyfileobj(source, file, 1 << 20))

    def get(self, key: str) -> bytes:
        """Raises Permanent when there is no such key."""
        with self._sorting_errors():
            try:
                return self._place(key).read_bytes()
            except FileNotFoundError:
                raise Permanent(f"there is no {self.uri(key)}", cause=Cause.STORAGE) from None

    def stat(self, key: str) -> Stat | None:
        """Without a hash: to be sure, get the bytes."""
        with self._sorting_errors():
            place = self._place(key)
            return Stat(bytes=place.stat().st_size, sha256=None) if place.is_file() else None

    def delete(self, key: str) -> None:
        """None there is as good."""
        with self._sorting_errors():
            self._place(key).unlink(missing_ok=True)

    def check(self) -> None:
        """Raises BadSetting."""
        probe(self)

    def uri(self, key: str) -> str:
        """file:///…, percent-encoded."""
        return (self._root / checked_key(key)).as_uri()

    def close(self) -> None:
        """Nothing is held open."""

    def _publish(self, key: str, fill: Callable[[BinaryIO], object]) -> str:
        with self._sorting_errors():
            place, aside = self._place(key), self._root / INCOMING / uuid.uuid4().hex
            for folder in (place.parent, aside.parent):
                folder.mkdir(parents=True, exist_ok=True)
            try:
                with aside.open("xb") as file:
                    fill(file)
                    file.flush()
                    os.fsync(file.fileno())
                aside.replace(place)
            finally:
                aside.unlink(missing_ok=True)
            _flush_folder(place.parent)
        return self.uri(key)

    def _place(self, key: str) -> Path:
        """Where a key's bytes are. A link inside the store that leads out of it is not followed."""
        place = self._root / checked_key(key)
        if not place.parent.resolve().is_relative_to(self._root):
            raise Permanent(f"{key} leads out of {self._root}", cause=Cause.STORAGE)
        return place

    @contextlib.contextmanager
    def _sorting_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            text = f"{self._root}: {error.strerror or error}"
            if error.errno == errno.ENAMETOOLONG:
                raise Permanent(text, cause=Cause.STORAGE) from None
            if way_out := _WAYS_OUT.get(error.errno or 0):
                raise Refused(f"{text}: {way_out}", cause=Cause.STORAGE) from None
            raise Transient(text, cause=Cause.STORAGE) from None


def _flush_folder(folder: Path) -> None:
    """Make the rename itself last; some network file systems cannot, and need not."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)
