"""What an image takes of each part, measured; what one of each part can give; and so which is full first, and when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ops.bench.book import Book, Figures
from ops.bench.measures import medians
from ops.bench.scenarios import S4

RATE = S4.creates_per_second  # of one account
GIGABIT = 125e6  # bytes a second, each way
PREFIX_PUTS = 3500.0  # a second; https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html
DAY = 86_400.0
CORES = 8  # of the ledger's host
ACCOUNTS = (1, 10, 100)
IMAGES = (10**6, 10**8, 10**9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """`takes` is an image's use in `unit`; one of it gives `gives` a second. `step` is what moves the limit."""

    name: str
    takes: float
    unit: str
    gives: float
    step: str
    is_each_accounts: bool = False
    """Every account brings its own: more accounts fill it no further."""

    ledger: str = ""
    """Whose part it is, of the two."""

    is_shared: bool = False
    """There is one of it, for all accounts."""

    @property
    def images_per_second(self) -> float:
        """When it is full."""
        return self.gives / self.takes

    def load(self, accounts: int) -> float:
        """The share of one of it that so many accounts take, each at its full rate."""
        return (1 if self.is_each_accounts else accounts) * RATE / self.images_per_second


def measured(book: Book) -> Figures:
    """Of two workers on PostgreSQL at a real account's rate, or the next best that was measured; empty without any."""
    for scenario in ("S4", "S2", "S1"):
        for contestant in ("imagejobs-postgres-2", "imagejobs-sqlite-2"):
            figures = medians(list(book.rounds(scenario, contestant).values()))
            if figures.get("redis_cpu_ms_per_image") is not None:
                return figures
    return {}


def parts(figures: Mapping[str, float | None], crowd: Mapping[str, Figures]) -> list[Part]:
    """Those whose use was measured."""
    known = {name: value for name, value in figures.items() if value}
    commit = {ledger: crowd.get(f"{ledger}, 1 accounts", {}).get("claim_one_ms") for ledger in ("sqlite", "postgres")}
    writes = known.get("database_writes_per_image", 1.0)
    found = [
        Part(
            name="the account's allowance",
            takes=1.0,
            unit="creates",
            gives=RATE,
            step="another account, with workers of its own",
            is_each_accounts=True,
        ),
        Part(
            name="the account's other calls",
            takes=known.get("other_calls_per_image", 0.0),
            unit="calls",
            gives=S4.calls_per_second,
            step="the same",
            is_each_accounts=True,
        ),
        Part(
            name="a core of the workers",
            takes=known.get("cpu_ms_per_image", 0.0),
            unit="ms",
            gives=1000.0,
            step="more workers, on more hosts",
        ),
        Part(
            name="Redis, one core",
            takes=known.get("redis_cpu_ms_per_image", 0.0),
            unit="ms",
            gives=1000.0,
            is_shared=True,
            step="a second Redis for a group of accounts",
        ),
        Part(
            name=f"PostgreSQL, {CORES} cores",
            takes=known.get("database_cpu_ms_per_image", 0.0),
            unit="ms",
            gives=1000.0 * CORES,
            ledger="postgres",
            is_shared=True,
            step="more cores, then a ledger for a group of accounts",
        ),
        Part(
            name="SQLite's one writer",
            takes=writes * (commit["sqlite"] or 0.0),
            unit="ms",
            gives=1000.0,
            ledger="sqlite",
            is_shared=True,
            step="PostgreSQL",
        ),
        Part(
            name="a gigabit's network card of a worker's host",
            takes=known.get("store_bytes_per_image", 0.0),
            unit="bytes",
            gives=GIGABIT,
            step="more hosts: what comes in goes out again, and each way has its own gigabit",
        ),
        Part(
            name="a prefix of S3",
            takes=known.get("store_requests_per_image", 0.0),
            unit="requests",
            gives=PREFIX_PUTS,
            step="none is needed: each batch has a prefix of its own",
            is_each_accounts=True,
        ),
    ]
    return [part for part in found if part.takes]


def fullest(found: Sequence[Part], accounts: int, *, ledger: str) -> Part:
    """Of what all accounts share, with this ledger, the part that so many of them fill most."""
    shared = [part for part in found if part.is_shared and part.ledger in ("", ledger)]
    return max(shared, key=lambda part: part.load(accounts))
