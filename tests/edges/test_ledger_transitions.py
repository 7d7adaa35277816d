"""The transition table, held against the ledger: what it allows is granted and counted, all else is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest
from sqlalchemy import update

from imagejobs import moves
from imagejobs.errors import Cause
from imagejobs.job import Job, Selection
from imagejobs.ledger import Ledger
from imagejobs.ledger.tables import batches, jobs
from imagejobs.moves import Look, Move
from imagejobs.states import TRANSITIONS, State
from tests import desk
from tests.desk import EXPIRY, NOW, Desk, only
from tests.ledger_books import assert_books_balance


def _answered(job: Job) -> Move:
    return moves.answered(job, output=["data:,"], at=NOW, expires_at=EXPIRY, resend_at=NOW + 60)


def _refused(job: Job) -> Move:
    return moves.refused(job, cause=Cause.TRANSIENT, error="503", due_at=NOW, counted=True)


def _again(job: Job) -> Move:
    return moves.generate_again(job, cause=Cause.TRANSIENT, error="E1", due_at=NOW)


# Every transition that one job makes by a move of a worker's.
MOVES: dict[tuple[State, State], Callable[[Job], Move]] = {
    (State.QUEUED, State.CANCELED): desk.canceled,
    (State.QUEUED, State.FAILED): desk.failed,
    (State.SUBMITTING, State.RUNNING): desk.accepted,
    (State.SUBMITTING, State.STORING): _answered,
    (State.SUBMITTING, State.QUEUED): _refused,
    (State.SUBMITTING, State.FAILED): desk.failed,
    (State.SUBMITTING, State.CANCELED): desk.canceled,
    (State.RUNNING, State.STORING): desk.finished,
    (State.RUNNING, State.QUEUED): _again,
    (State.RUNNING, State.FAILED): desk.failed,
    (State.RUNNING, State.CANCELED): desk.canceled,
    (State.STORING, State.SUCCEEDED): desk.stored,
    (State.STORING, State.QUEUED): _again,
    (State.STORING, State.FAILED): desk.failed,
}
STEERED = [(source, target) for source in (State.FAILED, State.CANCELED) for target in (State.QUEUED, State.STORING)]
CLAIM = (State.QUEUED, State.SUBMITTING)

WRONG = [(pair, state) for pair, state in product(MOVES, State) if state is not pair[0]]


def named(pair: tuple[State, State]) -> str:
    """How pytest shows a transition."""
    return f"{pair[0]}-{pair[1]}"


def named_wrong(case: tuple[tuple[State, State], State]) -> str:
    """How pytest shows a transition from a state that is not its own."""
    return f"{named(case[0])} from {case[1]}"


@pytest.fixture
def at(ledger: Ledger) -> Desk:
    """A desk of this test's own."""
    return Desk(ledger)


def test_every_transition_of_the_table_is_tried_here():
    """A transition that is added to the table must be added to these tests."""
    table = {(source, target) for source, targets in TRANSITIONS.items() for target in targets}

    assert table == {*MOVES, *STEERED, CLAIM}


@pytest.mark.parametrize("pair", MOVES, ids=named)
def test_an_allowed_move_is_granted_and_counted(at: Desk, pair: tuple[State, State]):
    """The job stands where it was moved to, and so do the batch's counts."""
    source, target = pair
    job = at.job_in(source)
    assert 1 == at.batch_of(job).counts[source]

    granted = at.apply(MOVES[pair](job))

    assert [(source, target)] == [(move.source, move.target) for move in granted]
    assert target is at.read(job).state
    assert {target: 1} == {state: count for state, count in at.batch_of(job).counts.items() if count}
    assert_books_balance(at.ledger)


@pytest.mark.parametrize("case", WRONG, ids=named_wrong)
def test_a_move_from_another_state_is_refused(at: Desk, case: tuple[tuple[State, State], State]):
    """A late or forged decision changes nothing: not the job, not its attempt, not a counter."""
    pair, state = case
    job = at.job_in(state)
    before = at.row(job), at.attempts(job), at.batch_of(job)

    granted = at.apply(MOVES[pair](replace(job, state=pair[0], attempt=job.attempt)))

    assert [] == granted
    assert before == (at.row(job), at.attempts(job), at.batch_of(job))


