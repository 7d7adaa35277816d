"""The small model that the ledger is held against at random: where a job stands, and what may be decided on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from hypothesis import strategies as st

from imagejobs import moves
from imagejobs.errors import Cause
from imagejobs.job import Job
from imagejobs.moves import Move
from imagejobs.states import State, is_allowed
from tests.desk import images_of

ACCOUNTS = ("ours", "theirs")
MOST_JOBS = 12  # few enough that several things happen to each
KEEP = 300.0  # how long an output can be fetched
LEASE = 60.0  # how long a message or a lease is waited for


class Machine(Protocol):
    """What decides: its time, and the ids of its predictions."""

    now: float

    def prediction(self) -> str:
        """An id, mostly a new one."""


Wish = Callable[[Job, Machine], Move]


@dataclass
class Standing:
    """What the model knows of one job."""

    batch: str
    batch_id: int
    state: State = State.QUEUED
    attempt: int = 0
    tries_left: int = 1
    hinted: bool = False
    unwanted: bool = False

    def go(self, *targets: State) -> None:
        """Walk along the table; a step that it does not have is a fault of the model or of the ledger."""
        for target in targets:
            assert is_allowed(self.state, target), (self.state, target)
            self.state, self.hinted = target, False


def _counts(job: Job) -> bool:
    """A try is used up only where one more is left: otherwise the worker gives up. See `worker.settle`."""
    return job.tries_left > 1


def _accepted(job: Job, machine: Machine) -> Move:
    return moves.accepted(job, prediction_id=machine.prediction(), at=machine.now, look_at=machine.now + 2)


def _output(job: Job) -> list[str]:
    return [f"https://outputs/{index}.png" for index in range(job.outputs)]


def _answered(job: Job, machine: Machine) -> Move:
    now = machine.now
    return moves.answered(job, output=_output(job), at=now, expires_at=now + KEEP, resend_at=now + LEASE)


def _finished(job: Job, machine: Machine) -> Move:
    now = machine.now
    times = {"completed_at": now, "expires_at": now + KEEP, "resend_at": now + LEASE}
    return moves.finished(job, output=_output(job), predict_time_s=1.5, **times)


def _refused(job: Job, machine: Machine) -> Move:
    counted = _counts(job)
    cause = Cause.TRANSIENT if counted else Cause.RATE_LIMITED
    return moves.refused(job, cause=cause, error="no room", due_at=machine.now + 1, counted=counted)


def generate_again(job: Job, machine: Machine) -> Move:
    if not _counts(job):
        return failed(job, machine)
    return moves.generate_again(job, cause=Cause.EXPIRED, error="gone", due_at=machine.now)


def failed(job: Job, machine: Machine) -> Move:
    return moves.gave_up(job, cause=Cause.UNKNOWN_OUTCOME, error=f"odd {job.id}", at=machine.now)


def failed_short(job: Job, machine: Machine) -> Move:
    return moves.gave_up(
        job, cause=Cause.SHORT, error="short", at=machine.now, images=images_of(job)[1:], is_copied=True
    )


WISHES: dict[State, Sequence[Wish]] = {
    State.QUEUED: (lambda job, machine: moves.canceled(job, at=machine.now), failed),
    State.SUBMITTING: (
        _accepted,
        _accepted,
        _answered,
        _refused,
        failed,
        lambda job, machine: moves.not_sent(job, cause=Cause.TRANSIENT, error="no route", due_at=machine.now),
        lambda job, machine: moves.proven_absent(job, error="not there", due_at=machine.now),
        lambda job, machine: moves.assumed_absent(job, due_at=machine.now),
        lambda job, machine: moves.canceled(job, at=machine.now),
    ),
    State.RUNNING: (
        _finished,
        _finished,
        generate_again,
        failed,
        lambda job, machine: moves.canceled(job, at=machine.now),
    ),
    State.STORING: (
        lambda job, _machine: moves.stored(job, images=images_of(job)),
        generate_again,
        failed,
        failed_short,
    ),
}
DECIDABLE = tuple(WISHES)
CHOICES = st.lists(
    st.sampled_from([0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]), min_size=1, max_size=5
)  # mostly as it should go
