"""Settle: the one place that turns outcomes into moves."""

from __future__ import annotations

import pytest

from imagejobs.errors import Cause
from imagejobs.moves import Look, Move
from imagejobs.states import State
from tests.making import a_job, an_image
from worker.outcomes import (
    Absent,
    Accepted,
    Answered,
    Canceled,
    Finished,
    GiveUp,
    Held,
    Outcome,
    Retry,
    Stored,
    Unknown,
    Unsent,
    Wait,
)
from worker.settle import LOST_CREATES, Policy, Settlement, settle

POLICY = Policy(max_tries=4, keep_seconds=3600, settle_seconds=10)
NOW = 2000.0


def settled(outcome: Outcome, **job: object) -> Settlement:
    """The settlement of one outcome, with dice that always show one half."""
    return settle(a_job(**job), outcome, policy=POLICY, now=NOW, dice=lambda: 0.5)


def moved(outcome: Outcome, **job: object) -> Move:
    """The move of one outcome."""
    change = settled(outcome, **job).change
    assert isinstance(change, Move)
    return change


def looked(outcome: Outcome, **job: object) -> Look:
    """The look of one outcome: no transition."""
    change = settled(outcome, **job).change
    assert isinstance(change, Look)
    return change


SUBMITTING = {"state": State.SUBMITTING}
STORING = {"state": State.STORING, "output": ("https://x/out-0.png",), "expires_at": 9000.0}


def test_an_accepted_create_keeps_the_prediction_id():
    """The id is what a crash must not lose."""
    move = moved(Accepted(prediction_id="p9", at=1999.0), **SUBMITTING)

    assert (State.RUNNING, "p9") == (move.target, move.record["prediction_id"])


@pytest.mark.parametrize(
    ("at", "accepted_at"),
    [
        (NOW - 1.0, NOW - 1.0),
        (NOW + 60.0, NOW),  # else it is looked at late
        (NOW - 600.0, NOW - 5.0),  # else a first "not found" is taken for "deleted", and it is paid for again
    ],
)
def test_a_create_is_accepted_between_its_intent_and_now(at, accepted_at):
    """Its age is counted from there, and the clock of a provider that tells of one it accepted may be off."""
    move = moved(Accepted(prediction_id="p9", at=at), intent_at=NOW - 5.0, **SUBMITTING)

    assert accepted_at == move.record["accepted_at"]


def test_an_answer_with_images_goes_straight_to_storing():
    """A proxy's images are final at once, and their clock runs from now."""
    move = moved(Answered(output=("data:x",)), **SUBMITTING)

    assert (State.STORING, ["data:x"], NOW + 3600) == (move.target, move.record["output"], move.record["expires_at"])


def test_a_finished_prediction_expires_an_hour_after_its_end():
    """Not after we noticed."""
    move = moved(Finished(output=("u",), completed_at=1500.0, predict_time_s=2.0))

    assert (State.STORING, 5100.0, True) == (move.target, move.record["expires_at"], move.hinted)


def test_stored_images_succeed_and_the_addresses_are_forgotten():
    """An address that was copied is of no use to anybody."""
    move = moved(Stored(images=(an_image(),)), **STORING)

    assert (State.SUCCEEDED, None, 1) == (move.target, move.record["output"], len(move.images))


def test_not_yet_is_no_transition_and_burns_nothing():
    """A running prediction is just looked at again."""
    look = looked(Wait(after_seconds=30.0))

    assert (State.RUNNING, NOW + 30, False) == (look.state, look.due_at, look.copy_failed)


@pytest.mark.parametrize(("tries_left", "kept"), [(1, 1), (2, 0)])
def test_images_that_came_are_kept_where_nothing_is_generated_again(tries_left, kept):
    """Else the next attempt brings them all."""
    retry = Retry(cause=Cause.EXPIRED, error="deleted", images=(an_image(),))

    assert kept == len(moved(retry, tries_left=tries_left, **STORING).images)


@pytest.mark.parametrize("cause", [Cause.RATE_LIMITED, Cause.AUTH_BILLING])
def test_being_told_to_wait_counts_no_try(cause):
    """Neither 429 nor a refusal of the account is the job's failure."""
    move = moved(Retry(cause=cause, error="wait", after_seconds=5.0), **SUBMITTING, tries_left=1)

    assert (State.QUEUED, False, NOW + 5) == (move.target, move.counted, move.due_at)


