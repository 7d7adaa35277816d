"""`run` with nothing configured, while its own servers and workers, or it itself, are killed with SIGKILL.

Process lists are looked at all the while: no server runs twice in one home, and none is left behind.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from imagejobs.ledger import Ledger
from tests.commandline import CommandLine, Running, write_rows
from tests.faults import matrix
from tests.ledger_books import assert_books_balance
from tests.servers.waiting import eventually
from tests.system.fleet import rows

KINDS = {"server": "valkey-server", "provider": "-m sandbox", "worker": "-m worker"}


class House:
    """One home folder, one file of rows, and whoever runs it."""

    def __init__(self, folder: Path) -> None:
        quick = {"IMAGEJOBS_READ_SECONDS": "3", "IMAGEJOBS_SETTLE_SECONDS": "1"}
        a_quarter_minute = {"IMAGEJOBS_CREATES_PER_MINUTE": str(4 * matrix.jobs())}
        self.command = CommandLine(folder, **quick, **a_quarter_minute)
        self.file = write_rows(folder / "specs.jsonl", rows(matrix.jobs()))

    def run(self) -> Running:
        """`imagejobs run`, begun."""
        return self.command.start("run", self.file, "--sandbox", "--batch", "night", "--json")

    def pids(self, kind: str) -> list[int]:
        """The home's processes of this kind that run now."""
        return [pid for pid, line in self.command.processes().items() if KINDS[kind] in line]

    def kill(self, kind: str) -> int:
        """kill -9 of one such process, as soon as there is one."""
        (pid, *_) = eventually(lambda: self.pids(kind), timeout_seconds=60, what=f"a {kind} runs")
        os.kill(pid, signal.SIGKILL)
        return pid

    def succeeded(self) -> int:
        """How many jobs have, so far."""
        return int(self.command.status("night")["succeeded"]) if (self.command.home / "ledger.sqlite").exists() else 0

    def lose_replies(self) -> None:
        """Tell the stand-in to lose every tenth reply to a create."""
        port = (self.command.home / "sandbox" / "port").read_text()
        rule = {"on": "create", "kind": "reset_after", "rate": 0.1}
        requests.put(f"http://127.0.0.1:{port}/sandbox/faults", json=[rule], timeout=10).raise_for_status()


@pytest.fixture
def house(tmp_path: Path) -> House:
    """With nothing running in it yet."""
    return House(tmp_path)


@contextmanager
def watched(house: House) -> Iterator[Counter[str]]:
    """Look at the process list until the block ends. Yields the most of each kind that were seen at once."""
    over, most = threading.Event(), Counter[str]()

    def look() -> None:
        while not over.wait(0.1):
            for kind in KINDS:
                most[kind] = max(most[kind], len(house.pids(kind)))

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look)
        try:
            yield most
        finally:
            over.set()
        looking.result()


def proven(house: House, *, fault: str, injected: int) -> None:
    """What `matrix.proven` asserts, where the stand-in has ended with the run: its journal tells what it accepted."""
    journal = (house.command.home / "sandbox" / "state.jsonl").read_text(encoding="utf-8").splitlines()
    accepted = [event["create"]["input"] for event in map(json.loads, journal) if "create" in event]
    facts = house.command.status("night")
    verified = house.command("verify", "night", "--json")
    row = matrix.Row(
        fault=fault,
        jobs=matrix.jobs(),
        injected=injected,
        accepted=len(accepted),
        paid_retries=0,
        orphans=facts["orphans"],
        failed=facts["failed"],
        stored=facts["images"],
        duplicates=len(accepted) - facts["total"],
        lost=facts["total"] - facts["succeeded"],
        recovery_seconds=None,
        test=os.environ.get("PYTEST_CURRENT_TEST", "").removesuffix(" (call)"),
    )
    matrix.keep(row)

    assert injected > 0
    assert 0 == verified.code, verified.out + verified.err
    assert (0, 0, matrix.jobs(), matrix.jobs()) == (row.duplicates, row.lost, facts["total"], row.stored)
    with Ledger(f"sqlite:///{house.command.home / 'ledger.sqlite'}") as ledger:
        assert_books_balance(ledger)


def test_children_of_a_run_killed(house: House) -> None:
    """Server, stand-in and workers, in turn: each is started again, once, and the run goes on to its end."""
    with watched(house) as most:
        running = house.run()
        for number, kind in enumerate(["server", "provider", "worker", "provider", "server", "worker"]):
            eventually(lambda least=2 * number: house.succeeded() >= least, timeout_seconds=90, what="work goes on")
            killed = house.kill(kind)
            eventually(
                lambda kind=kind, killed=killed: set(house.pids(kind)) - {killed},
                timeout_seconds=60,
                what=f"the {kind} is back",
            )
        ended = running.end(timeout_seconds=180 + matrix.jobs())

    assert 0 == ended.code, ended.err
    assert (1, 1) == (most["server"], most["provider"])
    assert {} == house.command.processes()
    assert 6 == ended.err.count("killed by SIGKILL")
    proven(house, fault="kill -9 of a run's children", injected=6)


def test_a_run_killed_again_and_again(house: House) -> None:
    """And started again at once, while its children may still be ending."""
    kills = 5
    with watched(house) as most:
        for number in range(kills):
            running = house.run()
            eventually(lambda least=number: house.succeeded() > least, timeout_seconds=90, what="some work is done")
            assert -signal.SIGKILL == running.kill()
        ended = house.run().end(timeout_seconds=180 + matrix.jobs())

    assert 0 == ended.code, ended.err
    assert (1, 1) == (most["server"], most["provider"])
    assert {} == house.command.processes()
    proven(house, fault="kill -9 of run itself", injected=kills)


def test_two_runs_and_the_keeper_killed(house: House) -> None:
    """While replies are lost: the other takes over what the one had kept, and nobody starts anything twice."""
    with watched(house) as most:
        first = house.run()
        eventually(lambda: house.pids("worker"), timeout_seconds=60, what="the first keeps the workers")
        second = house.run()
        eventually(lambda: house.succeeded() > 0, timeout_seconds=60, what="work goes on")
        house.lose_replies()
        eventually(lambda: house.succeeded() > 4, timeout_seconds=60, what="work goes on")
        assert -signal.SIGKILL == first.kill()
        ended = second.end(timeout_seconds=180 + matrix.jobs())

    assert 0 == ended.code, ended.err
    assert (1, 1) == (most["server"], most["provider"])
    assert {} == house.command.processes()
    proven(house, fault="two runs, the keeper killed", injected=1)
