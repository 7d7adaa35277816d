"""A launcher that becomes the command it is given, tied to its parent: `python tied.py PARENT_PID UID GID COMMAND…`.

It runs as a program of its own because the tie must be made in the child: doing it between fork and exec inside a
process with threads is unsafe, and Python 3.12 warns about it. Standard library only, to start in milliseconds.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2), Linux


def tie_to(parent: int) -> None:
    """Have the kernel kill this process when the thread that started it ends, however it ends."""
    if sys.platform != "linux":
        return  # elsewhere the fixtures' own cleaning up must do
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the parent has gone already")


def become(user: int, group: int) -> None:
    """Drop root for a server that refuses to run as root."""
    os.setgroups([])
    os.setgid(group)
    os.setuid(user)


if __name__ == "__main__":
    parent, user, group = map(int, sys.argv[1:4])
    if user != os.getuid():
        become(user, group)
    tie_to(parent)  # after the change of user, which would undo it
    os.execv(sys.argv[4], sys.argv[4:])  # noqa: S606 - a fixed argument list, no shell
