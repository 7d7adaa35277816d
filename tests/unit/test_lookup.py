"""Unknown outcomes: adopt what is there, send again only what is proven absent, count twins."""

from __future__ import annotations

from imagejobs.errors import Cause
from imagejobs.states import State
from tests.making import a_job, a_prediction
from worker.lookup import resolve
from worker.outcomes import Absent, Accepted, GiveUp

NOW = 1100.0


def unknown(**facts: object):
    """A job whose create has lost its reply."""
    return a_job(state=State.SUBMITTING, prediction_id=None, **facts)


def outcomes(jobs, predictions, known=()):
    """Just the outcomes, in the jobs' order."""
    return [outcome for _, outcome in resolve(jobs, predictions, set(known), now=NOW)]


def test_a_prediction_of_the_same_version_and_input_is_adopted():
    """The create was accepted; only its reply was lost."""
    assert [Accepted(prediction_id="p1", at=1000.5)] == outcomes([unknown()], [a_prediction()])


def test_numbers_are_compared_as_numbers():
    """A provider may echo 7.0 as 7."""
    job = unknown(input={"prompt": "x", "guidance_scale": 7.0, "seed": 5})
    found = outcomes([job], [a_prediction(input={"seed": 5.0, "prompt": "x", "guidance_scale": 7})])

    assert isinstance(found[0], Accepted)


def test_the_version_may_be_echoed_bare_or_not_at_all():
    """List items have been seen without it."""
    bare = a_job().version.partition(":")[2]

    assert isinstance(outcomes([unknown()], [a_prediction(version=bare)])[0], Accepted)
    assert isinstance(outcomes([unknown()], [a_prediction(version=None)])[0], Accepted)


def test_an_endless_nest_is_somebody_elses():
    """One odd input in the list must not keep all others from being looked up."""
    nest: dict = {}
    for _ in range(100_000):
        nest = {"a": nest}

    assert isinstance(outcomes([unknown()], [a_prediction(input=nest)])[0], Absent)


def test_another_seed_is_another_job():
    """Exactly the input, or nothing."""
    found = outcomes([unknown()], [a_prediction(input={"prompt": "a lighthouse", "seed": 6})])

    assert isinstance(found[0], Absent)
    assert found[0].is_proven


def test_another_version_is_another_job():
    """The same prompt and seed may have been sent to two models."""
    assert isinstance(outcomes([unknown()], [a_prediction(version="m/n:" + "f" * 64)])[0], Absent)


def test_a_prediction_that_an_attempt_knows_is_not_adopted_twice():
    """It belongs to a twin that did get its reply."""
    assert isinstance(outcomes([unknown()], [a_prediction()], known={"p1"})[0], Absent)


def test_twins_are_told_apart_by_count():
    """Three alike jobs, two predictions: two adopted, one sent again, none shared."""
    jobs = [unknown(id=1), unknown(id=2), unknown(id=3)]
    found = outcomes(jobs, [a_prediction(id="p1"), a_prediction(id="p2")])

    assert {"p1", "p2"} == {one.prediction_id for one in found if isinstance(one, Accepted)}
    assert 1 == sum(isinstance(one, Absent) for one in found)


def test_of_one_too_many_the_newest_are_adopted():
    """The oldest is of an attempt before, whose create was declared absent: its outputs die first."""
    jobs = [unknown(id=1), unknown(id=2)]
    made = [a_prediction(id=f"p{second}", created_at=1000.0 + second) for second in (2, 3, 1)]

    assert ["p2", "p3"] == [one.prediction_id for one in outcomes(jobs, made) if isinstance(one, Accepted)]


def test_where_inputs_are_gone_a_person_must_decide():
    """After an hour the provider forgets inputs: a prediction of that minute may be ours."""
    found = outcomes([unknown()], [a_prediction(input={}, created_at=1003.0)])

    assert isinstance(found[0], GiveUp)
    assert Cause.UNKNOWN_OUTCOME is found[0].cause


def test_an_unreadable_prediction_of_another_time_proves_nothing():
    """It cannot be the job's own."""
    assert isinstance(outcomes([unknown()], [a_prediction(input={}, created_at=5000.0)])[0], Absent)