def test_a_failed_prediction_is_generated_again_and_counted():
    """That was paid for, and so is the next."""
    move = moved(Retry(cause=Cause.TRANSIENT, error="Director: unexpected error"))

    assert (State.QUEUED, True, "transient") == (move.target, move.counted, move.why)


def test_the_last_try_fails_with_the_providers_words():
    """A job does not go round for ever."""
    move = moved(Retry(cause=Cause.TRANSIENT, error="E9828"), tries_left=1)

    assert (State.FAILED, Cause.TRANSIENT, "E9828") == (move.target, move.cause, move.error)


def test_an_expired_output_is_paid_for_again_only_while_tries_are_left():
    """After a retry that was promised to be free, one try is left, and it is used up."""
    assert State.QUEUED is moved(Retry(cause=Cause.EXPIRED, error="gone"), **STORING).target
    assert State.FAILED is moved(Retry(cause=Cause.EXPIRED, error="gone"), **STORING, tries_left=1).target


def test_what_was_deleted_is_not_offered_as_a_free_copy_again():
    """Else a retry would promise it, and fail, until the hour that the ledger knows of is over."""
    move = moved(Retry(cause=Cause.EXPIRED, error="gone"), **STORING, tries_left=1)

    assert (State.FAILED, None) == (move.target, move.record["output"])


def test_giving_up_keeps_the_images_that_came():
    """Three of four are three more than none."""
    outcome = GiveUp(cause=Cause.SAFETY, error="3 of 4", images=(an_image(), an_image(index=2)), is_copied=True)
    move = moved(outcome, **STORING)

    assert (State.FAILED, 2, None) == (move.target, len(move.images), move.record["output"])


def test_giving_up_on_a_copy_keeps_the_address_for_a_free_retry():
    """`retry` copies again for free while the provider keeps the output."""
    assert "output" not in moved(GiveUp(cause=Cause.DOWNLOAD, error="cut off"), **STORING).record


def test_an_unsent_create_counts_nothing_anywhere():
    """Nothing left this machine: no try, no create."""
    move = moved(Unsent(error="refused", after_seconds=4.0), **SUBMITTING)

    assert (State.QUEUED, False, "not_sent") == (move.target, move.counted, move.record["outcome"])


def test_an_unknown_outcome_stays_and_is_looked_up_after_the_list_has_settled():
    """It is never guessed."""
    look = looked(Unknown(error="reset"), **SUBMITTING)

    assert (State.SUBMITTING, NOW + 10) == (look.state, look.due_at)


def test_proven_absence_queues_again_without_a_count():
    """Nothing was paid."""
    move = moved(Absent(error="lost", is_proven=True), **SUBMITTING)

    assert (State.QUEUED, False, "absent") == (move.target, move.counted, move.record["outcome"])


def test_assumed_absence_is_counted_as_a_possible_double_payment():
    """The owner's choice, and its cost is shown."""
    move = moved(Absent(error="lost", is_proven=False), **SUBMITTING)

    assert (State.QUEUED, 1) == (move.target, move.record["possible_double_payment"])


def test_a_spec_whose_every_create_gets_lost_ends():
    """Not even free retries go on for ever."""
    move = moved(Absent(error="lost", is_proven=True), **SUBMITTING, attempt=LOST_CREATES)

    assert (State.FAILED, Cause.TRANSIENT) == (move.target, move.cause)


def test_a_refused_account_pauses_the_batch_and_burns_nothing():
    """A false 402 must cost nothing but time."""
    settlement = settled(Held(cause=Cause.AUTH_BILLING, reason="402 Insufficient credit"), **SUBMITTING)

    assert settlement.pause is not None
    assert ("auth_billing", "402 Insufficient credit") == (settlement.pause.kind, settlement.pause.reason)
    assert isinstance(settlement.change, Move)
    assert (State.QUEUED, False) == (settlement.change.target, settlement.change.counted)


def test_a_refusing_store_pauses_and_the_copy_is_tried_again():
    """The images still wait at the provider."""
    settlement = settled(Held(cause=Cause.STORAGE, reason="AccessDenied"), **STORING)

    assert settlement.pause is not None
    assert isinstance(settlement.change, Look)
    assert ("storage", True) == (settlement.pause.kind, settlement.change.copy_failed)


def test_a_confirmed_cancel_is_final():
    """What a person asked for."""
    assert State.CANCELED is moved(Canceled()).target
