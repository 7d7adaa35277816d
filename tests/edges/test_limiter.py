"""The limiter on real servers: one allowance, however many ask for it."""

from __future__ import annotations

import threading
import time

from imagejobs.limiter import Grant, Limiter, Standing, look
from tests.edges.limiter_time import passes
from tests.servers.ports import free_port


def test_places_are_evenly_spaced_and_the_first_is_free_at_once(client):
    """600 a minute is one every tenth of a second and a hair, without a burst."""
    grant = Limiter(client, "creates", per_minute=600).reserve(4, ahead_seconds=1.5)

    assert (4, 0.0, 0.1002) == (grant.places, round(grant.after_seconds, 3), round(grant.spacing_seconds, 4))


def test_only_places_within_reach_are_granted(client):
    """A second and a half of one a second: two places; the rest come again in time for the next."""
    limiter = Limiter(client, "creates", per_minute=60)
    first, second = limiter.reserve(100, ahead_seconds=1.5), limiter.reserve(1, ahead_seconds=1.5)

    assert (2, 0) == (first.places, second.places)
    assert 0 < second.after_seconds <= 0.6


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
    """As long as the provider says; whoever asks comes again when the first place behind that is within reach."""
    Limiter(client, "creates", per_minute=600).throttled(7.0)
    grant = Limiter(client, "creates", per_minute=600).reserve(1, ahead_seconds=1.5)

    assert 0 == grant.places
    assert 5.0 < grant.after_seconds <= 5.5


def test_what_went_by_unused_is_caught_up_gently(client):
    """Two seconds without anything to send: 0.4 of them are made good, a tenth faster, and no more."""
    limiter = Limiter(client, "creates", per_minute=600, catch_up_seconds=0.4)
    limiter.reserve(1, ahead_seconds=1.0)
    passes(client, 2)
    faster = [limiter.reserve(10, ahead_seconds=60.0).spacing_seconds for _ in range(5)]

    assert [0.09, 0.09, 0.09, 0.09, 0.1] == [round(one, 3) for one in faster]


def test_a_rest_is_not_caught_up(client):
    """Ten seconds without work: beginning again is no burst."""
    limiter = Limiter(client, "creates", per_minute=600, catch_up_seconds=0.4)
    limiter.reserve(1, ahead_seconds=1.0)
    passes(client, 10)

    assert 0.1002 == round(limiter.reserve(4, ahead_seconds=1.0).spacing_seconds, 4)


def test_replies_within_the_allowance_cost_no_call(client):
    """Neither while nothing is learnt, nor while no more is shown than is used."""
    limiter = Limiter(client, "creates", per_minute=600)
    limiter.reserve(1, ahead_seconds=1.0)
    limiter.hear(shown=599)
    limiter.hear(told=300)
    limiter.throttled(0.0)
    before = client.info("commandstats")["cmdstat_evalsha"]["calls"]
    for _ in range(5):
        limiter.hear(shown=299)

    assert before == client.info("commandstats")["cmdstat_evalsha"]["calls"]


def test_the_allowance_can_be_changed_while_running(client):
    """What is set in Redis wins over the setting, for every worker, at once."""
    limiter = Limiter(client, "creates", per_minute=600)
    limiter.allow(per_minute=60)

    assert 60 == Limiter(client, "creates", per_minute=600).per_minute()
    assert 1.002 == round(limiter.reserve(1, ahead_seconds=5.0).spacing_seconds, 3)

    limiter.allow(per_minute=None)
    assert 600 == limiter.per_minute()


def test_two_buckets_know_nothing_of_each_other(client):
    """Creates and other calls are limited apart, as at the provider."""
    Limiter(client, "creates", per_minute=600).throttled(60.0)

    assert 1 == Limiter(client, "calls", per_minute=3000).reserve(1, ahead_seconds=0.0).places


def test_how_it_stands_can_be_looked_at(client):
    """What is set, what was learnt, what goes by unused and what the workers wait for."""
    limiter = Limiter(client, "creates", per_minute=600)
    untouched = limiter.standing()
    limiter.waited(4.0)
    limiter.reserve(20, ahead_seconds=60.0)
    busy = limiter.standing()
    limiter.hear(told=6)
    limiter.throttled(9.0)
    passes(client, 5)
    starved = limiter.standing()

    assert Standing(allowed=600) == untouched
    assert (0.0, None) == (busy.unused_seconds, busy.learnt)
    assert 0.3 < busy.ledger_waits <= 0.4
    assert (600, 6) == (starved.allowed, round(starved.learnt or 0, 3))
    assert 3 < starved.closed_seconds <= 4
    assert 2 < (starved.unused_seconds or 0) < 60
    assert 5 <= (starved.unasked_seconds or 0) < 60
    assert starved.ledger_waits < busy.ledger_waits


def test_a_redis_that_is_away_is_looked_at_in_vain():
    """And nobody waits for it for long."""
    assert None is look(f"redis://127.0.0.1:{free_port()}", "creates", per_minute=600, within_seconds=0.5)
