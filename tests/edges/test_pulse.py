"""The pulse's due times, on a real Redis: one sweep at a time, and a long rest that work ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from imagejobs.queues import POLL, TEND, Broker
from tests.servers.waiting import eventually
from worker.planning import NOTHING
from worker.pulse import LONG_SECONDS, LONGEST_SECONDS, Pulse


@pytest.fixture
def broker(redis_url: str) -> Iterator[Broker]:
    """The door to a Redis of the test's own."""
    with closing(Broker(redis_url, account="pulse")) as broker:
        yield broker


def sent(broker: Broker) -> tuple[int, int]:
    """How many messages wait for each sweep."""
    return broker.redis.llen(broker.prefix + POLL), broker.redis.llen(broker.prefix + TEND)


def test_of_many_clocks_one_sends(broker: Broker):
    """Whoever finds a sweep due first; the others leave it to that one."""
    for _ in range(3):
        Pulse(broker).tick()

    assert (1, 1) == sent(broker)


def test_what_nobody_was_heard_of_is_sent_again_after_unlike_times(broker: Broker):
    """Always the same, it could keep in step with something that loses every tenth message, and be the tenth."""
    waits = []
    for throw in (0.0, 0.5, 0.999):
        Pulse(broker, dice=lambda throw=throw: throw).tick()
        waits += [broker.redis.pttl(f"{broker.prefix}due:{sweep}") / 1000 for sweep in (POLL, TEND)]
        broker.redis.flushdb()

    assert [10, 10, 12.5, 12.5, 15, 15] == pytest.approx(waits, abs=1)


def test_a_sweep_that_rests_is_not_sent_for(broker: Broker):
    """The clock looks often all the same: there is work, and another process may end in the middle of it."""
    pulse = Pulse(broker)
    pulse.rest(POLL, 20.0)
    pulse.rest(TEND, 20.0)

    assert LONG_SECONDS == pulse.tick()
    assert (0, 0) == sent(broker)


def test_without_work_both_rest_for_long(broker: Broker):
    """And so does the clock."""
    pulse = Pulse(broker)
    pulse.rest(POLL, NOTHING)
    pulse.rest(TEND, NOTHING)

    assert LONGEST_SECONDS - 5 < pulse.tick() <= LONGEST_SECONDS
    assert (0, 0) == sent(broker)


def test_house_keeping_with_work_at_hand_rouses_the_other_sweep(broker: Broker):
    """Its own message was sent by whoever brought the work."""
    pulse = Pulse(broker)
    pulse.rest(POLL, NOTHING)
    pulse.rest(TEND, 5.0)
    pulse.tick()

    assert (1, 0) == sent(broker)


class NotedPulse(Pulse):
    """Tells when its clock has looked."""

    def __init__(self, broker: Broker) -> None:
        super().__init__(broker)
        self.has_looked = threading.Event()

    def tick(self) -> float:
        seconds = super().tick()
        self.has_looked.set()
        return seconds


def test_a_clock_at_long_rest_looks_at_once_when_the_other_sweep_is_roused(broker: Broker):
    """Else the first predictions of a batch would be looked for when house-keeping is due again, or the clock wakes."""
    pulse = NotedPulse(broker)
    pulse.rest(POLL, NOTHING)
    pulse.rest(TEND, NOTHING)
    clock = threading.Thread(target=pulse.run)
    clock.start()
    try:
        assert pulse.has_looked.wait(10)
        pulse.rest(TEND, 15.0)
        eventually(lambda: (1, 0) == sent(broker), timeout_seconds=5, what="the sweep is sent for")
    finally:
        pulse.stop()
        clock.join(30)


def test_a_sweep_that_was_planned_is_not_roused(broker: Broker):
    """It rests for as long as makes sense with what runs now."""
    pulse = Pulse(broker)
    pulse.rest(POLL, 20.0)
    pulse.rest(TEND, 5.0)
    pulse.tick()

    assert (0, 0) == sent(broker)
