"""The book of results as a page: tables of medians, plots, and what they were measured with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from ops.bench.book import Book, Figures
from ops.bench.contestants import CONTESTANTS
from ops.bench.findings import YARDSTICK, Values
from ops.bench.measurements import MEASUREMENTS
from ops.bench.measures import medians
from ops.bench.plot import Bar, bars
from ops.bench.portrait import portrait
from ops.bench.scenarios import SCENARIOS
from ops.bench.targets import TARGETS
from ops.bench.verbs import Measurement

RATIOS = {"cpu_to_asyncio": "cpu_ms_per_image", "rate_to_asyncio": "images_per_second"}

NAMES = {
    "images_per_second": "images/s",
    "rate_to_asyncio": "to asyncio",
    "cpu_ms_per_image": "CPU ms/image",
    "cpu_to_asyncio": "CPU to asyncio",
    "peak_pss_mb": "peak MB, all",
    "largest_process_pss_mb": "largest process",
    "lasting_process_pss_mb": "largest lasting",
    "pss_growth_mb": "growth MB",
    "process_pss_growth_mb": "growth of one process",
    "allowance_used": "allowance used",
    "safe_per_create_allowed": "safe per create allowed",
    "replies_429": "429s",
    "other_calls_per_image": "other calls/image",
    "safe_after_median_s": "finished → safe, median s",
    "safe_after_p99_s": "p99 s",
    "redis_commands_per_image": "Redis commands/image",
    "enqueue_cpu_ms_per_row": "enqueue CPU ms/row",
    "creates_accepted": "creates accepted",
    "lost": "lost",
    "paid_twice": "paid twice",
    "kills": "killed",
}
COST = (
    *("images_per_second", "rate_to_asyncio", "cpu_ms_per_image", "cpu_to_asyncio", "peak_pss_mb"),
    *(
        "largest_process_pss_mb",
        "lasting_process_pss_mb",
        "pss_growth_mb",
        "process_pss_growth_mb",
        "other_calls_per_image",
        "redis_commands_per_image",
        "enqueue_cpu_ms_per_row",
        "lost",
    ),
)
LIMITED = (
    *("allowance_used", "safe_per_create_allowed", "replies_429", "other_calls_per_image", "safe_after_median_s"),
    *("safe_after_p99_s", "cpu_ms_per_image", "cpu_to_asyncio", "peak_pss_mb", "lost", "paid_twice"),
)
FAULTY = (
    "lost",
    "paid_twice",
    "creates_accepted",
    "kills",
    "images_per_second",
    "cpu_ms_per_image",
    "safe_after_p99_s",
)
COLUMNS: Mapping[str, Sequence[str]] = {"S1": COST, "S1-long": COST, "S3": FAULTY}  # of all others: LIMITED
PLOTS = {
    "S1": ("cpu_ms_per_image", "images_per_second"),
    "S2": ("allowance_used", "other_calls_per_image"),
    "S2-long": ("allowance_used", "other_calls_per_image"),
    "S3": ("lost", "paid_twice"),
    "S4": ("safe_per_create_allowed",),
}

NOTES = "notes.md"  # what figures do not say, by hand: it ends the page
PORTRAIT = "safe-images.svg"
HEAD = """\
# Benchmarks

Made by `make bench`; `ops/bench/README.md` says what each figure means and how it is measured.
Absolute figures hold for this machine alone: read the ratios.
"""


def write(book: Book, folder: Path) -> Path:
    """`benchmarks.md` in the folder, its plots beside it. Returns the page's path."""
    plots = folder / "benchmarks"
    plots.mkdir(parents=True, exist_ok=True)
    parts = [HEAD, _made_with(book), _targets(book, _before(plots))]
    for scenario in filter(book.scenarios.__contains__, SCENARIOS):
        table = table_of(book, scenario)
        parts += [_section(book, scenario, table)]
        for figure in PLOTS.get(scenario, ()):
            name = f"{scenario}-{figure}.svg".lower().replace("_", "-")
            (plots / name).write_text(_plot(scenario, figure, table), encoding="utf-8")
            parts.append(f"![{scenario}: {NAMES[figure]}](benchmarks/{name})\n")
    parts += [_sheet(book, one) for one in MEASUREMENTS if one.name in book.sheets]
    if drawn := portrait(book):
        (plots / PORTRAIT).write_text(drawn, encoding="utf-8")
    notes = plots / NOTES
    parts += [notes.read_text(encoding="utf-8")] if notes.exists() else []
    page = folder / "benchmarks.md"
    page.write_text("\n".join(parts), encoding="utf-8")
    return page


def _before(plots: Path) -> Book | None:
    """What was measured before the work on these targets, if it was kept."""
    path = plots / "before.json"
    return Book.read(path) if path.exists() else None


