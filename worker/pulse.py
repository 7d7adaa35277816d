"""A clock and nothing else: the thread in every worker that sends `poll` and `tend` when they are due.

For the whole fleet there is at most one of each at a time: a Redis key with a time-out is the due time. Whoever finds
it gone sets it (for as long as a lost message may go unnoticed) and sends the message; the sweep that runs sets it
anew, to when the next one makes sense. Flushed, the keys are gone, and so both are due: nothing to recover. A worker
that connects, be it for the first time or after a loss, cannot know what became of messages: it has all sent anew.

When nothing is unfinished, both sweeps rest for long. Whoever brings work sends a `tend`, which then rests for as long
as it does with work at hand, and that rouses the other one.
"""

from __future__ import annotations

import math
import random
import threading
import time
from typing import Any

import structlog
from celery import bootsteps

from imagejobs.queues import BROKER_ERRORS, POLL, TEND, Broker
from worker.backoff import Dice
from worker.planning import NOTHING

UNHEARD_SECONDS = 15.0  # a sweep's message without an end to it: another is sent, after so long or up to a third less
SHORTEST_SECONDS, LONG_SECONDS = 0.1, 2.0  # how long the clock sleeps
LONGEST_SECONDS = 20.0  # … when nothing is unfinished; for so long does house-keeping rest then
POLL_LONGEST_SECONDS = 60.0  # and this the other one, which house-keeping rouses
RESTS, RESTS_LONG = "rests", "rests long"

log = structlog.get_logger("imagejobs.pulse")


class Pulse:
    """The due times of the sweeps, in Redis, and this process's clock."""

    def __init__(self, broker: Broker, *, dice: Dice = random.random) -> None:
        self._broker = broker
        self._dice = dice
        self._changed = threading.Condition()
        self._wake_at = 0.0  # monotonic
        self._is_over = False

    def tick(self) -> float:
        """Send what is due. Returns the seconds until something may be due again."""
        pipe = self._broker.redis.pipeline(transaction=False)
        for sweep in (POLL, TEND):
            pipe.set(self._key(sweep), "sent", nx=True, get=True, px=self._unheard_ms())
            pipe.pttl(self._key(sweep))
        poll_was, poll_ms, tend_was, tend_ms = pipe.execute()
        for sweep, was in ((POLL, poll_was), (TEND, tend_was)):
            if was is None:
                self._nudge(sweep)
        at_most = LONGEST_SECONDS if poll_was == tend_was == RESTS_LONG else LONG_SECONDS
        return float(min(at_most, max(SHORTEST_SECONDS, min(poll_ms, tend_ms) / 1000)))

    def _unheard_ms(self) -> int:
        """Unlike each time: in step with something that loses every so many messages, the same would be lost again."""
        return int(UNHEARD_SECONDS * (2 + self._dice()) / 3 * 1000)

    def _nudge(self, sweep: str) -> None:
        try:
            self._broker.nudge(sweep)
        except BROKER_ERRORS:
            self._broker.redis.delete(self._key(sweep))  # else nobody would send another for UNHEARD_SECONDS
            raise

    def wake(self) -> None:
        """Redis can be heard again: what was sent before may be lost, so everything is due now."""
        try:
            self._broker.redis.delete(*map(self._key, (POLL, TEND)))
            self._broker.doubt()
        except BROKER_ERRORS as error:  # it went away again: the next connection wakes us
            log.warning("broker_away", error=type(error).__name__)
        with self._changed:
            self._wake_at = 0.0
            self._changed.notify()

    def rest(self, sweep: str, seconds: float) -> None:
        """The sweep has run here; the next one is due in `seconds`, or when there is work again."""
        has_work = seconds != NOTHING
        if not has_work:
            seconds = LONGEST_SECONDS if sweep == TEND else POLL_LONGEST_SECONDS
        pipe = self._broker.redis.pipeline(transaction=False)
        pipe.set(self._key(sweep), RESTS if has_work else RESTS_LONG, px=max(1, int(seconds * 1000)))
        if sweep == TEND and has_work:
            pipe.get(self._key(POLL))
        if pipe.execute()[1:] == [RESTS_LONG]:
            self._broker.redis.delete(self._key(POLL))
            seconds = 0.0
        with self._changed:
            self._wake_at = min(self._wake_at, time.monotonic() + seconds)
            self._changed.notify()

    def run(self) -> None:
        """Tick until `stop`; while Redis is away, keep trying."""
        while self._wait():
            try:
                seconds = self.tick()
            except BROKER_ERRORS as error:
                log.warning("broker_away", error=type(error).__name__)
                seconds = LONG_SECONDS
            except Exception:  # the clock must not stop, whatever is wrong: a stopped one is a queue that says nothing
                log.exception("pulse_failed")
                seconds = LONG_SECONDS
            with self._changed:  # a sweep that has rested meanwhile may want an earlier look
                self._wake_at = min(self._wake_at, time.monotonic() + seconds)

    def _wait(self) -> bool:
        with self._changed:
            while not self._is_over and (left := self._wake_at - time.monotonic()) > 0:
                self._changed.wait(left)
            self._wake_at = math.inf
            return not self._is_over

    def stop(self) -> None:
        """No more ticks."""
        with self._changed:
            self._is_over = True
            self._changed.notify()

    def _key(self, sweep: str) -> str:
        return f"{self._broker.prefix}due:{sweep}"


def step(pulse: Pulse) -> type[bootsteps.StartStopStep]:
    """The worker's boot step that runs the clock in a thread: it survives reconnects, which a timer may not."""

    class Ticking(bootsteps.StartStopStep):  # type: ignore[misc] # celery ships no types
        """Ticks from the pool's start until the worker stops."""

        requires = {"celery.worker.components:Pool"}  # noqa: RUF012 - celery's own way to say it

        def start(self, _worker: Any) -> None:
            """Start the clock."""
            threading.Thread(target=pulse.run, name="pulse", daemon=True).start()

        def stop(self, _worker: Any) -> None:
            """Stop it, before the pool stops."""
            pulse.stop()

        terminate = stop

    return Ticking
