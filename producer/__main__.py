"""`imagejobs`, and `python -m producer`: the command line, from its process's first moment on."""

from __future__ import annotations

import os
import signal
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line and end the process. Ctrl-C while it is loaded ends it as quietly as later."""
    heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else ignored: a shell's background job
    if heard:
        signal.signal(signal.SIGINT, _leave)
    from producer import cli

    if heard:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    cli.main()


def _leave(*_: object) -> None:
    """No exception: it would be raised wherever Python is just then, and nobody is there yet to catch it."""
    os._exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
