"""Creates that nobody heard of, against the stand-in provider: what was lost is looked up, what is too much ended."""

from __future__ import annotations

from dataclasses import replace

import pytest

from imagejobs.errors import Cause, Transient
from imagejobs.job import Job
from imagejobs.states import State
from tests.edges.desk import Desk
from worker.calls import Calls
from worker.lookup import UNREAD_SECONDS
from worker.outcomes import Accepted, Unknown, Wait
from worker.sweeper import Sweeper
from worker.tender import LOOK_UP, Tender


def another(desk: Desk) -> None:
    """A prediction that is nobody's here."""
    desk.services.provider.create(version=desk.job().version, input={"prompt": "another's"}, cancel_after_seconds=600)


def test_a_create_answered_too_late_is_adopted_while_its_job_waits(desk: Desk):
    """It was paid for, so it is used."""
    late = desk.create(desk.lose())
    desk.strays.take_late(desk.job(), late)

    assert (State.RUNNING, late.id, 0) == (desk.job().state, desk.job().prediction_id, desk.orphans())


def test_a_create_answered_too_late_is_cancelled_and_counted_where_its_job_has_another(desk: Desk):
    """Once, however often it is met."""
    late = desk.create(desk.lose())
    second = desk.claim()
    desk.services.write([(second, Accepted(prediction_id=desk.create(second).id, at=desk.services.clock.now()))])
    for _ in range(2):
        desk.strays.take_late(desk.job(), late)

    assert (State.RUNNING, 1) == (desk.job().state, desk.orphans())
    assert "canceled" == desk.services.provider.get(late.id).status


def test_a_cancel_that_did_not_get_through_is_asked_for_again(desk: Desk):
    """An orphan that runs on is seen in the next list."""
    late = desk.create(desk.lose())
    second = desk.claim()
    desk.services.write([(second, Accepted(prediction_id=desk.create(second).id, at=desk.services.clock.now()))])
    desk.sandbox.faults([{"on": "cancel", "kind": "status", "status": 503, "count": 1}])
    desk.strays.take_late(desk.job(), late)
    before = desk.services.provider.get(late.id).status
    Sweeper(desk.services).run()

    assert ("starting", "canceled", 1) == (before, desk.services.provider.get(late.id).status, desk.orphans())


def unheard(desk: Desk, number: int, *, ago_seconds: float) -> Job:
    """A create whose reply was lost so long ago; it is due to be looked up."""
    job = desk.claim(number, ago_seconds=ago_seconds)
    desk.services.write([(job, Unknown(error="no reply"))])
    desk.services.write([(desk.job(number), Wait(after_seconds=-1.0))])
    return job


@pytest.mark.parametrize(("failing_for", "state"), [(UNREAD_SECONDS, State.FAILED), (60.0, State.SUBMITTING)])
def test_what_a_list_never_tells_is_given_up_after_an_hour_of_that(desk: Desk, failing_for: float, state: State):
    """By then it would show no inputs any more. One failure after a long sleep gives up nothing."""
    unheard(desk, 1, ago_seconds=UNREAD_SECONDS + 1.0)
    unheard(desk, 2, ago_seconds=60.0)
    desk.sandbox.faults([{"on": "list", "kind": "status", "status": 502}])
    desk.services.broker.lasts(LOOK_UP, now=desk.services.clock.now() - failing_for - 1.0)
    Tender(desk.services).look_up()
    old, young = desk.services.ledger.views.job_rows(1)

    assert [state, State.SUBMITTING] == [old["state"], young["state"]]
    assert (old["cause"] == Cause.UNKNOWN_OUTCOME) is (state is State.FAILED)


def test_a_list_that_was_read_since_fails_anew(desk: Desk):
    """The hour begins with the first of the failures that follow."""
    unheard(desk, 1, ago_seconds=UNREAD_SECONDS + 1.0)
    desk.services.broker.lasts(LOOK_UP, now=desk.services.clock.now() - UNREAD_SECONDS - 1.0)
    desk.create(desk.job(1))
    Tender(desk.services).look_up()
    before = desk.services.clock.now()

    assert State.RUNNING == desk.job(1).state
    assert before <= desk.services.broker.lasts(LOOK_UP, now=before)


def test_what_the_readable_pages_show_is_adopted(desk: Desk):
    """Only absence takes the whole list: whoever stands on a page that was read is there."""
    for number in (1, 2):
        unheard(desk, number, ago_seconds=120.0)
    made = desk.create(desk.job(1))
    desk.sandbox.faults([{"on": "list", "kind": "list_circle"}])
    Tender(desk.services).look_up()
    found = [desk.job(number) for number in (1, 2)]

    assert [State.RUNNING, State.SUBMITTING] == sorted(job.state for job in found)
    assert {made.id, None} == {job.prediction_id for job in found}


def test_a_429_to_a_cancel_is_heard(desk: Desk):
    """By all who call, for as long as it says."""
    running = desk.create(desk.claim())
    told = {"Retry-After": "30"}
    desk.sandbox.faults([{"on": "cancel", "kind": "status", "status": 429, "headers": told}])
    Calls(desk.services).cancel(running.id)

    assert desk.services.calls.reserve(1, ahead_seconds=1.0).after_seconds > 20.0