@pytest.mark.parametrize("age", [-1, 1])
@pytest.mark.parametrize("pair", MOVES, ids=named)
def test_a_move_of_another_attempt_is_refused(at: Desk, pair: tuple[State, State], age: int):
    """What an earlier create brings in late, in the right state, is not this create's."""
    job = at.job_in(pair[0])
    before = at.row(job), at.attempts(job), at.batch_of(job)

    granted = at.apply(MOVES[pair](replace(job, attempt=job.attempt + age)))

    assert [] == granted
    assert before == (at.row(job), at.attempts(job), at.batch_of(job))


@pytest.mark.parametrize("state", sorted(set(State) - {State.QUEUED}), ids=str)
def test_only_a_queued_job_is_claimed(at: Desk, state: State):
    """A doubled message finds the job where the first one has left it."""
    job = at.job_in(state)
    before = at.row(job), at.attempts(job)

    assert [] == at.claim([job.id])
    assert before == (at.row(job), at.attempts(job))


@pytest.mark.parametrize("state", sorted(set(State) - {State.STORING}), ids=str)
def test_only_a_storing_job_is_leased_for_copying(at: Desk, state: State):
    """Whatever the message says."""
    job = at.job_in(state)
    before = at.row(job)

    assert [] == at.ledger.jobs.claim_copies([job.id], account=at.account, lease_until=NOW + 90)
    assert before == at.row(job)


@pytest.mark.parametrize("source", [State.FAILED, State.CANCELED], ids=str)
def test_a_retry_generates_again_and_counts(at: Desk, source: State):
    """Where nothing is left at the provider."""
    job = at.job_in(source)

    done = at.ledger.steering.retry(job.batch_id, only(job), max_tries=4, now=NOW)

    assert ((0, 1), State.QUEUED) == (done, at.read(job).state)
    assert_books_balance(at.ledger)


@pytest.mark.parametrize("source", [State.FAILED, State.CANCELED], ids=str)
def test_a_retry_copies_again_and_counts(at: Desk, source: State):
    """Where the outputs are still at the provider, it is free."""
    job = at.job_in(State.STORING)
    at.apply(desk.failed(job, cause=Cause.STORAGE))
    if source is State.CANCELED:
        with at.ledger.database.write() as connection:
            # No move cancels a job that was finished; a retry obeys the table all the same.
            connection.execute(update(jobs).where(jobs.c.id == job.id).values(state="canceled"))
            connection.execute(update(batches).where(batches.c.id == job.batch_id).values(failed=0, canceled=1))

    done = at.ledger.steering.retry(job.batch_id, only(job, source), max_tries=4, now=NOW)

    assert ((1, 0), State.STORING) == (done, at.read(job).state)
    assert_books_balance(at.ledger)


@pytest.mark.parametrize(
    ("source", "state"),
    [(source, state) for source, state in product((State.FAILED, State.CANCELED), State) if source is not state],
    ids=str,
)
def test_a_retry_leaves_jobs_of_other_states_alone(at: Desk, source: State, state: State):
    """Succeeded jobs above all: they would be paid for again."""
    job = at.job_in(state)
    before = at.row(job), at.attempts(job)

    assert (0, 0) == at.ledger.steering.retry(job.batch_id, only(job, source), max_tries=4, now=NOW)
    assert before == (at.row(job), at.attempts(job))


@pytest.mark.parametrize("state", sorted(set(State) - {State.QUEUED}), ids=str)
def test_a_cancel_ends_queued_jobs_only(at: Desk, state: State):
    """What is in flight was paid for; what is final stays as it is."""
    job = at.job_in(state)

    assert 0 == at.ledger.steering.cancel_queued(job.batch_id, now=NOW)
    assert state is at.read(job).state
    assert_books_balance(at.ledger)


def test_a_free_copy_is_not_paid_for_by_an_older_decision(at: Desk):
    """A worker that read the job before it failed and was retried must not spend the try of the retry's free copy."""
    before = at.job_in(State.STORING)
    at.apply(desk.failed(before, cause=Cause.DOWNLOAD))
    assert (1, 0) == at.ledger.steering.retry(before.batch_id, only(at.read(before)), max_tries=4, now=NOW)

    assert [] == at.apply(_again(before))
    assert (State.STORING, 1) == (at.read(before).state, at.read(before).tries_left)


