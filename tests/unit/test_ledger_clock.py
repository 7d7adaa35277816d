"""The clock of a fleet is the database's, carried on by the machine's own steady one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy.exc import OperationalError

from worker.services import LedgerClock


class Machine:
    """A steady clock, and a ledger whose database tells the time; asking for it takes as long as `readings` say."""

    def __init__(self, *readings: float) -> None:
        self.steady = 1000.0
        self.epoch = 5_000_000.0
        self.is_away = False
        self.database = self
        self._readings = list(readings)

    def pass_seconds(self, seconds: float) -> None:
        """Time goes on, for everybody."""
        self.steady += seconds
        self.epoch += seconds

    def now(self) -> float:
        """The database's answer, from the beginning of the reading: the process slept on the way back."""
        if self.is_away:
            raise OperationalError("SELECT", {}, Exception("away"))
        answer = self.epoch
        self.pass_seconds(self._readings.pop(0) if self._readings else 0.0)
        return answer


@pytest.fixture
def clock_of() -> Callable[[Machine], LedgerClock]:
    """A clock that reads the machine's."""

    class OfMachine(LedgerClock):
        def __init__(self, machine: Machine) -> None:
            self.machine = machine
            super().__init__(machine)

        def monotonic(self) -> float:
            return self.machine.steady

    return OfMachine


def test_a_reading_that_was_slept_over_is_taken_again(clock_of: Callable[[Machine], LedgerClock]):
    """Sixty seconds behind, it would have intents looked up while their POST is on the way."""
    machine = Machine(60.0)

    assert machine.epoch + 60.0 == clock_of(machine).now()


def test_a_minute_later_it_is_read_again(clock_of: Callable[[Machine], LedgerClock]):
    """The database's clock may have been set meanwhile."""
    machine = Machine()
    clock = clock_of(machine)
    machine.epoch += 300.0
    before = clock.now()
    machine.pass_seconds(LedgerClock.REFRESH_SECONDS + 1)

    assert (machine.epoch - LedgerClock.REFRESH_SECONDS - 301.0, machine.epoch) == (before, clock.now())


def test_while_the_database_is_away_the_steady_clock_carries_on(clock_of: Callable[[Machine], LedgerClock]):
    """Jobs in hand are dated as before."""
    machine = Machine()
    clock = clock_of(machine)
    machine.is_away = True
    machine.pass_seconds(3 * LedgerClock.REFRESH_SECONDS)

    assert machine.epoch == clock.now()
