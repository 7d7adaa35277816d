"""Celery's consumer, made to come back soon after an outage of Redis, and then to take nothing for granted.

Left to itself it asks for a lost server after 2, 4, 6 … up to 30 seconds: a server that was away for half a minute
would be back for most of another before anybody noticed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from celery import bootsteps
from celery.worker.consumer import Consumer

RECONNECT_SECONDS = 1.0  # between two tries to connect: one packet a worker


class PromptConsumer(Consumer):  # type: ignore[misc] # celery ships no types
    """Tries to reconnect every second, and leaves behind what it had in hand on the connection that broke."""

    def on_connection_error_after_connected(self, exc: BaseException) -> None:
        """Close the connection, but do not put back what came by it: the ledger has it all sent anew.

        kombu would put it back over that very network, in a loop that knows no pause while replies are cut short.
        """
        for channel in self.connection.transport.channels:
            channel.do_restore = False
        self.hub.on_tick.clear()  # kombu leaves one callback a connection behind, and runs them all at every turn
        super().on_connection_error_after_connected(exc)

    def ensure_connected(self, conn: Any) -> Any:
        """Wait for a connection; celery passes on no setting for how long to wait between two tries."""
        every_second = {"interval_start": RECONNECT_SECONDS, "interval_step": 0.0, "interval_max": RECONNECT_SECONDS}
        conn.ensure_connection = partial(conn.ensure_connection, **every_second)
        return super().ensure_connected(conn)


def step(connected: Callable[[], None]) -> type[bootsteps.StartStopStep]:
    """The consumer's boot step that calls `connected` at each connection, the first and every later one."""

    class Connected(bootsteps.StartStopStep):  # type: ignore[misc] # celery ships no types
        """Runs once the queues are being consumed."""

        requires = {"celery.worker.consumer.tasks:Tasks"}  # noqa: RUF012 - celery's own way to say it

        def start(self, _consumer: Any) -> None:
            """Consuming begins, or begins again."""
            connected()

    return Connected
