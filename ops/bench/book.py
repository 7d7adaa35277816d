"""The book of results: everything that was measured, as JSON, for whoever measures next and for the page."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from ops.bench.facts import busy_share, commit, machine, versions

Figures = dict[str, float | None]
QUIET_SHARE = 0.1  # of the cores, before anything of ours is started
Round = tuple[str, int]
"""Which play of the table, and which round of it: what was run in turns, and so may be compared."""


@dataclass(slots=True)
class Book:
    """`runs` are those of the table; `sheets` are other measurements' figures, by verb and then by what was measured.

    Several measurements may write into one book, also at once: each adds its own and leaves the rest.
    """

    made_at: str
    machine: dict[str, Any]
    versions: dict[str, str]
    scenarios: dict[str, dict[str, Any]] = field(default_factory=dict)
    contestants: dict[str, str] = field(default_factory=dict)
    runs: list[dict[str, Any]] = field(default_factory=list)
    sheets: dict[str, dict[str, Figures]] = field(default_factory=dict)
    measured: dict[str, str] = field(default_factory=dict)
    """When each scenario and verb was last measured, of which commit, and whether beside something else."""

    @classmethod
    def begin(cls) -> Self:
        """An empty one, with this machine and these versions."""
        return cls(made_at=_now(), machine=machine(), versions=versions())

    @classmethod
    def read(cls, path: Path) -> Self:
        """As it was written."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))

    def write(self, path: Path) -> None:
        """Whole or not at all: a night may be cut short at any moment."""
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(".new")
        new.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")
        new.replace(path)

    def rounds(self, scenario: str, contestant: str) -> dict[Round, Figures]:
        """The figures of one contestant in one scenario, by round; rounds that failed are left out."""
        return {
            (run["play"], run["round"]): run["figures"]
            for run in self.runs
            if (run["scenario"], run["contestant"]) == (scenario, contestant) and run["figures"] is not None
        }

    def sign(self, name: str) -> None:
        """Say that this scenario or verb is measured now, and whether beside something else: that takes a second."""
        beside = ", while the machine was busy with something else" if busy_share() > QUIET_SHARE else ""
        self.measured[name] = f"{_now()}, commit {commit()}{beside}"

    def forget(self, scenario: str, contestant: str) -> None:
        """What is about to be measured anew."""
        self.runs = [run for run in self.runs if (run["scenario"], run["contestant"]) != (scenario, contestant)]


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())


@contextmanager
def opened(path: Path) -> Iterator[Book]:
    """The book as it is now, or a new one; what is changed in it is written. Nobody else has it meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        book = Book.read(path) if path.exists() else Book.begin()
        yield book
        book.write(path)
    finally:
        os.close(lock)
