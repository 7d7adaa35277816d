"""A launcher that becomes the command it is given, tied to its parent: `python tied.py PARENT_PID SIGNAL COMMAND…`.

The tie (Linux: the kernel sends SIGNAL when the thread that started us ends, however it ends) must be made in the
child, and code between fork and exec of a process with threads is unsafe: so it is a program of its own, standard
library only, which costs some 15 ms. Elsewhere there is no tie, and a parent that is killed leaves its children.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1  # prctl(2)


def tied(command: Sequence[str], *, death_signal: int) -> list[str]:
    """The command, to be started by this process: it is sent the signal when the thread that starts it ends."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(int(death_signal)), *command]


def main() -> None:
    """Tie, then become the command."""
    parent, signal_number, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal_number)
    if os.getppid() == parent:  # else it ended before the tie was made
        os.execv(command[0], command)  # noqa: S606 - a fixed argument list, no shell


if __name__ == "__main__":
    main()
