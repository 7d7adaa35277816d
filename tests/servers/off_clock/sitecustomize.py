"""Read by every Python that runs under libfaketime: its release 0.9.10 breaks the one way in which Python 3.11 sleeps.

`time.sleep` asks for a moment of the steady clock, which the library takes for one of the wall clock that it has moved.
"""

from __future__ import annotations

import select
import time


def _sleep(seconds: float) -> None:
    select.select([], [], [], seconds)


time.sleep = _sleep
