"""The verb `simulate`: brings the simulated parts of `docs/scaling.md` up to date with the figures that are there."""

from __future__ import annotations

import argparse

from ops.bench.book import Book
from ops.bench.contestants import ROOT
from ops.bench.simulation.report import refreshed
from ops.bench.verbs import Verb

PAGE = "scaling.md"


def run(given: argparse.Namespace) -> None:
    """Hold the simulation against what was measured, let it predict, and write both onto the page."""
    book = Book.read(given.out / "benchmarks" / "results.json")
    page = given.out / PAGE
    text = (page if page.exists() else ROOT / "docs" / PAGE).read_text(encoding="utf-8")
    page.write_text(refreshed(text, book), encoding="utf-8")
    print(page)


VERB = Verb(name="simulate", help="hold a simulation against the figures that are there, and let it predict", run=run)
