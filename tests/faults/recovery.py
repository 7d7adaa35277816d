"""A batch under way at a steady pace, and how soon its work goes on once an outage is over."""

from __future__ import annotations

import time
from collections.abc import Callable

from imagejobs.job import Batch
from imagejobs.states import State
from tests.faults import matrix
from tests.servers.waiting import eventually
from tests.system.fleet import Fleet, rows

BOUND_SECONDS = 15.0  # from a server's return to the next create and the next image
PACE_SECONDS = 20.0  # how long a batch takes undisturbed: long enough to be struck in the middle


def pace(*, seconds: float = PACE_SECONDS) -> str:
    """IMAGEJOBS_CREATES_PER_MINUTE by which a row's jobs take that long, however many they are."""
    return str(int(matrix.jobs() * 60 / seconds))


def get_under_way(fleet: Fleet, *, workers: int = 2) -> None:
    """A batch of the row's jobs, with its first images stored and most of it still to come."""
    fleet.submit(rows(matrix.jobs()))
    fleet.start(workers)
    fleet.reached(lambda batch: batch.counts[State.SUCCEEDED] >= batch.total // 10)


def until_work_goes_on(fleet: Fleet) -> float:
    """Seconds from now until the provider has accepted another create, and another job has succeeded."""
    began = time.monotonic()
    accepted, succeeded = accepted_creates(fleet), fleet.batch().counts[State.SUCCEEDED]
    assert accepted < fleet.batch().total, "struck too late: there is nothing left to go on with"
    _wait(lambda: accepted_creates(fleet) > accepted, "another create", fleet)
    _wait(lambda: fleet.batch().counts[State.SUCCEEDED] > succeeded, "another success", fleet)
    return time.monotonic() - began


def until_the_next_image(fleet: Fleet) -> float:
    """Seconds from now until another job has succeeded; 0 when all have."""
    began = time.monotonic()
    succeeded = fleet.batch().counts[State.SUCCEEDED]
    if succeeded == fleet.batch().total:
        return 0.0
    _wait(lambda: fleet.batch().counts[State.SUCCEEDED] > succeeded, "another success", fleet)
    return time.monotonic() - began


def accepted_creates(fleet: Fleet) -> int:
    """By the provider's own count."""
    return int(fleet.sandbox.stats()["creates_accepted"])


def closed_soon(fleet: Fleet) -> Batch:
    """The batch at its end, which comes at its pace: no job waited for its message to be taken for lost by time."""
    busy = fleet.batch().total / 10  # seconds that a busy machine may take beside
    return fleet.closed(timeout_seconds=PACE_SECONDS + 2 * BOUND_SECONDS + busy)


def _wait(condition: Callable[[], object], what: str, fleet: Fleet) -> None:
    eventually(
        condition,
        timeout_seconds=120.0,
        every_seconds=0.1,
        what=lambda: f"{what}; {fleet.batch()}; {fleet.last_words()}",
    )
