"""Worker processes that die, stop and wake up: whatever happens to one, every job is paid for once and stored."""

from __future__ import annotations

import random
import time

from imagejobs.states import State
from tests.faults import matrix
from tests.system.fleet import Fleet, rows


def test_random_workers_killed_every_second(fleet: Fleet) -> None:
    """kill -9 of one of three, every second until the last job is done."""
    fleet.sandbox.faults([{"on": "create", "kind": "delay_after", "seconds": 0.1}])
    fleet.submit(rows(matrix.jobs()))
    fleet.start(3)
    fleet.reached(lambda batch: batch.counts[State.QUEUED] < batch.total)
    dice, killed = random.Random(7), 0
    while fleet.batch().live > 0:
        fleet.kill(dice.choice(fleet.workers))
        fleet.start(1)
        killed += 1
        time.sleep(1.0)  # the pace of the killing, not a wait for anything
    began = time.monotonic()
    batch = fleet.closed()

    matrix.proven(
        fleet, batch, fault="kill -9 of random workers", injected=killed, recovery_seconds=time.monotonic() - began
    )
