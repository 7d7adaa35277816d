"""Whose jobs come next: fair shares, priorities, time windows, pauses, probes, and what becomes of lost messages."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from imagejobs import moves
from imagejobs.breaker import FIRST_PROBE_SECONDS, LAST_PROBE_SECONDS
from imagejobs.errors import Cause
from imagejobs.feed import CREDIT
from imagejobs.job import Batch
from imagejobs.ledger import Ledger
from imagejobs.states import State
from tests import desk
from tests.desk import EXPIRY, LATER, NOW, Desk
from tests.ledger_books import assert_books_balance


@pytest.fixture
def at(ledger: Ledger) -> Desk:
    """A desk of this test's own."""
    return Desk(ledger)


def shares(at: Desk, taken: list[int]) -> Counter[str]:
    """How many of these jobs are of each batch."""
    return Counter(at.read(job).batch for job in taken)


def probes(at: Desk, *, now: float) -> list[int]:
    return at.ledger.turns.take_probes(at.account, now=now, resend_at=now + 60)


def pause(at: Desk, batch: Batch, kind: str, *, now: float = NOW) -> None:
    assert at.ledger.batches.pause(batch.id, kind=kind, reason="because", now=now)


def test_equal_batches_take_turns(at: Desk):
    """And their jobs travel interleaved, so that nobody's stand behind all of another's."""
    one, other = at.batch(50), at.batch(50)
    taken = at.take(20)

    assert {one.key: 10, other.key: 10} == shares(at, taken)
    assert 5 == shares(at, taken[:10])[one.key]


def test_weight_is_a_share(at: Desk):
    """Three times the weight, three times the jobs, over many small turns too."""
    heavy, light = at.batch(100, weight=3.0), at.batch(100, weight=1.0)
    taken = [job for _ in range(8) for job in at.take(5)]

    assert {heavy.key: 30, light.key: 10} == shares(at, taken)


def test_a_higher_priority_goes_first_and_leaves_the_rest(at: Desk):
    """Places that it cannot use go to the others in the same turn."""
    low, high = at.batch(10, priority=0), at.batch(3, priority=5)

    assert {high.key: 3, low.key: 4} == shares(at, at.take(7))


def test_a_newcomer_starts_level(at: Desk):
    """What an old batch has had is not made up for: neither waits for the other."""
    old = at.batch(200)
    at.take(100)
    new = at.batch(200)

    assert {old.key: 10, new.key: 10} == shares(at, at.take(20))


def test_one_that_was_held_back_catches_up_a_little(at: Desk):
    """By CREDIT places and no more: a night's pause is not made up for at the others' cost."""
    held, rival = at.batch(3 * int(CREDIT)), at.batch(6 * int(CREDIT))
    pause(at, held, "user")
    at.take(3 * int(CREDIT))
    at.ledger.batches.resume(held.id)
    first = shares(at, at.take(int(CREDIT)))
    second = shares(at, at.take(100))

    assert int(CREDIT) - 1 <= first[held.key]
    assert abs(second[held.key] - second[rival.key]) <= 2


@pytest.mark.parametrize(
    "facts", [{"not_before": NOW + 1}, {"is_open": False}], ids=["before its time", "still being written"]
)
def test_a_batch_that_may_not_begin_is_passed_over(at: Desk, facts: dict[str, object]):
    """Its rivals get all places."""
    at.batch(5, **facts)
    other = at.batch(5)

    assert {other.key: 5} == shares(at, at.take(10))


def test_a_batch_begins_when_its_time_has_come(at: Desk):
    """Not a second earlier."""
    batch = at.batch(5, not_before=NOW + 10)

    assert [] == at.take(5, now=NOW + 9)
    assert {batch.key: 5} == shares(at, at.take(5, now=NOW + 10))


def test_a_job_that_is_put_off_waits_for_its_time(at: Desk):
    """Back-off lives in the ledger, not in a message."""
    at.batch(1)
    (job,) = at.begin()
    at.apply(moves.refused(job, cause=Cause.RATE_LIMITED, error="429", due_at=NOW + 30, counted=False))

    assert [] == at.take(now=NOW + 29)
    assert [job.id] == at.take(now=NOW + 30)


def test_nobody_is_sent_for_twice(at: Desk):
    """Until the message is overdue; then at once."""
    at.batch(3)
    first = at.take(3)

    assert 3 == at.ledger.turns.outstanding(at.account)
    assert [] == at.take(3)
    at.ledger.turns.forget_overdue(now=NOW + 59)
    assert [] == at.take(3, now=NOW + 59)
    at.ledger.turns.forget_overdue(now=NOW + 60)
    assert sorted(first) == sorted(at.take(3, now=NOW + 60))


def test_what_was_given_back_is_taken_again(at: Desk):
    """Now, or when there is room; what was claimed meanwhile is not touched."""
    at.batch(3)
    one, other, third = at.take(3)
    at.claim([third])
    at.ledger.turns.give_back([one])
    at.ledger.turns.give_back([other, third], due_at=NOW + 5)

    assert [one] == at.take(3)
    assert [other] == at.take(3, now=NOW + 5)
    assert State.SUBMITTING is at.read(third).state
    assert_books_balance(at.ledger)


