"""What 429s, and the headers of replies, teach the limiter of the real allowance; on real servers."""

from __future__ import annotations

import pytest

from imagejobs.limiter import Limiter
from tests.edges.limiter_time import passes


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


def test_a_burst_of_429s_is_one_lesson(client):
    """Ten workers that are refused in one breath must not bring the rate down to nothing."""
    limiter = Limiter(client, "creates", per_minute=600)
    for _ in range(10):
        limiter.throttled(0.0)

    assert 400 < limiter.per_minute() <= 420.1
