"""The ledger: where jobs live, and the only truth about them. Messages are hints."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from imagejobs.ledger.batches import Batches
from imagejobs.ledger.engine import LEDGER_ERRORS, Database
from imagejobs.ledger.steering import Steering
from imagejobs.ledger.strays import Strays
from imagejobs.ledger.transitions import Transitions
from imagejobs.ledger.turns import Turns
from imagejobs.ledger.views import Views

__all__ = ["LEDGER_ERRORS", "Ledger"]


class Ledger:
    """One database, opened and brought to this version's schema. Safe to share between threads.

    `batches`: make, fill, pause, close · `jobs`: claims and moves · `strays`: orphans · `turns`: what is sent for next
    `steering`: cancel and retry · `views`: reads. Raises BadSetting when it cannot be opened.
    """

    def __init__(self, database: str | Database) -> None:
        """`database` is its URL, or one that is open already."""
        self.database = Database(database) if isinstance(database, str) else database
        try:
            self.database.upgrade()
        except BaseException:
            self.database.close()
            raise
        self.batches = Batches(self.database)
        self.jobs = Transitions(self.database)
        self.strays = Strays(self.database)
        self.turns = Turns(self.database)
        self.steering = Steering(self.database)
        self.views = Views(self.database)

    def close(self) -> None:
        """Give the connections back."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