@pytest.mark.parametrize("lost", ["forgotten", "overdue", "given back"])
def test_a_lost_turn_keeps_the_order(at: Desk, lost: str):
    """Rows whose message came to nothing go before those that had no turn yet: a batch is sent in its own order."""
    at.batch(5)
    first = at.take(3)
    turns = at.ledger.turns
    {
        "forgotten": lambda: turns.forget_all(now=NOW),
        "overdue": lambda: turns.forget_overdue(now=NOW + 60),
        "given back": lambda: turns.give_back(first),
    }[lost]()

    assert first == at.take(3, now=NOW + 60)
    assert sorted(first) == first < at.take(3, now=NOW + 60)


def test_a_lost_memory_forgets_messages_for_copies_too(at: Desk):
    """Whatever Redis had been told is told again, at once."""
    copy = at.job_in(State.STORING)
    waiting = at.batch(1)
    (queued,) = at.take(1)
    assert waiting.key == at.read(queued).batch
    at.ledger.turns.forget_all(now=NOW)

    assert [queued] == at.take(1)
    assert [copy.id] == at.ledger.turns.take_copies(at.account, limit=5, now=NOW, resend_at=LATER)


def test_copies_come_by_their_expiry(at: Desk):
    """The first to die is copied first; one in somebody's hands is not sent for."""
    batch = at.batch(4)
    jobs = at.begin()
    at.apply(*map(desk.accepted, jobs))
    running = [at.read(job) for job in jobs]
    at.apply(*(desk.finished(job, expires_at=EXPIRY - 100 * n) for n, job in enumerate(running)))
    at.ledger.turns.forget_all(now=NOW)
    taken = at.ledger.turns.take_copies(at.account, limit=2, now=NOW, resend_at=LATER)
    rest = at.ledger.turns.take_copies(at.account, limit=9, now=NOW, resend_at=LATER)

    assert [running[3].id, running[2].id] == taken
    assert [running[1].id, running[0].id] == rest
    assert 4 == at.again(batch).counts[State.STORING]


def test_other_accounts_are_left_alone(at: Desk):
    """Each has workers of its own."""
    stranger = Desk(at.ledger)
    stranger.batch(3)

    assert [] == at.take()
    assert 3 == len(stranger.take())
    assert 0 == at.ledger.turns.outstanding(at.account)


@pytest.mark.parametrize("kind", ["auth_billing", "breaker", "storage"])
def test_a_paused_batch_sends_one_probe_at_growing_intervals(at: Desk, kind: str):
    """And nothing else: a false refusal may last hours, and must cost four creates an hour at most."""
    batch = at.batch(30)
    pause(at, batch, kind)
    now, waits = NOW, []
    while now < NOW + 6 * LAST_PROBE_SECONDS:
        assert [] == at.take(now=now)
        if (taken := probes(at, now=now)) != []:
            (job,) = taken
            assert [job] == [one.id for one in at.claim(taken)]
            refusal = {"cause": Cause.AUTH_BILLING, "error": "402", "counted": False}
            at.apply(moves.refused(at.read(job), due_at=now, **refusal), now=now)
            waits.append(now)
        now += FIRST_PROBE_SECONDS

    gaps = [later - earlier for earlier, later in pairwise(waits)]
    assert waits[0] == NOW + FIRST_PROBE_SECONDS
    assert gaps == sorted(gaps)
    assert LAST_PROBE_SECONDS == gaps[-1]
    assert State.QUEUED is at.read(job).state


def test_messages_sent_before_a_pause_claim_nothing(at: Desk):
    """Only the probe may be claimed, whatever else arrives."""
    batch = at.batch(5)
    before = at.take(3)
    pause(at, batch, "auth_billing")
    probe = probes(at, now=NOW + FIRST_PROBE_SECONDS)

    assert [] == at.claim(before)
    assert probe == [job.id for job in at.claim([*before, *probe])]


def test_a_persons_pause_is_not_probed(at: Desk):
    """It ends when they say so."""
    batch = at.batch(3)
    pause(at, batch, "user")

    assert [] == probes(at, now=NOW + 1e6)
    assert at.ledger.batches.resume(batch.id)
    assert 3 == len(at.take())


def test_an_accepted_probe_ends_the_pause(at: Desk):
    """Everything goes on at once."""
    batch = at.batch(5)
    pause(at, batch, "auth_billing")
    (probe,) = at.claim(probes(at, now=NOW + FIRST_PROBE_SECONDS))
    at.apply(desk.accepted(probe))

    assert at.again(batch).paused is None
    assert 4 == len(at.take())


def test_copies_that_wait_for_a_store_are_probe_enough(at: Desk):
    """A create more would only be paid for."""
    batch = at.batch(3)
    (flying,) = at.begin(1)
    at.apply(desk.accepted(flying))
    at.apply(desk.finished(at.read(flying)))
    pause(at, batch, "storage")

    assert [] == probes(at, now=LATER)
    at.apply(desk.stored(at.read(flying)))
    assert at.again(batch).paused is None
