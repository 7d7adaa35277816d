"""A contestant's processes: started, measured, killed. Children of children count, those that ended as well."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from ops.bench import reaper

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
BURY_SECONDS = 0.01  # between two looks for whether the last one has ended


class Family:
    """All processes below one reaper. A context manager; at its end nobody is left, no figure waits for warm shutdowns.

    Memory is the proportional share (PSS): what processes share is counted once.
    """

    def __init__(self, *, folder: Path, environ: Mapping[str, str]) -> None:
        self._folder = folder
        self._environ = environ
        self._root: subprocess.Popen[bytes] | None = None
        self._ended_seconds = 0.0

    def start(self, commands: Sequence[Sequence[str]]) -> None:
        """Start these; only once the ones before have ended."""
        launcher = [sys.executable, "-I", "-S", reaper.__file__, str(os.getpid()), json.dumps(commands)]
        with (self._folder / "family.log").open("ab") as log:
            self._root = subprocess.Popen(
                launcher, cwd=self._folder, env=dict(self._environ), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    @property
    def is_running(self) -> bool:
        """Whether anybody is left."""
        return self._root is not None and reaper.is_alive(self._root.pid)

    def cpu_seconds(self) -> float:
        """User and system time of all since the first start."""
        return self._ended_seconds + sum(cpu_seconds(pid) for pid in self._members())

    def pss_bytes(self) -> dict[int, int]:
        """Of each process that is there now, by its id; the reaper left out."""
        return {pid: pss_bytes(pid) for pid in self._members()[1:]}

    def kill(self) -> None:
        """kill -9 of all."""
        if self._root is not None:
            self._bury(self._root)

    def signal(self, number: signal.Signals) -> list[int]:
        """Send it to the processes that were started, not to their children. Returns their ids."""
        started = self._children_of_root()
        for pid in started:
            os.kill(pid, number)
        return started

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def _members(self) -> list[int]:
        return [] if self._root is None else [self._root.pid, *reaper.family(self._root.pid)]

    def _children_of_root(self) -> list[int]:
        return (
            []
            if self._root is None
            else [pid for pid in reaper.family(self._root.pid) if _parent(pid) == self._root.pid]
        )

    def _bury(self, root: subprocess.Popen[bytes]) -> None:
        """Kill all. The kernel adds up what a process waited for, and so the whole family, in its usage."""
        ended = 0
        while not ended:  # again and again: a reaper that has only just begun may still start somebody
            reaper.kill(root.pid)
            ended, status, usage = os.wait4(root.pid, os.WNOHANG)
            time.sleep(0 if ended else BURY_SECONDS)
        root.returncode = os.waitstatus_to_exitcode(status)
        self._ended_seconds += usage.ru_utime + usage.ru_stime
        self._root = None


def cpu_seconds(pid: int) -> float:
    """Its own time and that of the children it has waited for; 0 if it has just ended (its parent then has it)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / TICKS_A_SECOND


def pss_bytes(pid: int) -> int:
    """Its proportional share of memory; 0 if it has just ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0
