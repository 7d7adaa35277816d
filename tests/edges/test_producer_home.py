"""The home folder: who may run what there, and where the embedded server listens."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from imagejobs.errors import BadSetting
from producer.home import LARGEST_LOG_BYTES, LONGEST_SOCKET_BYTES, Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """One that is there."""
    return Home(tmp_path / "home").make()


def test_a_lock_has_one_holder(home: Home) -> None:
    """Two processes, or two objects of one."""
    first, second = home.lock("server"), home.lock("server")

    assert first.take() is not None
    assert second.take() is None


def test_a_lock_that_was_let_go_is_free(home: Home) -> None:
    """And may be taken again."""
    first, second = home.lock("server"), home.lock("server")
    first.take()
    first.release()

    assert second.take() is not None


def test_locks_of_different_names_are_strangers(home: Home) -> None:
    """Whatever the names are made of."""
    locks = [home.lock(name) for name in ("work for a/b", "work for a_b", "../x", "")]

    assert all(lock.take() is not None for lock in locks)


def test_a_lock_outlives_its_holder_in_the_child_that_keeps_it(home: Home) -> None:
    """So nobody starts a second server while the first one is still ending."""
    lock, other = home.lock("server"), home.lock("server")
    held = lock.take()
    assert held is not None
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[held])
    lock.release()
    taken_meanwhile = other.take()
    child.communicate(b"\n")

    assert taken_meanwhile is None
    assert other.take() is not None


def test_the_socket_is_in_a_folder_that_nobody_else_may_enter(home: Home) -> None:
    """On a machine with other users, whoever reaches it could steer the work."""
    assert 0 == home.socket().parent.stat().st_mode & 0o077


@pytest.fixture
def temporary(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files, with a short name."""
    folder = tmp_path_factory.mktemp("t")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_a_home_too_deep_for_a_socket_has_a_private_folder_elsewhere(tmp_path: Path, temporary: Path) -> None:
    """A path of more than about a hundred bytes cannot name a socket."""
    socket = Home(tmp_path / ("deep" * 30)).make().socket()

    assert len(os.fsencode(socket)) <= LONGEST_SOCKET_BYTES
    assert temporary == socket.parent.parent
    assert 0 == socket.parent.stat().st_mode & 0o077


@pytest.mark.usefixtures("temporary")
def test_a_private_folder_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    """Its name can be guessed, so somebody may have been there first."""
    home = Home(tmp_path / ("deep" * 30)).make()
    home.socket().parent.chmod(0o755)

    with pytest.raises(BadSetting, match="not ours alone"):
        home.socket()


def test_a_home_that_cannot_be_made_is_named_with_the_way_out(tmp_path: Path) -> None:
    """Here a file is in its place."""
    (tmp_path / "home").write_text("")

    with pytest.raises(BadSetting, match="set IMAGEJOBS_HOME"):
        Home(tmp_path / "home").make()


def test_a_log_that_has_grown_large_makes_way(home: Home) -> None:
    """One older one is kept, so that a year of nights does not fill the disk."""
    log = home.logs / "worker.log"
    log.touch()
    os.truncate(log, LARGEST_LOG_BYTES + 1)

    assert not home.log("worker").exists()
    assert (home.logs / "worker.log.1").exists()
