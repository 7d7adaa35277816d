"""What a store is, whichever kind: keys with bytes behind them, written whole or not at all.

Errors are sorted as everywhere: Refused (cause STORAGE) pauses the batch until the owner has mended something,
Transient (cause STORAGE) passes by itself, Permanent (cause STORAGE) is a key that no store can hold or does not have.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from imagejobs.errors import BadSetting, Cause, Permanent, Refused, Transient

MAX_KEY_BYTES = 1024
"""S3's own limit (docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stat:
    """An object's length, and the hash recorded when it was put; None where the store records none."""

    bytes: int
    sha256: str | None


class Store(Protocol):
    """Where images and manifests go. Safe to share between threads; every method may be repeated."""

    def put(self, key: str, data: bytes, *, content_type: str, sha256: str) -> str:
        """Write an object, replacing what is there; returns its URI. `sha256` in hex goes along as a check."""

    def put_file(self, key: str, path: Path, content_type: str) -> str:
        """Write an object from a file of any length in bounded memory; returns its URI."""

    def get(self, key: str) -> bytes:
        """An object's bytes. Raises Permanent when there is no such key."""

    def stat(self, key: str) -> Stat | None:
        """An object's facts without its bytes; None when there is no such key."""

    def delete(self, key: str) -> None:
        """Take an object away; none there is as good."""

    def check(self) -> None:
        """Write, read back and delete a probe. Raises BadSetting, which names the way out."""

    def uri(self, key: str) -> str:
        """How the world names an object of this store."""

    def close(self) -> None:
        """Let go of connections."""


def checked_key(key: str) -> str:
    """The key, if it stays within the store on every kind of store. Raises Permanent."""
    parts = key.split("/")
    if not key.isprintable() or any(part in ("", ".", "..") for part in parts) or len(key.encode()) > MAX_KEY_BYTES:
        raise Permanent(f"no store can hold the key {key[:80]!r}", cause=Cause.STORAGE)
    return key


def probe(store: Store) -> None:
    """The check of `Store.check`, in terms of its other methods."""
    key, data = f".imagejobs-probe-{uuid.uuid4().hex}", uuid.uuid4().bytes
    try:
        store.put(key, data, content_type="application/octet-stream", sha256=hashlib.sha256(data).hexdigest())
        back = store.get(key)
        store.delete(key)
        store.stat(key)  # closing a batch asks for what is not there, which some stores tell only who may list
    except Transient as error:
        raise BadSetting(f"{error}: is it up, and IMAGEJOBS_STORE and AWS_ENDPOINT_URL_S3 right?") from None
    except (Refused, Permanent) as error:
        raise BadSetting(str(error)) from None
    if back != data:
        raise BadSetting(f"{store.uri(key)} does not give back what was written to it: is this the right store?")
