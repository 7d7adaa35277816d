"""Jobs are claimed ahead of their threads by what the latest calls took; what was taken and not used comes back."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from worker.threads import Threads


@pytest.fixture
def threads():
    """Three of them, which have made no call yet."""
    with ThreadPoolExecutor(3) as pool:
        yield Threads(pool, 3)


def taken(threads: Threads, most: int) -> int:
    with threads.take(most) as some:
        return some.count


@pytest.mark.parametrize(("most", "count"), [(1, 1), (2, 2), (3, 3), (16, 3)])
def test_at_first_one_for_each_thread(threads, most, count):
    """Nobody knows yet how long a call takes."""
    assert [count, count] == [taken(threads, most), taken(threads, most)]


def test_a_place_is_free_again_when_its_call_has_ended(threads):
    """Not when whoever took it has gone on, and not before."""
    ends = threading.Event()
    with threads.take(2) as some:
        calls = [some.submit(ends.wait) for _ in range(2)]

    assert 1 == taken(threads, 3)
    ends.set()
    assert [True, True] == [call.result(10) for call in calls]
    with threads.take(1), threads.take(1), threads.take(1) as last:
        assert 1 == last.count


def test_a_call_that_fails_frees_its_place(threads):
    """As one that ends well."""
    with threads.take(3) as some:
        failed = [some.submit(lambda: 1 // 0) for _ in range(3)]

    assert all(isinstance(call.exception(10), ZeroDivisionError) for call in failed)
    assert 1 == taken(threads, 1)


def test_whoever_finds_none_waits(threads):
    """Until a call ends."""
    ends, waited = threading.Event(), []
    with threads.take(3) as some:
        calls = [some.submit(ends.wait) for _ in range(3)]
    waiter = threading.Thread(target=lambda: waited.append(taken(threads, 1)))
    waiter.start()
    waiter.join(0.1)

    assert [] == waited
    ends.set()
    waiter.join(10)
    assert [1] == waited
    assert all(call.result(10) for call in calls)


def test_quick_calls_are_taken_further_ahead(threads):
    """As many as the threads make in a second, and one for each when they take longer again."""
    with threads.take(3) as some:
        for _ in range(3):
            some.submit(lambda: None).result(10)
    after_three = taken(threads, 1000)
    for _ in range(40):
        with threads.take(1) as one:
            one.submit(lambda: None).result(10)
    with threads.take(1000) as many:
        quick = many.count
        slow = [many.submit(threading.Event().wait, 1.5) for _ in range(9)]
    assert all(call.result(30) is False for call in slow)

    assert 3 < after_three < 100 < quick
    assert taken(threads, 1000) == 3
