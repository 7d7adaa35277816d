"""What `python -m ops.bench changes` calls used."""

from __future__ import annotations

import pytest

from ops.bench.changes import used


def test_who_keeps_the_pace_has_used_all():
    """Whatever the first ten seconds were like."""
    assert pytest.approx(1.0) == used([105, *range(108, 160)], began=100, per_second=1)


def test_a_slow_account_is_judged_from_create_to_create():
    """Six a minute: what lies before the first and behind the last says nothing."""
    assert pytest.approx(1.0) == used([101, 107, 117, 127, 137], began=100, per_second=0.1)


def test_standing_still_is_not_excused():
    """Thirty creates in the minute since the last one within the grace; and none at all."""
    assert pytest.approx(0.5) == used([110, *range(141, 171)], began=100, per_second=1)
    assert 0.0 == used([99, 101], began=100, per_second=1)
