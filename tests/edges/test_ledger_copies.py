"""The ledger's side of copying: what dies first is copied first, and how near that is can be seen."""

from __future__ import annotations

import random

import pytest

from imagejobs.ledger import Ledger
from imagejobs.moves import look_again
from imagejobs.states import State
from tests.desk import LATER, NOW, Desk, accepted, finished


@pytest.fixture
def desk(ledger: Ledger) -> Desk:
    """An account of this test's own."""
    return Desk(ledger)


def test_copies_that_are_due_are_sent_for_in_the_order_of_their_expiry(desk: Desk):
    """Whatever order they finished in, and however long the provider keeps each."""
    desk.batch(40)
    jobs = desk.begin()
    desk.apply(*map(accepted, jobs))
    order = random.Random(3).sample(range(40), 40)
    running = [desk.read(job) for job in jobs]
    desk.apply(*(finished(job, expires_at=LATER + 10 * place) for job, place in zip(running, order, strict=True)))
    due = desk.ledger.turns.take_copies(desk.account, limit=30, now=LATER, resend_at=LATER + 60)

    assert list(range(30)) == [order[[job.id for job in jobs].index(job_id)] for job_id in due]


def test_a_copy_that_was_put_off_comes_back_at_its_place(desk: Desk):
    """A store that refuses does not send the oldest output to the end."""
    first, second = desk.job_in(State.STORING), desk.job_in(State.STORING)
    desk.ledger.jobs.claim_copies([first.id], account=desk.account, lease_until=LATER)
    desk.apply(look_again(first, due_at=NOW + 1, copy_failed=True, error="SlowDown"))
    due = desk.ledger.turns.take_copies(desk.account, limit=9, now=LATER, resend_at=LATER + 60)

    assert [first.id, second.id] == due


def test_the_batch_tells_when_its_first_output_dies(desk: Desk):
    """Of those that wait to be copied; nothing when none does."""
    job = desk.job_in(State.RUNNING)
    before = desk.batch_of(job).nearest_expiry
    desk.apply(finished(job, expires_at=4321.0))

    assert (None, 4321.0) == (before, desk.batch_of(job).nearest_expiry)
    assert 4321.0 in [batch.nearest_expiry for batch in desk.ledger.batches.all()]


def test_a_few_outputs_that_cannot_be_had_are_no_backlog(desk: Desk):
    """They wait out their hour; submitting must not stop for it."""
    desk.batch(5)
    jobs = desk.begin()
    desk.apply(*map(accepted, jobs))
    desk.apply(*(finished(desk.read(job), expires_at=3000.0 + job.id) for job in jobs))
    seen = [desk.ledger.views.backlog_expiry(desk.account, leave_out=left_out) for left_out in (0, 3, 5)]

    assert [3000.0 + jobs[0].id, 3000.0 + jobs[3].id, None] == seen


def test_copies_that_have_failed_are_counted_with_what_they_were_told(desk: Desk):
    """Only the account's own, and only those that still wait."""
    none = desk.ledger.views.copies(desk.account)
    waiting, failing = desk.job_in(State.STORING), desk.job_in(State.STORING)
    desk.job_in(State.SUCCEEDED)
    desk.apply(look_again(failing, due_at=NOW + 1, copy_failed=True, error="SlowDown"))
    desk.apply(look_again(waiting, due_at=NOW + 1))

    assert (0, 0, None) == none
    assert (2, 1, "SlowDown") == desk.ledger.views.copies(desk.account)
