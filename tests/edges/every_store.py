"""What holds for every kind of store, a folder as well as a bucket."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from imagejobs.edges import bucket as bucket_door
from imagejobs.edges.store import Store
from imagejobs.errors import Cause, Permanent

DATA = bytes(range(256)) * 10
SHA256 = hashlib.sha256(DATA).hexdigest()
KEY = "night/images/r1-0.png"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "a-very-secret-secret"}
Open = Callable[..., Store]


def put(store: Store, key: str = KEY, data: bytes = DATA) -> str:
    return store.put(key, data, content_type="image/png", sha256=hashlib.sha256(data).hexdigest())


def failing(code: str, more: str = "") -> bytes:
    """A store's refusal."""
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>It is so.</Message>{more}</Error>".encode()


class EveryStore:
    """What holds for every kind of store."""

    def test_what_was_put_comes_back(self, store: Store) -> None:
        """Byte for byte, also nothing at all."""
        put(store)
        put(store, "night/empty", b"")

        assert store.get(KEY) == DATA
        assert store.get("night/empty") == b""

    def test_putting_again_replaces(self, store: Store) -> None:
        """A late second writer does no harm."""
        put(store, data=b"half an image")
        put(store)

        assert store.get(KEY) == DATA

    def test_what_is_not_there_is_said(self, store: Store) -> None:
        """Asked for its facts: none; asked for its bytes: an error; asked to go: fine."""
        assert store.stat(KEY) is None
        with pytest.raises(Permanent) as error:
            store.get(KEY)
        store.delete(KEY)

        assert error.value.cause is Cause.STORAGE

    def test_what_was_deleted_is_gone(self, store: Store) -> None:
        """As the marker of a batch that is opened again."""
        put(store)
        store.delete(KEY)

        assert store.stat(KEY) is None

    def test_a_file_is_put_as_it_is(self, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whatever its length; a long one goes to a bucket in parts."""
        monkeypatch.setattr(bucket_door, "PART_BYTES", 5 * 2**20)  # the least a part may have
        sizes = {"short": 1000, "long": 11 * 2**20}
        for name, size in sizes.items():
            path = tmp_path / name
            path.write_bytes(os.urandom(size))

            assert store.put_file(f"night/{name}", path, "application/octet-stream") == store.uri(f"night/{name}")
            assert store.get(f"night/{name}") == path.read_bytes()

    @pytest.mark.parametrize("key", ["a b/ü #%?&+=.png", "night/images/" + "x" * 200, "a/b/c/d/e/f", ".hidden", "a..b"])
    def test_odd_keys_are_kept(self, store: Store, key: str) -> None:
        """Whatever the caller's ids look like."""
        put(store, key)

        assert store.get(key) == DATA

    @pytest.mark.parametrize(
        "key", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/", "./a", "a\x00b", "a\nb", "x" * 1025]
    )
    def test_a_key_that_leads_elsewhere_is_refused_for_good(self, store: Store, key: str) -> None:
        """On every kind of store, so that a bucket can be copied to a folder."""
        for attempt in (lambda: put(store, key), lambda: store.get(key), lambda: store.delete(key)):
            with pytest.raises(Permanent) as error:
                attempt()
            assert error.value.cause is Cause.STORAGE

    def test_many_threads_share_it(self, store: Store) -> None:
        """One client, eight threads."""
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda n: put(store, f"night/{n}", b"%d" % n), range(40)))
            back = list(threads.map(lambda n: store.get(f"night/{n}"), range(40)))

        assert [b"%d" % n for n in range(40)] == back

    def test_writers_of_one_key_do_not_mix(self, store: Store) -> None:
        """Two workers with the same message: the object is one of theirs, whole."""
        versions = [bytes([n]) * 50_000 for n in range(8)]
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda data: put(store, data=data), versions))

        assert store.get(KEY) in versions

    def test_a_good_store_passes_its_check(self, store: Store) -> None:
        """Without a trace."""
        store.check()
