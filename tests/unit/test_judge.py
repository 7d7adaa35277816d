"""The poll stage: what the provider's record means."""

from __future__ import annotations

import pytest

from imagejobs.errors import Cause
from imagejobs.job import Flight
from tests.making import a_job, a_prediction
from worker.outcomes import Canceled, Finished, GiveUp, Outcome, Retry, Wait
from worker.stages.poll import LOST_SECONDS, OVERDUE_SECONDS, Verdict, judge, runs_on

LIMIT = 1800.0


def verdict(*, now: float = 1010.0, job: dict[str, object] | None = None, **prediction: object) -> Verdict:
    """The verdict on one prediction."""
    return judge(a_job(**(job or {})), a_prediction(**prediction), now=now, limit_seconds=LIMIT)


def outcome(**prediction: object) -> Outcome:
    """What the verdict says of the job."""
    return verdict(**prediction).outcome


@pytest.mark.parametrize("status", ["starting", "processing", "queued-by-a-status-nobody-knows"])
def test_what_has_not_ended_is_waited_for(status):
    """An unknown status is neither success nor failure."""
    assert isinstance(outcome(status=status), Wait)


def test_success_hands_over_outputs_and_times():
    """The end as the provider dates it: the hour runs from there."""
    expected = Finished(output=("https://x/out-0.png",), completed_at=1005.0, predict_time_s=3.5)

    assert expected == outcome(
        status="succeeded", output=("https://x/out-0.png",), completed_at=1005.0, predict_time_s=3.5
    )


def test_success_whose_output_was_removed_is_expired_not_failed():
    """`succeeded` and null with `data_removed` means too late."""
    found = outcome(status="succeeded", output=None, data_removed=True)

    assert isinstance(found, Retry)
    assert Cause.EXPIRED is found.cause


@pytest.mark.parametrize("output", [None, ()])
def test_success_without_output_is_recorded_as_short(output):
    """Never as success, and never paid for again by itself."""
    found = outcome(status="succeeded", output=output)

    assert isinstance(found, GiveUp)
    assert Cause.SHORT is found.cause


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        ("NSFW content detected. Try running it again, or try a different prompt.", Cause.SAFETY),
        ("CUDA out of memory. Tried to allocate 2.00 GiB", Cause.INPUT),
        ("Maximum size is 1024x768 or 768x1024 pixels", Cause.INPUT),
        ("E1001: the model was killed", Cause.INPUT),
    ],
)
def test_a_failure_of_the_prompts_own_is_final(error, cause):
    """Paying again would buy the same."""
    found = outcome(status="failed", error=error)

    assert isinstance(found, GiveUp)
    assert cause is found.cause


@pytest.mark.parametrize(
    "error",
    [
        "Prediction interrupted; please retry (code: PA)",
        "Director: unexpected error handling prediction (E9828)",
        "E6716 timeout starting",
        None,
    ],
)
def test_a_stumble_of_the_providers_is_tried_again(error):
    """Eight in a hundred predictions have been seen to end so."""
    found = outcome(status="failed", error=error)

    assert isinstance(found, Retry)
    assert Cause.TRANSIENT is found.cause


def test_canceled_on_our_request_is_canceled():
    """What a person asked for."""
    assert isinstance(verdict(status="canceled", job={"cancel_requested": True}).outcome, Canceled)


def test_canceled_at_its_deadline_is_a_deadline():
    """Not somebody's doing."""
    found = outcome(status="canceled", deadline=1004.0)

    assert isinstance(found, GiveUp)
    assert Cause.DEADLINE is found.cause


def test_canceled_past_its_limit_is_a_deadline_too():
    """Where the provider knows no deadline, the cancel was ours."""
    found = verdict(status="canceled", now=1000.0 + LIMIT + OVERDUE_SECONDS + 1).outcome

    assert isinstance(found, GiveUp)
    assert Cause.DEADLINE is found.cause


def test_canceled_by_somebody_else_is_said():
    """At the provider's own page, perhaps."""
    found = outcome(status="canceled")

    assert isinstance(found, GiveUp)
    assert Cause.CANCELED is found.cause


def test_aborted_is_terminal_and_may_be_tried_again():
    """It never ran, and was not billed."""
    found = outcome(status="aborted")

    assert isinstance(found, Retry)
    assert Cause.DEADLINE is found.cause


def test_past_its_limit_a_prediction_is_cancelled_and_waited_for():
    """The provider's own deadline may be unknown to a proxy."""
    found = verdict(now=1000.0 + LIMIT + OVERDUE_SECONDS + 1)

    assert found.cancel
    assert isinstance(found.outcome, Wait)


def test_long_past_its_limit_it_has_ended_for_us():
    """Everything ends somewhere, always."""
    found = verdict(now=1000.0 + LIMIT + LOST_SECONDS + 1, status="limbo")

    assert found.cancel
    assert isinstance(found.outcome, GiveUp)
    assert Cause.DEADLINE is found.outcome.cause


def test_a_wish_to_cancel_is_passed_on_while_it_runs():
    """And only then: what has finished is paid for and kept."""
    assert verdict(job={"cancel_requested": True}).cancel
    assert not verdict(job={"cancel_requested": True}, status="succeeded", output=("u",)).cancel


@pytest.mark.parametrize("completed_at", [1010.5, 1e300])
def test_an_end_in_the_future_counts_from_now(completed_at):
    """A provider's odd clock must not make outputs look as if they were kept for ever."""
    found = outcome(status="succeeded", output=("https://x/out-0.png",), completed_at=completed_at)

    assert Finished(output=("https://x/out-0.png",), completed_at=1010.0, predict_time_s=None) == found


@pytest.mark.parametrize(
    ("status", "age_seconds", "is_unwanted", "expected"),
    [
        ("processing", 10.0, False, True),
        ("a status nobody knows", 10.0, False, True),
        ("succeeded", 10.0, False, False),
        ("aborted", 10.0, False, False),
        ("processing", 10.0, True, False),
        ("starting", LIMIT + OVERDUE_SECONDS + 1, False, False),
    ],
)
def test_what_runs_on_in_time_and_is_wanted_needs_no_decision(status, age_seconds, is_unwanted, expected):
    """Of all others the job is read, and judged."""
    facts = {"version": "v", "prediction_id": "p", "due_at": 0.0}
    flight = Flight(job_id=1, intent_at=1000.0, accepted_at=1001.0, cancel_requested=is_unwanted, **facts)

    assert expected is runs_on(flight, a_prediction(status=status), now=1000.0 + age_seconds, limit_seconds=LIMIT)