# The other moves of the pairs above, and what is no transition but obeys the same guard.
OTHERS: dict[str, tuple[State, Callable[[Job], Move | Look]]] = {
    "not sent": (
        State.SUBMITTING,
        lambda job: moves.not_sent(job, cause=Cause.TRANSIENT, error="no route", due_at=NOW),
    ),
    "proven absent": (State.SUBMITTING, lambda job: moves.proven_absent(job, error="not there", due_at=NOW)),
    "assumed absent": (State.SUBMITTING, lambda job: moves.assumed_absent(job, due_at=NOW)),
    **{
        f"a look at {state}": (state, lambda job: moves.look_again(job, due_at=NOW + 5, error="odd"))
        for state in (State.SUBMITTING, State.RUNNING, State.STORING)
    },
}


@pytest.mark.parametrize("state", sorted(State), ids=str)
@pytest.mark.parametrize("name", OTHERS)
def test_every_other_move_is_granted_where_it_starts_and_nowhere_else(at: Desk, name: str, state: State):
    """From the right state, in the right attempt: else it changes nothing."""
    source, move = OTHERS[name]
    job = at.job_in(state)
    before = at.row(job), at.attempts(job), at.batch_of(job)
    for age in (-1, 1):
        assert [] == at.apply(move(replace(job, state=source, attempt=job.attempt + age)))
    if state is not source:
        assert [] == at.apply(move(replace(job, state=source)))
    assert before == (at.row(job), at.attempts(job), at.batch_of(job))
    if state is source:
        at.apply(move(job))
        assert before[0] != at.row(job)
    assert_books_balance(at.ledger)


@pytest.mark.parametrize("state", sorted(State), ids=str)
def test_an_orphan_is_adopted_by_a_queued_job_in_its_attempt_only(at: Desk, state: State):
    """Any other job has moved on, and has a prediction of its own or wants none."""
    job = at.job_in(state)
    before = at.row(job), at.attempts(job)
    facts = {"prediction_id": f"orphan-{job.id}", "now": NOW, "look_at": NOW}
    for age in (-1, 1):
        assert not at.ledger.strays.adopt(replace(job, attempt=job.attempt + age), **facts)
    assert before == (at.row(job), at.attempts(job))

    assert (state is State.QUEUED) is at.ledger.strays.adopt(job, **facts)
    assert_books_balance(at.ledger)


def test_another_accounts_workers_claim_nothing(at: Desk):
    """Neither creates nor copies, whatever their messages name."""
    stranger = Desk(at.ledger)
    queued, storing = at.job_in(State.QUEUED), at.job_in(State.STORING)

    assert [] == stranger.claim([queued.id])
    assert [] == at.ledger.jobs.claim_copies([storing.id], account=stranger.account, lease_until=NOW + 90)
    assert [queued.id] == [job.id for job in at.claim([queued.id])]


def test_one_attempt_is_one_possible_double_payment(at: Desk):
    """However often its job is retried: what is counted twice would not be the attempts' own sum any more."""
    batch = at.batch(rows=1)
    (job,) = at.begin()
    for _ in range(2):
        at.apply(moves.gave_up(at.read(job), cause=Cause.UNKNOWN_OUTCOME, error="no list", at=NOW))
        assert (0, 1) == at.ledger.steering.retry(batch.id, Selection(), max_tries=4, now=NOW)

    assert 1 == at.again(batch).possible_double_payments
    assert_books_balance(at.ledger)


def test_a_part_of_a_set_replaces_that_part_of_the_one_before(at: Desk):
    """The rest still lies in the store under its own names; a whole set replaces all."""
    job, seen = at.job_in(State.STORING, outputs=3), []
    for count in (2, 1, 3):
        come = desk.images_of(job)[:count]
        short = moves.gave_up(job, cause=Cause.SHORT, error="short", at=NOW, images=come, is_copied=True)
        at.apply(moves.stored(job, images=come) if count == job.outputs else short)
        rows = at.ledger.views.image_rows(job.batch_id)
        seen.append((at.batch_of(job).images, [(row["index"], row["attempt"]) for row in rows]))
        assert_books_balance(at.ledger)
        if at.ledger.steering.retry(job.batch_id, Selection(), max_tries=4, now=NOW) == (0, 1):
            (job,) = at.begin(1)
            for move in (desk.accepted, desk.finished):
                at.apply(move(at.read(job)))
            job = at.read(job)

    assert [(2, [(0, 1), (1, 1)]), (2, [(0, 2), (1, 1)]), (3, [(0, 3), (1, 3), (2, 3)])] == seen