def _targets(book: Book, before: Book | None) -> str:
    """Each target, what was measured, and whether that is enough."""
    measured = [(target, target.values(book)) for target in TARGETS]
    verdicts = Counter(target.verdict(values).strip("*") for target, values in measured)
    was = " before |" if before else ""
    lines = [
        "## Targets\n",
        f"{', '.join(f'{count} {verdict}' for verdict, count in verdicts.most_common())}.",
        "Of ours on SQLite with two workers, where nothing else is said; a ratio is a median over rounds.\n",
        f"| what | must be |{was} measured | | by |",
        f"| --- | ---: |{' ---: |' * bool(before)} ---: | --- | --- |",
    ]
    for target, values in measured:
        old = f" {_values(target.values(before))} |" if before else ""
        found = f"{_values(values)} | {target.verdict(values)} | `{target.command}`"
        lines.append(f"| {target.what} | {target.bound} |{old} {found} |")
    return "\n".join([*lines, ""])


def _values(values: Values) -> str:
    known = {label: shown(value) for label, value in values.items() if value is not None}
    return "<br>".join(f"{label}: {value}" for label, value in known.items())


def table_of(book: Book, scenario: str) -> dict[str, Figures]:
    """The medians of every contestant that has any, ratios to the yardstick's same round among them."""
    yardstick = book.rounds(scenario, YARDSTICK)
    table = {}
    for contestant in filter(book.contestants.__contains__, CONTESTANTS):
        rounds = book.rounds(scenario, contestant)
        if rounds:
            runs = [with_ratios(figures, yardstick.get(number)) for number, figures in rounds.items()]
            table[contestant] = {**medians(runs), "runs": len(runs)}
    return table


def with_ratios(figures: Figures, yardstick: Figures | None) -> Figures:
    """The same, with what it is to the yardstick; None where one of the two has no such figure."""
    ratios: Figures = {}
    for name, of in RATIOS.items():
        own, other = figures.get(of), (yardstick or {}).get(of)
        ratios[name] = own / other if own is not None and other else None
    return {**figures, **ratios}


def _made_with(book: Book) -> str:
    machine = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in book.machine.items())
    versions = ", ".join(f"{name} {version}" for name, version in book.versions.items())
    return f"Measured {book.made_at}. Machine: {machine}.\n\nVersions: {versions}.\n"


def _section(book: Book, scenario: str, table: Mapping[str, Figures]) -> str:
    facts = book.scenarios[scenario]
    columns = [
        name for name in COLUMNS.get(scenario, LIMITED) if any(row.get(name) is not None for row in table.values())
    ]
    lines = [
        f"## {scenario}: {facts['title']}\n",
        f"{facts['jobs']} images; medians of the runs in the last column.{_stamp(book, scenario)}\n",
        f"| contestant | {' | '.join(NAMES[name] for name in columns)} | runs |",
        f"| --- |{' ---: |' * (len(columns) + 1)}",
    ]
    for contestant, row in table.items():
        cells = " | ".join(shown(row.get(name)) for name in (*columns, "runs"))
        lines.append(f"| {book.contestants[contestant]} | {cells} |")
    return "\n".join([*lines, *_failed(book, scenario), ""])


def _stamp(book: Book, name: str) -> str:
    return f" Measured {book.measured[name]}." if name in book.measured else ""


def _failed(book: Book, scenario: str) -> list[str]:
    failed = [run for run in book.runs if run["scenario"] == scenario and run["error"]]
    return [f"\n{run['contestant']} failed in round {run['round'] + 1}." for run in failed]


def _plot(scenario: str, figure: str, table: Mapping[str, Figures]) -> str:
    known = [
        Bar(label=name, value=value, is_ours=name.startswith("imagejobs"))
        for name, row in table.items()
        if (value := row.get(figure)) is not None
    ]
    return bars(f"{scenario}: {NAMES[figure]}", sorted(known, key=lambda bar: bar.value))


def _sheet(book: Book, measurement: Measurement) -> str:
    """One column for each thing measured, one line a figure."""
    sheet = book.sheets[measurement.name]
    names = dict.fromkeys(name for figures in sheet.values() for name in figures)
    lines = [
        f"## {measurement.title}\n",
        f"By `python -m ops.bench {measurement.name}`.{_stamp(book, measurement.name)}\n",
        f"| figure | {' | '.join(sheet)} |",
        f"| --- |{' ---: |' * len(sheet)}",
    ]
    for name in names:
        cells = " | ".join(shown(figures.get(name)) for figures in sheet.values())
        lines.append(f"| {name.replace('_', ' ')} | {cells} |")
    return "\n".join([*lines, ""])


def shown(value: float | None) -> str:
    """Three significant digits, whole numbers as they are, nothing for nothing."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 1000 else f"{value:.3g}"
