"""`imagejobs`, and `python -m producer`: the command line, from its process's first moment on."""

from __future__ import annotations

import os
import signal
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line and end the process. Ctrl-C while it is loaded ends it as quietly as later."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # else it is ignored: a job of a shell without job control
        signal.signal(signal.SIGINT, _leave)
    from producer import cli

    signal.signal(signal.SIGINT, before)
    cli.main()


def _leave(*_: object) -> None:
    """No exception: it would be raised wherever Python is just then, and nobody is there yet to catch it."""
    os._exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
