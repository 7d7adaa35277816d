"""`python -m worker`: one worker process, configured by its environment alone."""

from __future__ import annotations

import os
import sys

from worker import memory


def main() -> int:
    """Work until told to stop. A setting that cannot be used ends it at once, with one line."""
    memory.spare()
    from imagejobs.errors import Complaint
    from imagejobs.settings import Settings
    from worker.app import work

    try:
        return work(Settings.read(os.environ))
    except Complaint as complaint:
        print(f"imagejobs: {complaint}", file=sys.stderr)  # noqa: T201 - before the log is set up
        return complaint.exit_code


if __name__ == "__main__":
    sys.exit(main())
