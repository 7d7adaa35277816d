"""The generated parts of `docs/scaling.md`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ops.bench.book import Book, Figures
from ops.bench.million import LEDGERS
from ops.bench.page import NAMES, shown
from ops.bench.scenarios import S4
from ops.bench.simulation.capacity import ACCOUNTS, CORES, DAY, IMAGES, RATE, Part, fullest, measured, parts
from ops.bench.simulation.compare import WITHIN, pairs
from ops.bench.simulation.hosts import COMMIT_SECONDS, Setting
from ops.bench.simulation.night import costs_of, predict

BLOCK = re.compile(r"(<!-- simulated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
NOTHING_YET = "Not measured yet: run the benchmarks, then `python -m ops.bench simulate`."
NIGHT = replace(S4, jobs=300)  # half a minute of an account's creates: long enough to be steady
GB, TB = 1e9, 1e12


def refreshed(text: str, book: Book) -> str:
    """The page with its simulated parts made anew. Raises KeyError for a part that nobody makes."""
    return BLOCK.sub(lambda found: f"{found[1]}\n{BLOCKS[found[2]](book) or NOTHING_YET}\n\n{found[3]}", text)


def held_against(book: Book) -> str:
    """A line each scenario and contestant: measured, simulated, and by how much they differ."""
    rows, offs = list[Sequence[str]](), list[float]()
    for pair in pairs(book):
        for figure in pair.figures:
            off = pair.off_by(figure)
            offs.append(off)
            row = (pair.scenario, pair.contestant, WORDS.get(figure) or NAMES[figure])
            rows.append((*row, shown(pair.measured[figure]), shown(pair.simulated[figure]), f"{off:+.0%}"))
    if not rows:
        return ""
    near = sum(abs(off) <= WITHIN for off in offs)
    head = ("scenario", "contestant", "figure", "measured", "simulated", "off by")
    return f"{near} of {len(offs)} figures are within {WITHIN:.0%}.\n\n{table(head, rows)}"


def shares(book: Book) -> str:
    """What an image takes of each part, and how many accounts fill one of it."""
    rows = []
    for part in parts(measured(book), book.sheets.get("crowd", {})):
        rate = part.images_per_second
        fills = "1, its own" if part.is_each_accounts else shown(rate / RATE)
        rows.append((part.name, f"{shown(part.takes)} {part.unit}", shown(rate), fills, part.step))
    head = ("part", "an image takes", "full at images/s", "accounts that fill it", "what moves the limit")
    return table(head, rows) if rows else ""


def sizes(book: Book) -> str:
    """Days, store and ledger for so many images on so many accounts."""
    figures, crowd = measured(book), book.sheets.get("crowd", {})
    if not figures:
        return ""
    found, each = parts(figures, crowd), figures.get("store_bytes_per_image") or 0.0
    rows = []
    for images in IMAGES:
        for accounts in ACCOUNTS:
            days, room = images / (RATE * accounts) / DAY, each * images / TB
            cells = [cell for kind in LEDGERS for cell in _ledger(kind, found, crowd, images, accounts)]
            rows.append((f"{images:,}", str(accounts), shown(days), shown(room), *cells))
    heads = [f"{kind}: {what}" for kind in LEDGERS for what in ("GB", "fullest of what is shared")]
    return table(("images", "accounts", "days", "store, TB", *heads), rows)


def _ledger(
    kind: str, found: Sequence[Part], crowd: Mapping[str, Figures], images: int, accounts: int
) -> tuple[str, str]:
    each = crowd.get(f"{kind}, at rest", {}).get("bytes_per_image")
    full = fullest(found, accounts, ledger=kind)
    return shown(None if each is None else each * images / GB), f"{full.name}: {full.load(accounts):.0%}"


def predictions(book: Book) -> str:
    """Accounts side by side on one Redis and one ledger, event by event."""
    figures, crowd = measured(book), book.sheets.get("crowd", {})
    costs = costs_of(figures, book.sheets.get("doors", {}))
    if costs is None:
        return ""
    rows = []
    for kind in LEDGERS:
        for accounts in ACCOUNTS:
            seen = crowd.get(f"{kind}, {accounts} accounts", {})
            reading = sum(seen.get(f"{name}_read_ms") or 0.0 for name in ("sweep", "feed", "backlog")) / 1000 / 2
            commit = seen.get("claim_one_ms")
            setting = Setting(
                database_cores=CORES,
                read_seconds=reading,
                commit_seconds=COMMIT_SECONDS if commit is None else commit / 1000,
            )
            night = predict(NIGHT, accounts=accounts, costs=costs, setting=setting, is_sqlite=kind == "sqlite")
            rows.append((kind, str(accounts), *(shown(night[name]) for name in PREDICTED)))
    head = ("ledger", "accounts", *(WORDS.get(name) or NAMES[name] for name in PREDICTED))
    return table(head, rows)


WORDS = {
    "safe_after_p99_s": "finished → safe, p99 s",
    "workers_cores": "workers, cores",
    "redis_cores": "Redis, cores",
    "database_cores": "database, cores",
    "writer_share": "SQLite's writer busy",
    "commits_per_second": "commits/s",
}
PREDICTED = ("allowance_used", "safe_after_median_s", *WORDS)
BLOCKS: dict[str, Callable[[Book], str]] = {
    "held-against": held_against,
    "shares": shares,
    "predictions": predictions,
    "sizes": sizes,
}


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    ruled = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in ruled)
