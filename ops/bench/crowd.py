"""Many accounts on one ledger: what one's sweep and feed cost beside the others, and an image's room on the disk."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from sqlalchemy import text

from imagejobs.job import Spec, SpecText
from imagejobs.ledger import Ledger
from imagejobs.settings import DEFAULT_VERSION
from ops.bench.book import Figures
from ops.bench.million import LEDGERS, PROMPT
from ops.bench.servers import Servers
from ops.bench.shelf import Shelf
from ops.bench.verbs import Measurement

ACCOUNTS = (1, 10, 100)
RUNNING, SENT_FOR = 60, 15  # jobs of each: ten creates a second, runs of six seconds, a second and a half sent for
TIMES = 20
AT_REST = 5000  # rows that are finished to see what they weigh
STUCK = 20  # as a worker leaves out
_SIZE = {
    True: "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
    False: "SELECT pg_database_size(current_database())",
}


def measure(_: argparse.Namespace) -> Iterator[tuple[str, Figures]]:
    """For both ledgers."""
    for kind in LEDGERS:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="imagejobs-crowd-")))
            servers = stack.enter_context(Servers(folder / "servers"))
            for accounts in ACCOUNTS:
                with _opened(kind, folder / str(accounts), servers) as ledger:
                    yield f"{kind}, {accounts} accounts", beside(ledger, accounts)
            with _opened(kind, folder / "rest", servers) as ledger:
                yield f"{kind}, at rest", at_rest(ledger)


def _opened(kind: str, folder: Path, servers: Servers) -> Ledger:
    return Ledger(servers.new_database() if kind == "postgres" else f"sqlite:///{folder / 'ledger.sqlite'}")


def beside(ledger: Ledger, accounts: int) -> Figures:
    """Median milliseconds of one account's statements beside those of all; a group of jobs, and one, through a move."""
    for number in range(accounts):
        _fill(ledger, f"account-{number}", RUNNING + SENT_FOR)
        shelf = Shelf(ledger, account=f"account-{number}")
        shelf.accept(shelf.claim(shelf.feed(RUNNING)))
        shelf.feed(SENT_FOR)
    views, turns, mine = ledger.views, ledger.turns, f"account-{accounts // 2}"
    now = ledger.database.now()
    return {
        "sweep_read_ms": _ms(lambda: views.flights(mine)),
        "feed_read_ms": _ms(lambda: turns.outstanding(mine)),
        "backlog_read_ms": _ms(lambda: views.backlog_expiry(mine, leave_out=STUCK)),
        "overdue_ms": _ms(lambda: turns.forget_overdue(now=now)),
        "claim_one_ms": _claims(ledger, 1),
        "claim_16_ms": _claims(ledger, 16),
    }


def _claims(ledger: Ledger, size: int) -> float:
    _fill(ledger, f"claims-{size}", size * TIMES)
    shelf = Shelf(ledger, account=f"claims-{size}")
    groups = iter([shelf.feed(size) for _ in range(TIMES)])
    return _ms(lambda: shelf.claim(next(groups)))


def at_rest(ledger: Ledger) -> Figures:
    """What a finished image adds to the ledger's disk, its indexes included."""
    before = _size(ledger)
    _fill(ledger, "rest", AT_REST)
    Shelf(ledger, account="rest").finish()
    return {"bytes_per_image": (_size(ledger) - before) / AT_REST}


def _size(ledger: Ledger) -> int:
    with ledger.database.read() as connection:
        return int(connection.execute(text(_SIZE[ledger.database.is_sqlite])).scalar_one())


def _fill(ledger: Ledger, account: str, rows: int) -> None:
    now = ledger.database.now()
    facts = {"account": account, "store": "s3://bench/batches", "rows_digest": "0" * 64}
    batch = ledger.batches.create(account, facts=facts, now=now)
    if batch is None:
        raise ValueError(f"{account} is there already")
    specs = (
        Spec(id=f"r{line}", line=line, version=DEFAULT_VERSION, input={"prompt": f"{PROMPT}{line}", "seed": line})
        for line in range(1, rows + 1)
    )
    ledger.batches.add(batch.id, [SpecText.of(spec) for spec in specs], max_tries=4)
    ledger.batches.open(batch.id, now=now)


def _ms(step: Callable[[], object]) -> float:
    took = []
    for _ in range(TIMES):
        began = time.perf_counter()
        step()
        took.append((time.perf_counter() - began) * 1000)
    return median(took)


MEASUREMENT = Measurement(
    name="crowd",
    help="what accounts on one ledger cost each other, and an image's room on the disk",
    title="Many accounts on one ledger",
    measure=measure,
)
