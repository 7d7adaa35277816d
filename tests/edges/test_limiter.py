"""The limiter on real servers: one allowance, however many ask for it."""

from __future__ import annotations

import threading
import time

import pytest
import redis

from imagejobs.limiter import Grant, Limiter, Standing, look
from tests.servers.ports import free_port


@pytest.fixture
def client(redis_engines: str) -> redis.Redis:
    """A client on an empty database."""
    with redis.Redis.from_url(redis_engines, decode_responses=True) as client:
        yield client


def passes(client: redis.Redis, seconds: float) -> None:
    """So much time, as the limiter sees it: all that it remembers is longer ago."""
    for name, value in client.hgetall("creates").items():
        if name.endswith(("_at", "_until")):
            client.hset("creates", name, str(float(value) - seconds))


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


def test_a_burst_of_429s_is_one_lesson(client):
    """Ten workers that are refused in one breath must not bring the rate down to nothing."""
    limiter = Limiter(client, "creates", per_minute=600)
    for _ in range(10):
        limiter.throttled(0.0)

    assert 400 < limiter.per_minute() <= 420.1


def test_a_429_that_names_the_rate_is_believed(client):
    """A starved account: no guessing, and the next place is a whole period behind the reopening."""
    limiter = Limiter(client, "creates", per_minute=600)
    limiter.hear(told=6)
    limiter.throttled(1.0)

    assert 6 == round(limiter.per_minute(), 3)
    assert 10 == round(limiter.reserve(2, ahead_seconds=60.0).spacing_seconds, 1)


def test_a_refused_call_gives_its_place_back(client):
    """A starved account's next place is where the provider says, not a whole period behind the refusal."""
    limiter = Limiter(client, "creates", per_minute=6)
    limiter.reserve(1, ahead_seconds=1.0)
    limiter.throttled(1.0)

    assert 1 == limiter.reserve(1, ahead_seconds=1.5).places


def test_a_429_that_names_a_higher_rate_than_ours_lowers_it_all_the_same(client):
    """Another program uses the account too: what the provider grants both is no allowance of ours."""
    limiter = Limiter(client, "creates", per_minute=600)
    limiter.hear(told=6000)
    limiter.throttled(1.0)

    assert 420 == round(limiter.per_minute())


def test_what_was_accepted_between_two_429s_is_what_is_allowed(client):
    """No words and no headers: 39 of 40 were accepted in eight seconds."""
    limiter = Limiter(client, "creates", per_minute=600)
    limiter.throttled(0.0)
    limiter.reserve(40, ahead_seconds=60.0)
    passes(client, 8)
    limiter.throttled(0.0)

    assert 39 / 8 * 60 == pytest.approx(limiter.per_minute(), rel=0.01)


def test_places_that_went_back_were_not_accepted(client):
    """Else a doubled message would count as proof of a higher rate."""
    limiter = Limiter(client, "creates", per_minute=600)
    limiter.throttled(0.0)
    grant = limiter.reserve(40, ahead_seconds=60.0)
    limiter.give_back(grant, 20)
    passes(client, 8)
    limiter.throttled(0.0)

    assert 19 / 8 * 60 == pytest.approx(limiter.per_minute(), rel=0.01)


def test_silence_is_never_taken_for_no_allowance_at_all(client):
    """However many 429s there are, three creates a minute are tried."""
    limiter = Limiter(client, "creates", per_minute=600)
    for _ in range(20):
        limiter.throttled(0.0)
        passes(client, 10)

    assert 3 == round(limiter.per_minute(), 3)


def test_without_headers_the_rate_climbs_until_the_lesson_is_forgotten(client):
    """A raised limit is found within ten seconds: slow at first, then steep, then all."""
    limiter = Limiter(client, "creates", per_minute=600)
    limiter.hear(told=300)
    limiter.throttled(0.0)
    rates = []
    for _ in range(4):
        passes(client, 2)
        limiter.reserve(1, ahead_seconds=60.0)
        rates.append(limiter.per_minute())

    assert rates == sorted(rates)
    assert 300 < rates[0] < 305
    assert 330 < rates[2] < 450
    assert 600 == rates[3]


def test_a_slow_account_is_tried_rarely(client):
    """A 429 a period would cost a starved account half of what it has: a minute after one, nothing has changed much."""
    limiter = Limiter(client, "creates", per_minute=600)
    limiter.hear(told=6)
    limiter.throttled(0.0)
    passes(client, 60)
    limiter.reserve(1, ahead_seconds=60.0)

    assert 6 < limiter.per_minute() < 7


def test_what_the_headers_show_lifts_the_rate_at_once_and_no_guess_does(client):
    """The places that are reserved already move up: the next one is not a starved account's ten seconds off."""
    limiter = Limiter(client, "creates", per_minute=600)
    limiter.hear(told=6)
    limiter.throttled(0.0)
    passes(client, 4)
    limiter.reserve(1, ahead_seconds=1.0)
    limiter.hear(shown=5.88)
    before = limiter.reserve(1, ahead_seconds=1.0)
    passes(client, 1)
    limiter.hear(shown=300)
    after = limiter.reserve(2, ahead_seconds=1.0)

    assert (0, 2) == (before.places, after.places)
    assert 300 == round(limiter.per_minute())

    passes(client, 8)
    limiter.hear(shown=300)
    limiter.reserve(1, ahead_seconds=60.0)
    assert 300 == round(limiter.per_minute())


def test_headers_of_before_a_429_are_not_believed(client):
    """Replies that were on their way when the limit was lowered."""
    limiter = Limiter(client, "creates", per_minute=600)
    limiter.hear(told=300)
    limiter.throttled(0.0)
    limiter.hear(shown=599)

    assert 300 == round(limiter.per_minute())


def test_headers_that_show_the_setting_end_the_lesson(client):
    """After a storm of 429s, the first create that is accepted brings everything back."""
    limiter = Limiter(client, "creates", per_minute=600)
    limiter.throttled(0.0)
    passes(client, 4)
    limiter.hear(shown=599)
    limiter.reserve(1, ahead_seconds=60.0)

    assert 600 == limiter.per_minute()


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
