"""`python -m worker`: one worker process, configured by its environment alone."""

from __future__ import annotations

import os
import signal
import sys

from worker import memory

_ENDINGS = {signal.SIGTERM, signal.SIGINT}


def main() -> int:
    """Work until told to stop. A setting that cannot be used ends it at once, with one line."""
    _listen()
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDINGS)  # a program that begins anew does not listen at first
    memory.spare()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDINGS)
    from imagejobs.errors import Complaint
    from imagejobs.settings import Settings
    from worker.app import work

    try:
        return work(Settings.read(os.environ))
    except Complaint as complaint:
        print(f"imagejobs: {complaint}", file=sys.stderr)  # noqa: T201 - before the log is set up
        return complaint.exit_code


def _listen() -> None:
    """To be told to stop is heard at any moment; Ctrl-C is not where somebody wants it ignored."""
    signal.signal(signal.SIGTERM, _leave)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


def _leave(*_: object) -> None:
    """Told to stop before Celery listens: nothing is in hand yet.

    No exception: it would be raised wherever Python is just then, and where a class is made, it would be made another.
    """
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
