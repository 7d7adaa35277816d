"""`python -m ops.bench --help`: the benchmarks, run and written down by one command."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ops.bench import idle, page
from ops.bench.anatomy import dissect
from ops.bench.contestants import CONTESTANTS, MAIN, ROOT, Contestant
from ops.bench.million import LEDGERS, measure
from ops.bench.scenarios import SCENARIOS
from ops.bench.tournament import Book, Programme, play

QUICK = {"S1": 300, "S2": 400}  # rows that make three rounds of the main contestants fit into ten minutes
RESULTS = Path("benchmarks") / "results.json"
OURS = tuple(name for name, contestant in CONTESTANTS.items() if contestant.is_ours)
MINUTE = 60.0
FULL_MINUTES = 24 * 60.0

EXAMPLE = """\
examples:
  python -m ops.bench table                           what `make bench` does
  python -m ops.bench table --full                    everything but S5, for hours
  python -m ops.bench table --scenario S1 --contestant asyncio imagejobs-sqlite-2 --jobs 500
  python -m ops.bench million --rows 1000000          S5
  python -m ops.bench anatomy --jobs 500              where an image's CPU time goes in ours
  python -m ops.bench page                            the page again, from the JSON
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is asked for, and write the results and the page."""
    parser = argparse.ArgumentParser(
        prog="python -m ops.bench", epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="folder of the page (default: docs)")
    verbs = parser.add_subparsers(dest="verb", required=True)
    _add_table(verbs.add_parser("table", help="S1 to S4: who needs what for an image"))
    million = verbs.add_parser("million", help="S5: what a ledger of that many rows costs; added to the results")
    million.add_argument("--rows", type=int, default=1_000_000)
    million.add_argument("--ledger", nargs="+", choices=LEDGERS, default=LEDGERS)
    verbs.add_parser("idle", help="what it costs to start, and to do nothing; added to the results")
    anatomy = verbs.add_parser("anatomy", help="where an image's CPU time goes in ours, printed as a table")
    anatomy.add_argument("--contestant", choices=OURS, default=OURS[0])
    anatomy.add_argument("--scenario", choices=SCENARIOS, default="S1")
    anatomy.add_argument("--jobs", type=int, help="rows (default: the scenario's)")
    verbs.add_parser("page", help="write the page from the results that are there")
    given = parser.parse_args(arguments)
    {"table": _table, "million": _million, "idle": _idle, "anatomy": _anatomy, "page": _page}[given.verb](given)


def _add_table(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--full", action="store_true", help="every scenario and contestant, at full size")
    parser.add_argument("--scenario", nargs="+", choices=SCENARIOS, help="only these")
    parser.add_argument("--contestant", nargs="+", choices=CONTESTANTS, help="only these")
    parser.add_argument("--jobs", type=int, help="rows of each scenario")
    parser.add_argument("--rounds", type=int, default=3, help="medians are over so many (default: %(default)s)")
    parser.add_argument("--minutes", type=float, help="begin no run that would not fit (default: 10, full: a day)")


def _table(given: argparse.Namespace) -> None:
    book, path = Book.begin(), given.out / RESULTS
    play(programme_of(given), book, path)
    print(page.write(book, given.out))


def programme_of(given: argparse.Namespace) -> Programme:
    """What the options mean."""
    names = given.scenario or (SCENARIOS if given.full else QUICK)
    scenarios = [SCENARIOS[name].of(given.jobs or (None if given.full else QUICK.get(name))) for name in names]
    chosen: Sequence[str] = given.contestant or (tuple(CONTESTANTS) if given.full else MAIN)
    contestants: list[Contestant] = [CONTESTANTS[name] for name in chosen]
    minutes = given.minutes or (FULL_MINUTES if given.full else 10.0)
    return Programme(scenarios=scenarios, contestants=contestants, rounds=given.rounds, seconds=minutes * MINUTE)


def _million(given: argparse.Namespace) -> None:
    path = given.out / RESULTS
    book = _book_at(path)
    for ledger in given.ledger:
        book.million.append({"database": ledger, "rows": given.rows, "figures": measure(ledger, given.rows)})
        book.write(path)
    _page(given)


def _idle(given: argparse.Namespace) -> None:
    book = _book_at(given.out / RESULTS)
    book.idle = idle.measure()
    book.write(given.out / RESULTS)
    _page(given)


def _book_at(path: Path) -> Book:
    return Book.read(path) if path.exists() else Book.begin()


def _anatomy(given: argparse.Namespace) -> None:
    print(dissect(given.contestant, SCENARIOS[given.scenario].of(given.jobs)))


def _page(given: argparse.Namespace) -> None:
    print(page.write(Book.read(given.out / RESULTS), given.out))


if __name__ == "__main__":
    main()
