"""A copy that outlasts its lease: over a slow line, the same process begins no second one beside it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from imagejobs.edges.store import Store
from imagejobs.queues import STORE
from imagejobs.states import State
from tests.edges.desk import Desk
from tests.servers.waiting import eventually
from worker.messages import acts
from worker.sweeper import Sweeper


class _SlowLine:
    """A store that takes nothing before it is told to."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.begun = 0
        self.goes = threading.Event()

    def put(self, key: str, data: bytes, **facts: Any) -> str:
        self.begun += 1
        assert self.goes.wait(30)
        return self._store.put(key, data, **facts)


def _with_an_output(desk: Desk) -> Desk:
    """Its first job waits to be copied."""
    desk.accept()
    sweeper = Sweeper(desk.services)
    eventually(lambda: sweeper.run() and desk.job().state is State.STORING, timeout_seconds=30, what="an output")
    return desk


@contextmanager
def _copying(desk: Desk) -> Iterator[tuple[_SlowLine, Callable[[], None]]]:
    """A line, and a process at the other end of which somebody sends for the first job's copy."""
    line = _SlowLine(desk.services.store)
    services = replace(desk.services, copier=replace(desk.services.copier, store=line))
    act = acts(services, threads=4, rested=lambda *_: None, is_leaving=lambda: False)[STORE]

    def send() -> None:
        now = services.clock.now() + 1000.0  # whoever has it in hand, its lease is over
        services.ledger.turns.take_copies(services.account, limit=10, now=now, resend_at=now)
        act([1])

    try:
        yield line, send
    finally:
        line.goes.set()


def test_a_copy_that_outlasts_its_lease_is_not_begun_again(quick_desk: Desk) -> None:
    """It goes on, under a new lease. Once it has ended, a message finds nothing left to do."""
    desk = _with_an_output(quick_desk)
    with _copying(desk) as (line, send), ThreadPoolExecutor(1) as thread:
        first = thread.submit(send)
        eventually(lambda: line.begun == 1, timeout_seconds=30, what="the copy is under way")
        send()

        assert (1, False) == (line.begun, first.done())
        line.goes.set()
        first.result(30)
        send()
    assert (1, State.SUCCEEDED) == (line.begun, desk.job().state)


def test_a_copy_that_failed_is_begun_again(quick_desk: Desk) -> None:
    """What is in hand is let go, however it ends."""
    desk = _with_an_output(quick_desk)
    desk.sandbox.faults([{"on": "file", "kind": "status", "status": 503, "count": 1}])
    with _copying(desk) as (line, send):
        line.goes.set()
        send()
        assert (0, State.STORING) == (line.begun, desk.job().state)
        send()
    assert (1, State.SUCCEEDED) == (line.begun, desk.job().state)
