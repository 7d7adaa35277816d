"""Fixtures of the fault matrix, and its table at the end of a run."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import matrix
from tests.servers.sandbox import SandboxServer
from tests.system.fleet import Fleet


@pytest.fixture
def fleet(tmp_path: Path, redis_url: str, sandbox: SandboxServer) -> Iterator[Fleet]:
    """Workers on SQLite, a folder and the sandbox, without limits."""
    with Fleet(tmp_path, sandbox=sandbox, redis_url=redis_url) as fleet:
        yield fleet


@pytest.fixture
def paced(tmp_path: Path, redis_url: str, sandbox: SandboxServer) -> Iterator[Fleet]:
    """Ten creates a second, so that a claimed job waits a moment for its place."""
    with Fleet(tmp_path, sandbox=sandbox, redis_url=redis_url, IMAGEJOBS_CREATES_PER_MINUTE="600") as fleet:
        yield fleet


@pytest.fixture
def spread(tmp_path: Path, redis_url: str, sandbox: SandboxServer) -> Iterator[Fleet]:
    """An allowance that spreads the creates over some 25 seconds, however many there are."""
    per_minute = max(60, int(matrix.jobs() * 60 / 25))
    with Fleet(tmp_path, sandbox=sandbox, redis_url=redis_url, IMAGEJOBS_CREATES_PER_MINUTE=str(per_minute)) as fleet:
        yield fleet


def pytest_configure() -> None:
    """The report, before the processes that run the rows are started: they inherit its name."""
    if matrix.REPORT not in os.environ:
        handle, os.environ[matrix.REPORT] = tempfile.mkstemp(prefix="faults-", suffix=".jsonl")
        os.close(handle)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was proven."""
    report = Path(os.environ[matrix.REPORT])
    if report.exists() and report.stat().st_size:
        terminalreporter.section("fault matrix")
        for line in matrix.shown(report):
            terminalreporter.write_line(line)