@pytest.mark.parametrize("who", ["sweep", "look-up"])
def test_a_list_that_goes_round_is_left(desk: Desk, who: str):
    """A proxy that drops the query shows its first page for ever; what it does not show is not taken for absent."""
    unheard(desk, 1, ago_seconds=120.0)
    another(desk)
    desk.sandbox.faults([{"on": "list", "kind": "list_circle"}])
    if who == "sweep":
        desk.lose(2)
        Sweeper(desk.services).run()
    else:
        Tender(desk.services).look_up()

    assert State.SUBMITTING == desk.job(1).state
    assert 1 < desk.sandbox.stats()["lists"] < 4


def test_a_list_that_goes_round_is_left_also_while_it_grows(desk: Desk):
    """Each new prediction moves the first page's end, and so its cursor."""
    for _ in range(3):
        another(desk)
    desk.sandbox.faults([{"on": "list", "kind": "list_circle"}])
    since = desk.services.clock.now() - 60.0
    with pytest.raises(Transient):
        for _ in Calls(desk.services).pages(since, has_place=lambda: True):
            another(desk)

    assert desk.sandbox.stats()["lists"] < 4


def test_the_sweep_looks_for_orphans_though_nothing_runs(desk: Desk):
    """A batch may have ended otherwise long before."""
    late = desk.create(desk.lose())
    Sweeper(desk.services).run()

    assert (State.RUNNING, late.id) == (desk.job().state, desk.job().prediction_id)


def test_the_twin_that_waits_gets_what_the_other_has_too_much(desk: Desk):
    """Equal version and input: it does not matter whose create it was."""
    late = desk.create(desk.lose())
    second = desk.claim()
    desk.services.write([(second, Accepted(prediction_id=desk.create(second).id, at=desk.services.clock.now()))])
    desk.lose(2)
    Sweeper(desk.services).run()

    assert (late.id, 0) == (desk.job(2).prediction_id, desk.orphans())


def test_a_create_on_its_way_is_no_orphan(desk: Desk):
    """Its twin was lost before; what the list shows may be the answer that this one still waits for."""
    desk.lose()
    first = desk.claim()
    desk.services.write([(first, Accepted(prediction_id=desk.create(first).id, at=desk.services.clock.now()))])
    on_its_way = desk.create(desk.claim(2))
    Sweeper(desk.services).run()

    assert (State.SUBMITTING, 0) == (desk.job(2).state, desk.orphans())
    assert desk.services.provider.get(on_its_way.id).status in ("starting", "processing")


def test_where_nothing_was_lost_nothing_is_searched(desk: Desk):
    """No list call without a reason."""
    Sweeper(desk.services).run()

    assert 0 == desk.sandbox.stats()["lists"]


PAGE_AND_MORE = 120  # predictions: the list has a hundred on a page


def lose_replies(desk: Desk, *, accepted: int) -> None:
    """Two creates by a process that did not live to hear the answer, on top of many others; both are due."""
    other = replace(desk.job(), input={**desk.job().input, "prompt": "another"})
    for _ in range(PAGE_AND_MORE):
        desk.create(other)
    jobs = [desk.claim(number, ago_seconds=120.0) for number in (1, 2)]
    for job in jobs[:accepted]:
        desk.create(job)


def test_a_look_up_reads_on_until_all_are_found(desk: Desk):
    """They stand on the first page, and what is older is nobody's business."""
    lose_replies(desk, accepted=2)

    assert (2, 1) == (Tender(desk.services).look_up(), desk.sandbox.stats()["lists"])
    assert [State.RUNNING] * 2 == [desk.job(number).state for number in (1, 2)]
    assert desk.job(1).prediction_id != desk.job(2).prediction_id


def test_absence_is_proven_by_the_whole_list(desk: Desk):
    """One of the twins is not there: every page is read before its create is sent again."""
    lose_replies(desk, accepted=1)

    assert (2, 2) == (Tender(desk.services).look_up(), desk.sandbox.stats()["lists"])
    assert {State.RUNNING, State.QUEUED} == {desk.job(number).state for number in (1, 2)}


def test_one_process_looks_up_at_a_time(desk: Desk):
    """Workers that start together would each read the whole list."""
    lose_replies(desk, accepted=2)
    broker, tender = desk.services.broker, Tender(desk.services)
    taken = broker.lease(LOOK_UP, seconds=60)
    meanwhile = tender.look_up(), desk.sandbox.stats()["lists"]
    broker.release(LOOK_UP)

    assert (True, (0, 0), 2) == (taken, meanwhile, tender.look_up())
    assert broker.lease(LOOK_UP, seconds=60)  # given back


def test_a_look_up_that_fails_gives_its_turn_back(desk: Desk):
    """The next round tries again, at whichever process it is."""
    lose_replies(desk, accepted=2)
    desk.sandbox.faults([{"on": "list", "kind": "status", "status": 503, "count": 1}])
    tender = Tender(desk.services)

    assert (0, 2) == (tender.look_up(), tender.look_up())
