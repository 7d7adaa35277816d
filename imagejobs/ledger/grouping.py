"""Group commit: what several threads want written at the same time goes into one transaction.

A commit costs the same whether it carries one move or fifty, and the database takes one writer at a time. So whoever
gets the turn writes for everybody who waits, and nobody waits for company: alone, a change is written at once. Each
caller is answered when its own changes are committed, and not before.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from imagejobs.ledger.engine import LEDGER_ERRORS
from imagejobs.moves import Look, Move

Change = Move | Look
Write = Callable[[Sequence[Change], float], list[Move]]
MOST = 200  # changes in one transaction, so that other processes get their turn


@dataclass(eq=False, slots=True)
class _Wish:
    """What one caller wants written, and what became of it."""

    changes: Sequence[Change]
    granted: list[Move] = field(default_factory=list)
    error: Exception | None = None
    is_done: bool = False

    @property
    def jobs(self) -> set[int]:
        return {change.job_id for change in self.changes}


class GroupCommit:
    """Turns many small writes into few larger ones. `write` is one transaction: all of it, or an exception.

    `turn` is a lock that callers wait at.
    """

    def __init__(self, write: Write, *, turn: AbstractContextManager[Any] | None = None) -> None:
        self._write = write
        self._turn = threading.Lock() if turn is None else turn
        self._door = threading.Lock()
        self._waiting: list[_Wish] = []

    def __call__(self, changes: Sequence[Change], now: float) -> list[Move]:
        """Write these, together with what others want written. Returns those of them that were granted.

        Raises what `write` raises; one caller's changes that cannot be written are no other's concern.
        """
        wish = _Wish(changes)
        with self._door:
            self._waiting.append(wish)
        with self._turn:
            while not wish.is_done:
                self._serve(self._next(), now)
        if wish.error is not None:
            raise wish.error
        return wish.granted

    def _next(self) -> list[_Wish]:
        """Those who came first, up to one that wants a job which another of them wants too: each is moved once."""
        with self._door:
            group = [self._waiting.pop(0)]
            taken, size = group[0].jobs, len(group[0].changes)
            while self._waiting and size + len(self._waiting[0].changes) <= MOST and not taken & self._waiting[0].jobs:
                group.append(self._waiting.pop(0))
                taken |= group[-1].jobs
                size += len(group[-1].changes)
            return group

    def _serve(self, group: Sequence[_Wish], now: float) -> None:
        try:
            granted = self._write([change for wish in group for change in wish.changes], now)
        except Exception as error:  # noqa: BLE001 - not swallowed: each caller raises it
            if len(group) > 1 and not isinstance(error, LEDGER_ERRORS):
                for wish in group:  # one of them cannot be written: each for itself
                    self._serve([wish], now)
                return
            for wish in group:
                wish.error, wish.is_done = error, True
        else:
            for wish in group:
                wish.granted = [move for move in granted if move.job_id in wish.jobs]
                wish.is_done = True
