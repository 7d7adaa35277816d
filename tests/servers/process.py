"""A real server as a child process: started until it answers, stopped, killed, paused, started again."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tests.servers.waiting import eventually

_LAUNCHER = Path(__file__).with_name("tied.py")


class ServerFailed(Exception):
    """The server ended instead of becoming ready; the text ends with its log's last lines."""


class Server(ABC):
    """One server process, its data and its log in one folder.

    A context manager; `start` after `stop` or `kill` goes on with the same address and data. It never outlives the
    tests: the kernel kills it when the thread that started it ends. It gets no variable of the developer's but PATH.
    """

    start_seconds = 20.0
    stop_seconds = 20.0
    stop_signal = signal.SIGTERM
    user: tuple[int, int] | None = None  # (uid, gid) to run as; None is whoever runs the tests
    not_yet: tuple[type[Exception], ...] = (OSError,)  # what `is_ready` may raise while the server starts

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / f"{type(self).__name__}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._family = -1

    @abstractmethod
    def command(self) -> Sequence[str]:
        """The program's full path and its arguments."""

    @abstractmethod
    def is_ready(self) -> bool:
        """One real request, answered as it should be: an open port is not enough. May raise what `not_yet` names."""

    def environment(self) -> Mapping[str, str]:
        """What this server needs beside PATH and a UTF-8 locale."""
        return {}

    def start(self) -> Self:
        """Start, and return when it answers; raises ServerFailed if it ends, AssertionError if it takes too long."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = self._launch(log)
        try:
            eventually(
                self._answers,
                timeout_seconds=self.start_seconds,
                what=f"{type(self).__name__} answers",
                ignoring=self.not_yet,
            )
        except BaseException:
            self.kill()
            raise
        return self

    def stop(self) -> None:
        """Ask it to end and wait; one that does not end in time is killed."""
        if self._process is None:
            return
        self._signal(signal.SIGCONT)  # a paused one would not hear the other
        self._signal(self.stop_signal)
        try:
            self._process.wait(self.stop_seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._bury()

    def kill(self) -> None:
        """End it with SIGKILL, as the out-of-memory killer would: nothing is flushed, nobody is told."""
        if self._process is None:
            return
        self._process.kill()
        self._bury()

    def pause(self) -> None:
        """Freeze it: connections stay open and nothing answers, as with a machine that hangs."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self._signal(signal.SIGCONT)

    @property
    def pid(self) -> int:
        """Of the process, whose children are its own. Raises ServerFailed when it is not running."""
        if self._process is None:
            raise ServerFailed(f"{type(self).__name__} is not running")
        return self._process.pid

    def log_tail(self, *, max_bytes: int = 2000) -> str:
        """The end of its log, for error messages."""
        return self.log.read_bytes()[-max_bytes:].decode(errors="replace")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _launch(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        user, group = self.user or (os.getuid(), os.getgid())
        tie = [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), str(user), str(group)]
        command = [*tie, *self.command()]
        self._family, held_by_family = os.pipe()
        try:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", **self.environment()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[held_by_family],
                start_new_session=True,  # Ctrl-C on the tests must not reach the server before its fixture ends it
            )
        finally:
            os.close(held_by_family)

    def _signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def _answers(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise ServerFailed(f"{type(self).__name__} ended with {self._process.returncode}:\n{self.log_tail()}")
        return self.is_ready()

    def _bury(self) -> None:
        """Wait for the process and for its children, which hold the pipe's other end: PostgreSQL's outlive a SIGKILL of
        their parent for a moment, in which it could not be started again.
        """
        if self._process is not None:
            self._process.wait()
        self._process = None
        all_gone, _, _ = select.select([self._family], [], [], self.stop_seconds)
        os.close(self._family)
        if not all_gone:
            raise ServerFailed(f"{type(self).__name__} left children behind")
