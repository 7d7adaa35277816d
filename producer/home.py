"""The home folder: where the embedded default keeps its ledger, images, servers and logs, and who may run what there.

ledger.sqlite  batches/  logs/{worker,valkey,sandbox}.log  valkey/  sandbox/  locks/
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import tempfile
from pathlib import Path
from typing import Self

from imagejobs.errors import BadSetting

LONGEST_SOCKET_BYTES = 100  # the kernels' own limits are 107 (Linux) and 103 (macOS)
_SHORTER = "set IMAGEJOBS_HOME to a shorter path"
LARGEST_LOG_BYTES = 100 * 2**20  # at the next start a log that has grown past this becomes `….1`


class Lock:
    """One holder at a time. The kernel lets go of it when the holder, and whoever it gave the descriptor to, has ended.

    A lock is never a stale file: there is nothing to clean up after a crash.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def take(self) -> int | None:
        """The descriptor that holds the lock, now or already; none while somebody else has it."""
        if self._descriptor is None:
            self._descriptor = _locked(self._path)
        return self._descriptor

    def release(self) -> None:
        """Let go of it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _locked(path: Path) -> int | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError as error:
        os.close(descriptor)
        raise BadSetting(f"{path} cannot be locked ({error.strerror}): put IMAGEJOBS_HOME on a local disk") from None
    return descriptor


class Home:
    """The folder of IMAGEJOBS_HOME."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()

    def make(self) -> Self:
        """See that it is there and can be written to. Raises BadSetting with the way out."""
        try:
            for part in (self.folder, self.logs, self.folder / "locks"):
                part.mkdir(parents=True, exist_ok=True)
            for private in (self.valkey, self.sandbox):
                private.mkdir(mode=0o700, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                return self
        except OSError as error:
            raise BadSetting(
                f"the home folder {self.folder} cannot be used ({error.strerror}): set IMAGEJOBS_HOME to one that can"
            ) from None

    @property
    def logs(self) -> Path:
        """Where the children's logs are."""
        return self.folder / "logs"

    @property
    def valkey(self) -> Path:
        """The embedded server's data, and mostly its socket; nobody else may enter."""
        return self.folder / "valkey"

    @property
    def sandbox(self) -> Path:
        """The stand-in provider's journal."""
        return self.folder / "sandbox"

    def lock(self, name: str) -> Lock:
        """The lock of that name; names of any kind, since what is locked may be called anything."""
        plain = "".join(letter if letter.isalnum() or letter in "-." else "_" for letter in name)[:60]
        return Lock(self.folder / "locks" / f"{plain}-{_digest(name)[:8]}")

    def log(self, name: str) -> Path:
        """The log file of a child; one that has grown large makes way for a new one."""
        path = self.logs / f"{name}.log"
        if path.exists() and path.stat().st_size > LARGEST_LOG_BYTES:
            path.replace(path.with_name(f"{name}.log.1"))
        return path

    def socket(self) -> Path:
        """Where the embedded server listens: in the home folder, or in a private one where that path is too long.

        Raises BadSetting when somebody else has taken that private folder's name: it may be read by all.
        """
        inside = self.valkey / "valkey.sock"
        if len(os.fsencode(inside)) <= LONGEST_SOCKET_BYTES:
            return inside
        private = Path(tempfile.gettempdir()) / f"imagejobs-{os.getuid()}-{_digest(str(self.folder))[:16]}"
        try:
            private.mkdir(mode=0o700, exist_ok=True)
            facts = private.lstat()
        except OSError as error:
            raise BadSetting(f"{private} cannot be made ({error.strerror}): {_SHORTER}") from None
        if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o077:
            raise BadSetting(f"{private} is not ours alone: remove it, or {_SHORTER}")
        return _short_enough(private / "valkey.sock")


def _short_enough(path: Path) -> Path:
    if len(os.fsencode(path)) > LONGEST_SOCKET_BYTES:
        raise BadSetting(f"{path} is too long for a socket: {_SHORTER}")
    return path


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
