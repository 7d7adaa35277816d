"""The ledger's door: the real ledger on SQLite in memory. A transaction is one step; before and after it is a door."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from imagejobs.ledger.engine import Database
from tests.simulation.weather import Weather
from tests.simulation.world import EPOCH, Turn, World

TABLES = ("batches", "jobs", "specs", "attempts", "orphans", "images", "schemas")


class SimulatedDatabase(Database):
    """One for all runs of a process, emptied before each: building the schema takes longer than a run."""

    def __init__(self) -> None:
        super().__init__("sqlite://")
        self._world: World | None = None
        self._weather: Weather | None = None
        self.commits = 0
        self.upgrade()
        self.raw: sqlite3.Connection = self.engine.raw_connection().driver_connection  # type: ignore[assignment]

    def begin(self, world: World, weather: Weather) -> None:
        """Empty, for a run."""
        for table in TABLES:
            self.raw.execute(f"DELETE FROM {table}")  # noqa: S608 - our own names
        self._world, self._weather, self.commits = world, weather, 0

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A snapshot is taken in one step."""
        self._pause("read")
        self._fail("ledger_away")
        with super().read() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction is one step."""
        self._pause("write")
        self._fail("ledger_away")
        with super().write() as connection:
            yield connection
        self.commits += 1
        self._pause("written")
        self._fail("commit_unheard")

    def lock(self) -> AbstractContextManager[Any]:
        """One that fibers wait at."""
        assert self._world is not None
        return Turn(self._world)

    def now(self) -> float:
        """The one clock there is."""
        assert self._world is not None
        return EPOCH + self._world.now

    def _pause(self, label: str) -> None:
        if self._world is not None:
            self._world.pause(label)

    def _fail(self, fault: str) -> None:
        if self._weather is not None and self._world and self._world.current and self._weather.strikes(fault):
            raise OperationalError(fault, {}, Exception("simulated"))
