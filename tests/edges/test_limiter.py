"""The limiter on real servers: one allowance, however many ask for it."""

from __future__ import annotations

import threading
import time

import pytest
import redis

from imagejobs.limiter import Grant, Limiter
from tests.servers.waiting import eventually


@pytest.fixture
def client(redis_engines: str) -> redis.Redis:
    """A client on an empty database."""
    with redis.Redis.from_url(redis_engines, decode_responses=True) as client:
        yield client


def test_places_are_evenly_spaced_and_the_first_is_free_at_once(client):
    """600 a minute is one every tenth of a second and a hair, without a burst."""
    grant = Limiter(client, "creates", per_minute=600).reserve(4, ahead_seconds=1.5)

    assert (4, 0.0, 0.101) == (grant.places, round(grant.after_seconds, 3), round(grant.spacing_seconds, 3))


def test_only_places_within_reach_are_granted(client):
    """A second and a half of ten a second, a hair slower: fifteen places; the rest must come again."""
    limiter = Limiter(client, "creates", per_minute=600)
    first, second = limiter.reserve(100, ahead_seconds=1.5), limiter.reserve(1, ahead_seconds=1.5)

    assert (15, 0) == (first.places, second.places)
    assert 0 < second.after_seconds <= 1.6


def test_many_workers_share_one_allowance(client):
    """Eight threads take all the places of the next two seconds: together they get the allowance and no more."""
    granted: list[int] = []

    def ask() -> None:
        limiter = Limiter(client, "creates", per_minute=6000)
        while (grant := limiter.reserve(3, ahead_seconds=2.0)).places:
            granted.append(grant.places)

    began = time.monotonic()
    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.monotonic() - began

    assert 199 <= sum(granted) <= 100 * (2 + took) + 1


def test_unused_places_go_back(client):
    """A doubled message claims nothing: its places are not lost."""
    limiter = Limiter(client, "creates", per_minute=60)
    grant = limiter.reserve(2, ahead_seconds=5.0)
    limiter.give_back(grant, 2)

    assert limiter.reserve(1, ahead_seconds=0.1).places == 1


def test_no_limit_grants_everything(client):
    """0 a minute means unlimited."""
    expected = Grant(places=500, after_seconds=0.0, spacing_seconds=0.0)

    assert expected == Limiter(client, "creates", per_minute=0).reserve(500, ahead_seconds=0.0)


def test_a_429_closes_the_bucket_for_everybody(client):
    """As long as the provider says."""
    Limiter(client, "creates", per_minute=600).throttled(7.0)
    grant = Limiter(client, "creates", per_minute=600).reserve(1, ahead_seconds=1.5)

    assert 0 == grant.places
    assert 6.5 < grant.after_seconds <= 7.0


def test_a_burst_of_429s_is_one_lesson(client):
    """Ten workers that are refused in one breath must not bring the rate down to nothing."""
    limiter = Limiter(client, "creates", per_minute=600)
    for _ in range(10):
        limiter.throttled(0.0)

    assert 400 < limiter.per_minute() <= 420.1


def test_the_rate_comes_back(client):
    """A fiftieth of the full rate a second; at last the lesson is forgotten."""
    limiter = Limiter(client, "creates", per_minute=60_000)
    limiter.throttled(0.0)
    before = limiter.per_minute()
    eventually(lambda: limiter.reserve(1, ahead_seconds=60.0).places and limiter.per_minute() > before + 500)


def test_the_allowance_can_be_changed_while_running(client):
    """What is set in Redis wins over the setting, for every worker, at once."""
    limiter = Limiter(client, "creates", per_minute=600)
    limiter.allow(per_minute=60)

    assert 60 == Limiter(client, "creates", per_minute=600).per_minute()
    assert 1.005 == round(limiter.reserve(1, ahead_seconds=5.0).spacing_seconds, 3)

    limiter.allow(per_minute=None)
    assert 600 == limiter.per_minute()


def test_two_buckets_know_nothing_of_each_other(client):
    """Creates and other calls are limited apart, as at the provider."""
    Limiter(client, "creates", per_minute=600).throttled(60.0)

    assert 1 == Limiter(client, "calls", per_minute=3000).reserve(1, ahead_seconds=0.0).places
