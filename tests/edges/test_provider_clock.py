"""Clocks that disagree: the list is asked for a moment of the provider's time, not of ours."""

from __future__ import annotations

import time

import pytest

from imagejobs.clock import SystemClock
from imagejobs.edges.provider import Provider
from imagejobs.settings import Settings
from tests.servers.sandbox import SandboxServer


class OffClock(SystemClock):
    """A machine whose clock is some seconds ahead of the provider's."""

    def __init__(self, ahead_seconds: float) -> None:
        self.ahead_seconds = ahead_seconds

    def now(self) -> float:
        """Our own idea of the time."""
        return time.time() + self.ahead_seconds


@pytest.mark.parametrize("ahead_seconds", [-300.0, 0.0, 300.0])
def test_a_prediction_of_this_minute_is_found_whatever_our_clock_says(sandbox: SandboxServer, ahead_seconds: float):
    """Absence from the list is proof: a clock five minutes off must not make a paid prediction absent."""
    clock = OffClock(ahead_seconds)
    settings = Settings.read({"REPLICATE_BASE_URL": sandbox.url, "REPLICATE_API_TOKEN": sandbox.token})
    intent_at = clock.now()
    made = sandbox.create(prompt="a lighthouse", width=128, height=128)
    page = Provider(settings, clock=clock).list(created_after=intent_at - 60)

    assert [made["id"]] == [one.id for one in page.predictions]


def test_what_was_dated_before_our_clock_was_set_back_is_found(sandbox: SandboxServer):
    """Its moment is one of the clock that was ten minutes ahead, and so is what is known of the provider's."""
    clock = OffClock(600.0)
    settings = Settings.read({"REPLICATE_BASE_URL": sandbox.url, "REPLICATE_API_TOKEN": sandbox.token})
    provider = Provider(settings, clock=clock)
    provider.list(created_after=clock.now())
    intent_at = clock.now()
    made = sandbox.create(prompt="a lighthouse", width=128, height=128)
    clock.ahead_seconds = 0.0

    assert [made["id"]] == [one.id for one in provider.list(created_after=intent_at - 60).predictions]
