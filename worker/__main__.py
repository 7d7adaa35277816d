"""`python -m worker`: one worker process, configured by its environment alone."""

from __future__ import annotations

import os
import signal
import sys

from worker import memory


def main() -> int:
    """Work until told to stop. A setting that cannot be used ends it at once, with one line."""
    memory.spare()
    signal.signal(signal.SIGTERM, _leave)
    from imagejobs.errors import Complaint
    from imagejobs.settings import Settings
    from worker.app import work

    try:
        return work(Settings.read(os.environ))
    except Complaint as complaint:
        print(f"imagejobs: {complaint}", file=sys.stderr)  # noqa: T201 - before the log is set up
        return complaint.exit_code


def _leave(*_: object) -> None:
    """Told to stop before Celery listens: nothing is in hand yet.

    No exception: it would be raised wherever Python is just then, and where a class is made, it would be made another.
    """
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
