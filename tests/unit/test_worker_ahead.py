"""Jobs are claimed ahead of their threads by what the latest creates took; what is taken and not used comes back."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.servers.waiting import eventually
from worker.ahead import MOST_A_THREAD, Ahead

THREADS = 3


@pytest.fixture
def ahead():
    """Of three threads, which have sent nothing yet."""
    with ThreadPoolExecutor(THREADS) as pool:
        yield Ahead(pool, THREADS)


def free(ahead: Ahead) -> int:
    with ahead.take(1000, within_seconds=0.0) as taken:
        return taken.count


@pytest.mark.parametrize(("most", "count"), [(1, 1), (2, 2), (3, 3), (16, 3)])
def test_at_first_one_for_each_thread(ahead, most, count):
    """Nobody knows yet how long a create takes."""
    with ahead.take(most, within_seconds=0.0) as taken:
        assert count == taken.count
        assert THREADS - count == free(ahead)
    assert free(ahead) == THREADS


def test_a_place_comes_back_when_its_call_has_ended(ahead):
    """Well or badly; not when whoever took it has gone on."""
    ends = threading.Event()
    with ahead.take(2, within_seconds=0.0) as taken:
        taken.submit(ends.wait)
        failed = taken.submit(lambda: 1 // 0)

    assert isinstance(failed.exception(10), ZeroDivisionError)
    eventually(lambda: free(ahead) == 2, what="the failed one's")
    ends.set()
    eventually(lambda: free(ahead) == THREADS, what="the other one's")


def test_what_is_not_needed_comes_back_at_once(ahead):
    """Of three jobs, one was claimed."""
    with ahead.take(3, within_seconds=0.0) as taken:
        taken.keep(1)
        assert free(ahead) == 2
        taken.submit(lambda: None).result(10)
    eventually(lambda: free(ahead) == THREADS, what="all of them")


def test_whoever_finds_none_waits_until_a_call_ends(ahead):
    """Or until he has waited for long enough."""
    ends = threading.Event()
    with ahead.take(3, within_seconds=0.0) as taken:
        calls = [taken.submit(ends.wait) for _ in range(3)]

    assert 0 == free(ahead)
    threading.Timer(0.1, ends.set).start()
    with ahead.take(1, within_seconds=60.0) as one:
        assert 1 == one.count
    assert all(call.result(10) for call in calls)


def test_whoever_waits_for_threads_gets_several_at_once():
    """While others have enough to do: a claim of one job costs about as much as one of a dozen."""
    ends = [threading.Event() for _ in range(MOST_A_THREAD * THREADS)]
    with ThreadPoolExecutor(len(ends)) as pool, ThreadPoolExecutor(1) as waiting:
        ahead = Ahead(pool, THREADS)
        for _ in range(40):
            ahead.took(0.01)
        with ahead.take(len(ends), within_seconds=0.0) as taken:
            calls = [taken.submit(end.wait) for end in ends]
        waits = waiting.submit(taken_within_a_minute, ahead)
        for end, call in zip(ends, calls, strict=True):
            end.set()
            call.result(10)

        assert THREADS < waits.result(10)


def test_all_who_wait_are_woken_while_threads_are_free(ahead):
    """A call that ends wakes one of them, which may leave some for the next."""
    both = threading.Barrier(2)

    def meet() -> int:
        with ahead.take(1, within_seconds=60.0) as taken:
            both.wait(timeout=20)
            return taken.count

    with ahead.take(3, within_seconds=0.0) as all_of_them, ThreadPoolExecutor(2) as waiting:
        waits = [waiting.submit(meet) for _ in range(2)]
        eventually(lambda: len(ahead._changed._waiters) == 2, what="both wait")
        all_of_them.keep(0)

        assert [1, 1] == [one.result(30) for one in waits]


def taken_within_a_minute(ahead: Ahead) -> int:
    with ahead.take(1000, within_seconds=60.0) as taken:
        return taken.count


@pytest.mark.parametrize(
    ("took", "a_thread"),
    [
        ([0.01] * 40, MOST_A_THREAD),
        ([0.5] * 40, 2),
        ([7.0] * 40, 1),
        ([0.01] * 40 + [7.0], 1),  # a slow one counts at once
        ([7.0] + [0.01] * 8, 1),  # and is not forgotten over a few quick ones
        ([7.0] + [0.01] * 40, MOST_A_THREAD),
    ],
)
def test_the_slower_creates_are_the_fewer_are_claimed_ahead(ahead, took, a_thread):
    """What the threads send in a second, at least one each, and never many."""
    for seconds in took:
        ahead.took(seconds)

    assert a_thread * THREADS - 1 <= free(ahead) <= a_thread * THREADS
