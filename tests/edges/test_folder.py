"""The store's door to a folder: what holds for every store, and what only a file system can do wrong."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from imagejobs.edges.store import Stat, Store
from imagejobs.errors import BadSetting, Cause, Permanent, Refused
from tests.edges.every_store import DATA, KEY, EveryStore, Open, put
from tests.servers.requirement import require


class TestFolder(EveryStore):
    """file:///…"""

    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        """Not there yet, and in need of encoding."""
        return tmp_path / "the store #1"

    @pytest.fixture
    def store(self, root: Path, opened: Open) -> Store:
        """A folder."""
        return opened(root.as_uri())

    def test_an_object_is_a_file(self, store: Store, root: Path) -> None:
        """Where one would look for it, readable by others as any file is, and named by a file URI."""
        uri = put(store)

        assert (root / KEY).read_bytes() == DATA
        assert (root / KEY).stat().st_mode & 0o044 == 0o044 & ~current_umask()
        assert uri == f"file://{quote(str(root / KEY))}"
        assert store.stat(KEY) == Stat(bytes=len(DATA), sha256=None)

    def test_a_folder_is_no_object(self, store: Store) -> None:
        """It has no bytes."""
        put(store)

        assert store.stat("night/images") is None
        with pytest.raises(Refused, match="a folder stands where a file should be"):
            store.get("night/images")

    def test_nothing_is_left_aside(self, store: Store, root: Path) -> None:
        """Neither after a success nor after a failure."""
        put(store)
        (root / "night" / "images" / "d").mkdir()
        with pytest.raises(Refused):
            put(store, "night/images/d")

        assert list((root / ".incoming").iterdir()) == []

    def test_a_link_out_of_it_is_not_followed(self, store: Store, root: Path, tmp_path: Path) -> None:
        """Whoever made it."""
        put(store)
        (root / "elsewhere").symlink_to(tmp_path)
        with pytest.raises(Permanent, match="leads out of"):
            put(store, "elsewhere/x")

        assert not (tmp_path / "x").exists()

    def test_a_file_in_the_way_is_said(self, store: Store, root: Path) -> None:
        """Somebody put a file where a folder should be."""
        root.write_text("not a folder")
        with pytest.raises(Refused, match="a file stands where a folder should be") as error:
            put(store)

        assert error.value.cause is Cause.STORAGE
        with pytest.raises(BadSetting, match="a file stands"):
            store.check()

    def test_a_name_no_file_can_have_is_refused_for_good(self, store: Store) -> None:
        """255 bytes is the usual limit."""
        with pytest.raises(Permanent):
            put(store, "x" * 300)

    def test_a_folder_that_is_not_ours_is_said(self, store: Store, root: Path) -> None:
        """With what to change."""
        root.mkdir(mode=0o555)
        with as_nobody(), pytest.raises(BadSetting, match="this user may not use it"):
            store.check()

    @pytest.mark.parametrize(
        ("mount", "said"), [("tmpfs -o size=64k", "the disk is full"), ("tmpfs -o ro", "the file system is read-only")]
    )
    def test_a_disk_that_takes_nothing_is_said(self, mount: str, said: str, tmp_path: Path) -> None:
        """Full, or mounted read-only: a real one, in a namespace of its own."""
        unshare = require("unshare", "mount")["unshare"]
        put_large = "store.put('a/b', bytes(10**6), content_type='x', sha256='0' * 64)"
        script = f"mount -t {mount} none '{tmp_path}' && exec '{sys.executable}' -c \"$0\""
        command = [str(unshare), "-rm", "sh", "-c", script, told(tmp_path / "store", put_large)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
        if "unshare failed" in done.stderr:
            pytest.skip("no namespaces here")

        assert said in done.stdout, done.stderr
        assert done.stdout.startswith("Refused storage")


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def told(root: Path, code: str) -> str:
    """A program that opens a folder, runs the code and prints what was raised."""
    return (
        "from pathlib import Path; from imagejobs.edges.bucket import open_store\n"
        f"store = open_store(Path({str(root)!r}).as_uri())\n"
        f"try: {code}\n"
        "except Exception as error: print(type(error).__name__, getattr(error, 'cause', ''), error)"
    )


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Root may do everything, so it steps down meanwhile."""
    user = os.geteuid()
    os.seteuid(65534 if user == 0 else user)
    try:
        yield
    finally:
        os.seteuid(user)
