"""Orders to stop, and newer versions: a worker ends within its grace period, and what it had in hand goes on."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from imagejobs.ledger.schema import SCHEMA
from tests.faults import matrix, windows
from tests.servers.sandbox import SandboxServer
from tests.servers.waiting import eventually
from tests.system.fleet import ROOT, Fleet, rows
from worker.app import GRACE_SECONDS

PATIENCE_SECONDS = 5.0  # from the end of the grace period to the end of the process, on a busy machine
NEWER = f"{int(SCHEMA) + 1:04}"
MIGRATION = f'''"""A newer version's schema.

Revision ID: {NEWER}
"""

import sqlalchemy as sa
from alembic import op

revision = "{NEWER}"
down_revision = "{SCHEMA}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Only add: processes of the version before are still running."""
    op.add_column("jobs", sa.Column("remark", sa.Text))
    op.add_column("attempts", sa.Column("remark", sa.Text))
'''


class Leavers:
    """Workers that were told to stop, and how each of them ended."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._told: dict[subprocess.Popen[bytes], float] = {}
        self.ended: list[tuple[int, float]] = []  # exit code, seconds

    def tell(self, worker: subprocess.Popen[bytes]) -> None:
        """SIGTERM."""
        worker.send_signal(signal.SIGTERM)
        self._told[worker] = time.monotonic()

    def look(self) -> int:
        """Note who has ended. Returns how many have not."""
        for worker in [worker for worker in self._told if worker.poll() is not None]:
            self.ended.append((worker.returncode, time.monotonic() - self._told.pop(worker)))
            self._fleet.workers.remove(worker)
        return len(self._told)

    def are_gone(self) -> None:
        """Wait for all of them, and assert that each ended in time and in peace."""
        eventually(lambda: self.look() == 0, timeout_seconds=3 * GRACE_SECONDS, what="all leavers have ended")
        assert {0} == {code for code, _ in self.ended}
        assert max(seconds for _, seconds in self.ended) < GRACE_SECONDS + PATIENCE_SECONDS

    def is_told(self, worker: subprocess.Popen[bytes]) -> bool:
        """Whether this one is on its way out."""
        return worker in self._told


def test_random_workers_told_to_stop(spread: Fleet) -> None:
    """SIGTERM to one of three every second, each replaced at once, until the last job is done."""
    spread.sandbox.faults([{"on": "create", "kind": "delay_after", "seconds": 0.3}])
    spread.submit(rows(matrix.jobs()))
    spread.start(3)
    dice, leavers, orders = random.Random(7), Leavers(spread), windows.Strikes(spread)
    while orders.look().live > 0:
        leavers.look()
        up = [worker for worker in windows.ready(spread) if not leavers.is_told(worker)]
        if orders.is_due() and len(up) >= windows.READY:
            leavers.tell(dice.choice(up))
            spread.start(1)
            orders.struck()
        time.sleep(0.1)
    batch = matrix.finished(spread)

    leavers.are_gone()
    matrix.proven(
        spread,
        batch,
        fault="SIGTERM to random workers",
        injected=len(leavers.ended),
        recovery_seconds=orders.recovery_seconds,
    )


@pytest.mark.parametrize("seconds", [20.0, 30.0])
def test_told_to_stop_while_creates_hang(
    tmp_path: Path, redis_url: str, sandbox: SandboxServer, seconds: float
) -> None:
    """Replies that come within the grace period are heard; those that do not are looked up."""
    sandbox.faults([{"on": "create", "kind": "delay_after", "seconds": seconds, "count": 6}])
    with Fleet(tmp_path, sandbox=sandbox, redis_url=redis_url, IMAGEJOBS_READ_SECONDS="35") as fleet:
        fleet.submit(rows(matrix.jobs()))
        (old,) = fleet.start(1)
        hanging = windows.enter(fleet, windows.accepted, at_least=3)
        leavers = Leavers(fleet)
        leavers.tell(old)
        fleet.start(1)
        leavers.are_gone()
        batch = fleet.closed(timeout_seconds=240 + matrix.jobs())

        assert (seconds > GRACE_SECONDS) == (windows.looked_up(fleet, "Accepted") > 0)
        matrix.proven(fleet, batch, fault=f"SIGTERM while creates hang for {seconds:g} s", injected=hanging)


def test_told_to_stop_while_copies_are_slow(spread: Fleet) -> None:
    """A copy in hand is finished, or taken up by another once its lease is over."""
    spread.sandbox.faults([{"on": "file", "kind": "delay", "seconds": 2.5, "rate": 0.5}])
    spread.submit(rows(matrix.jobs()))
    spread.start(2)
    leavers = Leavers(spread)
    for _ in range(3):
        eventually(lambda: _copying(spread), timeout_seconds=60, every_seconds=0.02, what="copies are under way")
        leavers.tell(spread.workers[0])
        spread.start(1)
        leavers.are_gone()
    batch = matrix.finished(spread)

    matrix.proven(spread, batch, fault="SIGTERM while copies are slow", injected=len(leavers.ended))


def _copying(fleet: Fleet) -> int:
    """Downloads that have arrived and are not answered."""
    stats = fleet.sandbox.stats()
    return int(stats["arrived"].get("file", 0)) - int(stats["files"]) - sum(stats["files_refused"].values())


def test_a_newer_version_over_a_running_older_one(
    tmp_path: Path, redis_url: str, sandbox: SandboxServer, database_url: str, newer: Path
) -> None:
    """The newer one upgrades the ledger under the older ones, which go on until they are told to stop."""
    sandbox.faults([{"on": "create", "kind": "delay_after", "seconds": 0.3}])
    per_minute = str(max(60, int(matrix.jobs() * 60 / 40)))
    with Fleet(
        tmp_path,
        sandbox=sandbox,
        redis_url=redis_url,
        DATABASE_URL=database_url,
        IMAGEJOBS_CREATES_PER_MINUTE=per_minute,
    ) as fleet:
        fleet.submit(rows(matrix.jobs()))
        older = fleet.start(2)
        eventually(lambda: all(fleet.events("create", one) for one in older), timeout_seconds=60, what="both work")
        deployed_at, before = time.monotonic(), windows.beyond(fleet.batch())
        upgraded = fleet.start(2, root=newer)
        eventually(lambda: NEWER == fleet.ledger.database.schema(), timeout_seconds=60, what="the upgrade")
        fleet.reached(lambda batch: windows.beyond(batch) > before)
        recovered_at = time.monotonic()
        since = {one: len(fleet.events("create", one)) for one in older}
        eventually(
            lambda: all(len(fleet.events("create", one)) > seen for one, seen in since.items()),
            timeout_seconds=60,
            what="older ones go on",
        )
        leavers = Leavers(fleet)
        for one in older:
            leavers.tell(one)
        leavers.are_gone()
        batch = matrix.finished(fleet)

        assert all(fleet.events("create", one) for one in upgraded)
        assert [] == fleet.events("stage_broke") + fleet.events("pulse_failed")
        matrix.proven(
            fleet,
            batch,
            fault=f"a newer version over a running older one, {fleet.ledger.database.engine.dialect.name}",
            injected=len(leavers.ended),
            recovery_seconds=recovered_at - deployed_at,
        )
        (late,) = fleet.start(1)
        assert 2 == late.wait(60)
        assert f"the ledger's schema is {NEWER}, this imagejobs knows {SCHEMA}" in fleet.log(late)


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """The packages of a version with one more migration."""
    root = tmp_path / "newer"
    for package in ("imagejobs", "worker"):
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    ledger = root / "imagejobs" / "ledger"
    (ledger / "migrations" / "versions" / f"{NEWER}_newer.py").write_text(MIGRATION, encoding="utf-8")
    _change(ledger / "schema.py", f'SCHEMA = "{SCHEMA}"', f'SCHEMA = "{NEWER}"')
    _change(
        ledger / "tables.py", 'Column("error_key", Text),', 'Column("error_key", Text),\n    Column("remark", Text),'
    )
    return root


def _change(file: Path, old: str, new: str) -> None:
    """Replace what must be there."""
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")
