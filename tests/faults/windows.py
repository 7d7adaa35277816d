"""Moments to strike in: what a create is doing right now, told from the provider's side and the ledger's."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

from sqlalchemy import func, select

from imagejobs.job import Batch
from imagejobs.ledger.tables import attempts
from imagejobs.states import State
from tests.servers.waiting import eventually
from tests.system.fleet import Fleet

Window = Callable[[Fleet], int]  # how many creates are in it
READY = 2  # so many workers must be up before one is struck: a start costs a second of CPU, and the run must go on


def claimed(fleet: Fleet) -> int:
    """Creates whose intent is committed and which have not reached the provider, those of dead workers too."""
    with fleet.ledger.database.read() as connection:
        intents = connection.execute(select(func.count()).select_from(attempts)).scalar_one()
    return max(0, int(intents) - int(fleet.sandbox.stats()["arrived"].get("create", 0)))


def arrived(fleet: Fleet) -> int:
    """Creates in the provider's hands that it has not accepted yet."""
    stats = fleet.sandbox.stats()
    return int(stats["arrived"].get("create", 0)) - int(stats["creates_accepted"])


def accepted(fleet: Fleet) -> int:
    """Creates that the provider has accepted and the ledger knows nothing of, those of dead workers too."""
    paid = int(fleet.sandbox.stats()["creates_accepted"])
    return max(0, paid - beyond(fleet.batch()))


def beyond(batch: Batch) -> int:
    """Jobs whose create is known to be accepted."""
    return batch.total - batch.counts[State.QUEUED] - batch.counts[State.SUBMITTING]


def enter(fleet: Fleet, window: Window, *, at_least: int = 1, after_jobs: int = 0) -> int:
    """Wait until that many more creates are in the window than at its lowest, once `after_jobs` jobs are beyond it.

    Returns how many more there are.
    """
    lowest = window(fleet)

    def inside() -> int:
        nonlocal lowest
        seen = window(fleet)
        lowest = min(lowest, seen)
        is_time = seen - lowest >= at_least and beyond(fleet.batch()) >= after_jobs
        return seen - lowest if is_time else 0

    return eventually(inside, timeout_seconds=120.0, every_seconds=0.03, what=f"creates {window.__name__}")


def looked_up(fleet: Fleet, outcome: str) -> int:
    """How many creates without a reply were looked up with this outcome."""
    return len(jobs_looked_up(fleet, outcome))


def jobs_looked_up(fleet: Fleet, outcome: str) -> list[str]:
    """The jobs of those creates."""
    return [event["job_id"] for event in fleet.events("looked_up") if event["outcome"] == outcome]


def ready(fleet: Fleet) -> list[subprocess.Popen[bytes]]:
    """The workers that may be struck now: those that are up, if there are enough."""
    up = [worker for worker in fleet.workers if worker.poll() is None and fleet.is_up(worker)]
    return up if len(up) >= READY else []


class Strikes:
    """Faults at a pace, and how soon work is seen to go on after the last of them."""

    def __init__(self, fleet: Fleet, *, every_seconds: float = 1.0) -> None:
        self._fleet = fleet
        self._every_seconds = every_seconds
        self._before = fleet.batch().counts
        self._struck_at = time.monotonic()
        self.count = 0
        self.recovery_seconds: float | None = None

    def look(self) -> Batch:
        """The batch as it is now; its counts sum."""
        batch = self._fleet.batch()
        if self.count and self.recovery_seconds is None and batch.counts != self._before:
            self.recovery_seconds = time.monotonic() - self._struck_at
        return batch

    def is_due(self) -> bool:
        """Whether the last one was long enough ago."""
        return time.monotonic() - self._struck_at >= self._every_seconds

    def struck(self) -> None:
        """Another fault has struck."""
        self._before, self._struck_at = self._fleet.batch().counts, time.monotonic()
        self.count, self.recovery_seconds = self.count + 1, None
