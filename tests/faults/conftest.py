"""Fixtures of the fault matrix, and its table at the end of a run."""

from __future__ import annotations

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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was proven."""
    if matrix.TABLE:
        terminalreporter.section("fault matrix")
        for line in matrix.shown(matrix.TABLE):
            terminalreporter.write_line(line)
