"""When a sweep looks at what, and how long sweeps and house-keeping rest: against the stand-in provider."""

from __future__ import annotations

import pytest

from imagejobs.states import State
from producer.allowance import change
from tests.edges.desk import Desk
from tests.servers.waiting import eventually
from worker.outcomes import Accepted, Wait
from worker.planning import NOTHING, next_look
from worker.stages.record import SURELY_READABLE_SECONDS
from worker.sweeper import AGAIN_SECONDS, BROKEN_LISTS, CALM_SECONDS, FIRST_LOOK_SECONDS, SOON_SECONDS, Sweeper
from worker.tender import BUSY_SECONDS, Tender
from worker.tender import CALM_SECONDS as TENDER_CALM_SECONDS


def test_one_that_the_list_is_not_read_on_for_waits_for_its_single_look(desk: Desk):
    """A hundred newer ones fill the page: to read that again and again would show nothing."""
    job = desk.claim(ago_seconds=30.0)
    prediction = desk.create(job)
    for _ in range(100):
        desk.services.provider.create(version=job.version, input={"prompt": "another's"}, cancel_after_seconds=600)
    desk.services.write([(job, Accepted(prediction_id=prediction.id, at=desk.services.clock.now()))])
    desk.services.write([(desk.job(), Wait(after_seconds=3.0))])
    seconds = Sweeper(desk.services).run()

    assert 1.0 < seconds == pytest.approx(desk.job().due_at - desk.services.clock.now(), abs=0.5)
    assert (1, 0) == (desk.sandbox.stats()["lists"], desk.sandbox.stats()["arrived"].get("get", 0))


def test_with_a_batch_that_is_not_finished_the_next_look_is_near(desk: Desk):
    """Its jobs may run at any moment; of a paused one, when somebody resumes it."""
    sweeper, ledger = Sweeper(desk.services), desk.services.ledger

    assert SOON_SECONDS == sweeper.run()

    (batch,) = ledger.batches.all()
    ledger.batches.pause(batch.id, kind="user", reason="wait", now=desk.services.clock.now())

    assert CALM_SECONDS == sweeper.run()


def test_with_jobs_to_send_house_keeping_is_soon_back(desk: Desk):
    """Also when nothing was to be done this time: what was sent for ahead does not last for long."""
    tender = Tender(desk.services)
    tender.run()

    assert BUSY_SECONDS == tender.run()

    (batch,) = desk.services.ledger.batches.all()
    desk.services.ledger.batches.pause(batch.id, kind="user", reason="wait", now=desk.services.clock.now())

    assert TENDER_CALM_SECONDS == tender.run()


def test_with_nothing_unfinished_the_sweep_rests_until_somebody_brings_work(desk: Desk):
    """House-keeping as well, once it has closed the batch."""
    ledger, now, tender = desk.services.ledger, desk.services.clock.now(), Tender(desk.services)
    with_work = tender.run()
    ledger.steering.cancel_queued(1, now=now)
    (batch,) = ledger.batches.all()
    assert ledger.batches.finish_closing(batch, now=now)
    without = tender.run()

    assert (BUSY_SECONDS, NOTHING, NOTHING) == (with_work, without, Sweeper(desk.services).run())


def test_a_prediction_that_the_list_shows_running_may_be_looked_at_singly_at_once(desk: Desk):
    """It may have ended by the next sweep, and newer ones have pushed it off the pages that are read."""
    job = desk.claim(ago_seconds=120.0)
    accepted = Accepted(prediction_id=desk.create(job).id, at=desk.services.clock.now())
    desk.services.write([(job, accepted)])
    desk.services.write([(desk.job(), Wait(after_seconds=-60.0))])
    due_at = desk.job().due_at
    Sweeper(desk.services).run()

    assert (State.RUNNING, due_at) == (desk.job().state, desk.job().due_at)


def test_a_few_that_the_list_does_not_show_are_looked_at_before_it_has_settled(desk: Desk):
    """It is not read on for so few of them, and they may have ended."""
    desk.hide()
    desk.accept(accepted_ago=FIRST_LOOK_SECONDS)
    Sweeper(desk.services).run()

    assert (State.RUNNING, 1) == (desk.job().state, desk.sandbox.stats()["gets"])


