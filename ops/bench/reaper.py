"""Runs commands and inherits every process that they leave behind, so that no CPU time of theirs goes uncounted.

`python reaper.py PARENT_PID '[["command", "argument"], …]'`. It ends when the last of its family has. Should whoever
started it end first, it kills the family. Standard library only, to start in milliseconds.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # prctl(2), Linux


def family(root: int) -> list[int]:
    """The process ids below `root`, without itself."""
    below: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it ended meanwhile
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                below.setdefault(parent, []).append(int(entry.name))
    found, rest = [], [root]
    while rest:
        children = below.get(rest.pop(), [])
        found += children
        rest += children
    return found


def kill(root: int) -> None:
    """SIGKILL all below `root`, until there is nobody left who could have had a child in between."""
    while members := [pid for pid in family(root) if is_alive(pid)]:
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    """Whether it still runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _end(*_: object) -> None:
    kill(os.getpid())
    os._exit(1)  # whoever is still to be started must not be


def main() -> None:
    """See above."""
    prctl = ctypes.CDLL(None).prctl
    signal.signal(signal.SIGTERM, _end)
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("whoever started this has gone already")
    for command in json.loads(sys.argv[2]):
        subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()


if __name__ == "__main__":
    main()
