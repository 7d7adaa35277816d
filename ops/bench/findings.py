"""What the book of results says to a target's question: by what was measured, None where nothing was."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from statistics import median

from ops.bench.book import Book, Figures
from ops.bench.contestants import CONTESTANTS
from ops.bench.measures import medians
from ops.bench.scenarios import ALL_SIZES

YARDSTICK = "asyncio"  # ratios are to this script, in the same round: they hold on other machines too
OURS = "imagejobs-sqlite-2"  # whom a ratio is taken of, where nothing else is said
QUEUES = tuple(name for name, one in CONTESTANTS.items() if not one.is_ours and not one.is_script)
BULK = ("export_jsonl", "export_parquet", "failures", "retry", "retry_together", "cancel")  # what goes through all rows

Values = Mapping[str, float | None]
Finding = Callable[[Book], Values]


def table(scenario: str, figure: str, contestants: Iterable[str] = (OURS,)) -> Finding:
    """A figure's median, of each of these."""
    return lambda book: {_short(one): _median(book, scenario, one).get(figure) for one in contestants}


def named(scenario: str, figure: str) -> Finding:
    """The same of ours, by the scenario's name."""
    return lambda book: {scenario: _median(book, scenario, OURS).get(figure)}


def steady(figure: str) -> Finding:
    """Of each number of workers at S2's limits; from the long run, if there is one."""

    def values(book: Book) -> Values:
        return table("S2-long" if "S2-long" in book.scenarios else "S2", figure, ALL_SIZES)(book)

    return values


def growth_with_workers(scenario: str) -> Finding:
    """Of other calls: with the most workers that were measured, against one."""

    def values(book: Book) -> Values:
        calls = (
            steady("other_calls_per_image")(book)
            if scenario == "S2"
            else table(scenario, "other_calls_per_image", ALL_SIZES)(book)
        )
        known = [value for value in calls.values() if value is not None]
        first = calls[_short(ALL_SIZES[0])]
        return {scenario: known[-1] / first if first and len(known) > 1 else None}

    return values


def to(
    scenario: str, figure: str, others: Callable[[Book], Iterable[str]], hardest: Callable[[Iterable[float]], float]
) -> Finding:
    """Ours to the best of the others, round by round; the best is the one against whom ours looks worst."""

    def values(book: Book) -> Values:
        ratios = {other: ratio_to(book, scenario, figure, other) for other in others(book)}
        known = {other: ratio for other, ratio in ratios.items() if ratio is not None}
        if not known:
            return {scenario: None}
        worst = hardest(known.values())
        return {f"{scenario}, {other}": ratio for other, ratio in known.items() if ratio == worst}

    return values


def ratio_to(book: Book, scenario: str, figure: str, other: str, *, ours: str = OURS) -> float | None:
    """The median over the rounds that both have run."""
    theirs = book.rounds(scenario, other)
    pairs = [
        (own.get(figure), theirs[key].get(figure)) for key, own in book.rounds(scenario, ours).items() if key in theirs
    ]
    ratios = [own / their for own, their in pairs if own is not None and their]
    return median(ratios) if ratios else None


def lossless(book: Book) -> list[str]:
    """The queues that lost nothing in S3."""
    return [name for name in QUEUES if _median(book, "S3", name).get("lost") == 0]


def sheet(verb: str, *figures: str) -> Finding:
    """Each of these figures, of everything that was measured."""

    def values(book: Book) -> Values:
        return {
            _short(column) if len(figures) == 1 else f"{_short(column)}: {_said(figure)}": shown.get(figure)
            for column, shown in book.sheets.get(verb, {}).items()
            for figure in figures
        }

    return values


def rates_to_submit(book: Book) -> Values:
    """Rows a second of what goes through all rows, to those of submit."""
    found: dict[str, float | None] = {}
    for column, shown in book.sheets.get("million", {}).items():
        submit = shown.get("submit_rows_per_second")
        for name in BULK:
            rate = shown.get(f"{name}_rows_per_second")
            found[f"{_short(column)}: {_said(name)}"] = rate / submit if rate is not None and submit else None
    return found


def _median(book: Book, scenario: str, contestant: str) -> Figures:
    return medians(list(book.rounds(scenario, contestant).values()))


def _short(contestant: str) -> str:
    return contestant.removeprefix("imagejobs-")


def _said(figure: str) -> str:
    return figure.replace("_", " ")


def yardstick(_: Book) -> Iterable[str]:
    """The asyncio script."""
    return (YARDSTICK,)


def queues(_: Book) -> Iterable[str]:
    """Every peer with a queue."""
    return QUEUES


def both(*parts: Finding) -> Finding:
    """One after the other."""
    return lambda book: {label: value for part in parts for label, value in part(book).items()}
