"""The breaker: what adds up, what clears it, when it is over, and how often is asked."""

from __future__ import annotations

from typing import Any

import pytest

from imagejobs import moves
from imagejobs.breaker import LAST_PROBE_SECONDS, PERSONAL, TRIP_AFTER, Streak, is_over, probe_after
from imagejobs.errors import Cause
from imagejobs.job import Job
from imagejobs.states import State
from tests.making import a_job

GONE = "example.com answered 422: Invalid version or not permitted"


def failed(job_id: int = 7, *, state: State = State.SUBMITTING, cause: Cause = Cause.INPUT, error: str = GONE) -> Any:
    """A job that was given up in that state."""
    return moves.gave_up(a_job(id=job_id, state=state), cause=cause, error=error, at=1.0)


def accepted(job_id: int = 7) -> Any:
    """A create that the provider took."""
    return moves.accepted(submitting(job_id), prediction_id=f"p{job_id}", at=1.0, look_at=2.0)


def submitting(job_id: int) -> Job:
    """A job whose create is on its way."""
    return a_job(id=job_id, state=State.SUBMITTING)


def test_alike_in_a_row_trips_it_and_one_fewer_does_not():
    """Whatever differs from job to job in the text."""
    texts = [f"{GONE} (request {number})" for number in range(TRIP_AFTER)]
    alike = [failed(number, error=text) for number, text in enumerate(texts)]

    assert Streak().after(alike).has_tripped
    assert not Streak().after(alike[1:]).has_tripped


@pytest.mark.parametrize("cause", sorted(PERSONAL))
def test_a_prompts_own_failure_neither_adds_nor_clears(cause: Cause):
    """It says nothing of the others."""
    eleven = Streak().after([failed()] * (TRIP_AFTER - 1))

    assert eleven == eleven.after([failed(cause=cause)] * 100)
    assert not Streak().after([failed(cause=cause)] * 100).has_tripped


def test_an_accepted_create_clears_refused_ones_and_not_predictions_that_fail():
    """A job that got past the place where the others failed disproves them; one that did not get there does not."""
    refused = Streak().after([failed()] * 5)
    failing = Streak().after([failed(state=State.RUNNING, error="E9828")] * 5)

    assert Streak() == refused.after([accepted()])
    assert failing == failing.after([accepted()])


def test_another_failure_begins_anew():
    """Only what is alike adds up."""
    assert 1 == Streak().after([failed()] * 5 + [failed(error="another thing")]).count


def test_where_creates_were_refused_only_the_probe_counts():
    """Others may have been accepted on their way before the refusal."""
    streak = Streak().after([failed()] * TRIP_AFTER)

    assert not is_over("breaker", [accepted(8)], probe_job=7, streak=streak)
    assert is_over("breaker", [accepted(7)], probe_job=7, streak=streak)
    assert not is_over("user", [accepted(7)], probe_job=7, streak=streak)


def test_probes_come_at_growing_intervals_and_four_times_an_hour_at_least():
    """A refusal that lasts hours costs some dozens of calls."""
    intervals = [probe_after(number) for number in range(12)]

    assert [5, 10, 20, 40] == intervals[:4]
    assert intervals == sorted(intervals)
    assert LAST_PROBE_SECONDS == intervals[-1] == 900