def test_while_no_list_can_be_read_the_next_looks_are_near(desk: Desk):
    """As where there is none: they go through what runs by a few a sweep, and outputs live for an hour."""
    desk.sandbox.faults([{"on": "list", "kind": "status", "status": 403}])
    desk.accept(accepted_ago=60.0)
    sweeper = Sweeper(desk.services)
    for _ in range(BROKEN_LISTS):
        seconds = sweeper.run()

    assert AGAIN_SECONDS == seconds
    assert desk.sandbox.stats()["gets"] > 0


def test_a_list_that_our_own_allowance_forbids_is_not_hurried(desk: Desk):
    """Of sixty calls a minute a quarter is for sweeps: one of a single call rests four seconds."""
    change(desk.services.broker, desk.services.settings, {"calls": 60.0})
    desk.accept(accepted_ago=60.0)
    desk.services.calls.throttled(600.0)
    sweeper = Sweeper(desk.services)

    assert all(sweeper.run() > 3.0 for _ in range(BROKEN_LISTS + 1))


def test_no_single_look_is_spent_on_what_has_just_begun(desk: Desk):
    """Nobody knows yet how long they take, and its create may have waited for its turn for seconds."""
    desk.hide()
    desk.accept(claimed_ago=FIRST_LOOK_SECONDS + 3.0)
    accepted_before = desk.services.clock.now()
    Sweeper(desk.services).run()
    gets = desk.sandbox.stats()["gets"]

    assert gets == 0 or desk.services.clock.now() > accepted_before + FIRST_LOOK_SECONDS


@pytest.mark.parametrize(
    ("claimed_ago", "accepted_ago"),
    [
        pytest.param(SURELY_READABLE_SECONDS + 1.0, FIRST_LOOK_SECONDS, id="the reply was long in coming"),
        pytest.param(FIRST_LOOK_SECONDS, 600.0, id="the provider's clock is behind"),
    ],
)
def test_one_that_the_provider_does_not_know_yet_is_looked_at_again_soon(
    desk: Desk, claimed_ago: float, accepted_ago: float
):
    """An id that has just been given may not be readable everywhere; it is not paid for again."""
    desk.hide({"on": "get", "kind": "status", "status": 404, "count": 1})
    desk.accept(claimed_ago=claimed_ago, accepted_ago=accepted_ago)
    began = desk.services.clock.now()
    Sweeper(desk.services).run()
    job = desk.job()

    assert (State.RUNNING, 1, 1) == (job.state, job.attempt, desk.sandbox.stats()["arrived"]["get"])
    assert next_look(age_seconds=FIRST_LOOK_SECONDS, earliest_seconds=1.0) <= job.due_at - began
    assert job.due_at < began + 10.0  # by its age, not by that of its intent


def test_a_quick_one_that_the_list_does_not_show_is_looked_at_as_soon_as_it_may_have_ended(quick_desk: Desk):
    """The last few of a batch would else be waited for as long as if nobody knew."""
    desk, sweeper = quick_desk, Sweeper(quick_desk.services)
    first = desk.accept(1)
    eventually(lambda: desk.services.provider.get(first).is_final, what="the first ends")
    sweeper.run()
    assert State.STORING is desk.job(1).state

    desk.hide()
    second = desk.accept(2)
    eventually(lambda: desk.services.provider.get(second).is_final, what="the second ends")
    sweeper.run()
    intent_at = desk.job(2).intent_at

    assert intent_at is not None
    assert State.STORING is desk.job(2).state or desk.services.clock.now() > intent_at + FIRST_LOOK_SECONDS


def test_a_quick_one_that_runs_on_is_looked_at_again_soon(quick_desk: Desk):
    """A second later, as with slower ones, would be as long as several of them take."""
    desk, sweeper = quick_desk, Sweeper(quick_desk.services)
    first = desk.accept(1)
    eventually(lambda: desk.services.provider.get(first).is_final, what="the first ends")
    sweeper.run()
    desk.sandbox.faults([{"on": "create", "kind": "slow_run", "seconds": 600.0}])
    desk.accept(2)
    desk.hide()
    looked_at = eventually(lambda: _looked(desk, sweeper), what="it is looked at")

    assert State.RUNNING is desk.job(2).state
    assert 0.0 < desk.job(2).due_at - looked_at < 1.0


def _looked(desk: Desk, sweeper: Sweeper) -> float | None:
    """When a sweep began that looked at one singly."""
    before, began = desk.sandbox.stats()["gets"], desk.services.clock.now()
    sweeper.run()
    return began if desk.sandbox.stats()["gets"] > before else None
