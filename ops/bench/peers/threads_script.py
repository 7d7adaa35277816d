"""The same script with requests in threads: `python -m ops.bench.peers.threads_script FILE`."""

from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests

from ops.bench.peers import blocking, surroundings

_turn = threading.Lock()


def pace() -> None:
    """Let one create go at a time, evenly spaced at the account's limit."""
    if surroundings.CREATES_PER_SECOND:
        with _turn:
            time.sleep(1 / surroundings.CREATES_PER_SECOND)


def stubborn(row: dict[str, Any]) -> None:
    """Make one image, tried again after any error, at growing intervals."""
    for failed in range(surroundings.TRIES):
        try:
            pace()
            blocking.whole(row)
        except (requests.RequestException, surroundings.Failed) as error:
            print(row["id"], repr(error), file=sys.stderr)
            time.sleep(0.5 * 2**failed)
        else:
            return


if __name__ == "__main__":
    with ThreadPoolExecutor(surroundings.IN_FLIGHT) as pool:
        list(pool.map(stubborn, surroundings.rows(sys.argv[1])))
