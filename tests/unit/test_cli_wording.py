"""How figures and others' texts are shown, and how spans and moments are read."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from imagejobs.errors import Complaint
from producer.wording import counted, printable, read_moment, read_span, spoken

BERLIN = timezone(timedelta(hours=1))
EVENING = datetime(2026, 1, 31, 21, 0, tzinfo=BERLIN)


def test_text_that_steers_a_terminal_is_disarmed() -> None:
    """A provider's error text cannot clear the screen or set the title."""
    assert " [2Jgone ]0;x  end" == printable("\x1b[2Jgone\x1b]0;x\x07\nend")


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "119 min"), (11100, "3 h 05 min")]
)
def test_spans_are_spoken_in_the_unit_that_suits(seconds: float, expected: str) -> None:
    """Seconds for what is soon, minutes and hours for what is not."""
    assert expected == spoken(seconds)


@pytest.mark.parametrize(
    ("text", "expected"), [("90s", 90), ("30m", 1800), ("8h", 28800), ("2d", 172800), ("1h30m", 5400), ("0.5h", 1800)]
)
def test_spans_are_read(text: str, expected: float) -> None:
    """As people write them."""
    assert expected == read_span(text)


@pytest.mark.parametrize("text", ["", "8", "h", "8 apples", "-3h", "3h!"])
def test_what_is_no_span_is_refused_with_the_way_out(text: str) -> None:
    """A span that is half understood is not understood."""
    with pytest.raises(Complaint, match="write 90s"):
        read_span(text)


def test_a_time_of_day_is_the_next_one() -> None:
    """22:30 is today in the evening, and tomorrow once it has passed."""
    today = datetime(2026, 1, 31, 22, 30, tzinfo=BERLIN).timestamp()

    assert today == read_moment("22:30", now=EVENING)
    assert today + 86400 == read_moment("22:30", now=EVENING + timedelta(hours=2))


def test_a_moment_with_a_zone_is_that_moment() -> None:
    """ISO 8601 as everybody writes it."""
    assert EVENING.timestamp() == read_moment("2026-01-31T20:00:00+00:00", now=EVENING)


@pytest.mark.parametrize("text", ["soon", "25:00", "2026-13-01"])
def test_what_is_no_moment_is_refused_with_the_way_out(text: str) -> None:
    """Nothing is guessed about when money is spent."""
    with pytest.raises(Complaint, match="write 22:30"):
        read_moment(text, now=EVENING)


def test_counts_agree_with_their_nouns() -> None:
    """And thousands are set apart."""
    assert ["1 image", "0 images", "12 000 images"] == [counted(count, "image") for count in (1, 0, 12000)]
