"""`python -m ops.bench --help`: the benchmarks, run and written down by one command."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ops.bench import page, simulate, table
from ops.bench.book import Book, opened
from ops.bench.contestants import ROOT
from ops.bench.measurements import MEASUREMENTS
from ops.bench.verbs import Measurement, Verb

RESULTS = Path("benchmarks") / "results.json"
EXAMPLE = """\
examples:
  python -m ops.bench table                           what `make bench` does
  python -m ops.bench table --full                    everything but S5, for hours
  python -m ops.bench table --scenario S1 --contestant asyncio imagejobs-sqlite-2 --jobs 500
  python -m ops.bench million --rows 1000000          S5
  python -m ops.bench anatomy --jobs 500              where an image's CPU time goes in ours
  python -m ops.bench simulate                        docs/scaling.md again, from the JSON
  python -m ops.bench page                            the page again, from the JSON

Each adds its figures to those that are there; delete the JSON to begin anew.
"""


def _table(given: argparse.Namespace) -> None:
    table.run(given, given.out / RESULTS)
    _page(given)


def _page(given: argparse.Namespace) -> None:
    print(page.write(Book.read(given.out / RESULTS), given.out))


VERBS = (
    Verb(name="table", help="S1 to S4: who needs what for an image", run=_table, options=table.options),
    Verb(name="page", help="write the page from the results that are there", run=_page),
    simulate.VERB,
)
"""Those that are no measurement of `measurements.py`; a line each."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is asked for, and write the results and the page."""
    given = parser().parse_args(arguments)
    given.run(given)


def parser() -> argparse.ArgumentParser:
    """Of the whole command line; what it parses says by `run` what to do."""
    whole = argparse.ArgumentParser(
        prog="python -m ops.bench", epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    whole.add_argument("--out", type=Path, default=ROOT / "docs", help="folder of the page (default: docs)")
    verbs = whole.add_subparsers(dest="verb", required=True)
    for verb in (*VERBS, *map(_measuring, MEASUREMENTS)):
        own = verbs.add_parser(verb.name, help=verb.help)
        verb.options(own)
        own.set_defaults(run=verb.run)
    return whole


def _measuring(one: Measurement) -> Verb:
    """The verb that keeps its figures, in place of those that are there, and writes the page."""

    def run(given: argparse.Namespace) -> None:
        with opened(given.out / RESULTS) as book:
            book.sign(one.name)
        for measured, figures in one.measure(given):
            with opened(given.out / RESULTS) as book:
                book.sheets.setdefault(one.name, {})[measured] = figures
        _page(given)

    return Verb(name=one.name, help=f"{one.help}; added to the results", run=run, options=one.options)


if __name__ == "__main__":
    main()
