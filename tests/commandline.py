"""The `imagejobs` command as a process: with a home folder of its own, and an environment that is all there is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers.waiting import eventually

ROOT = Path(__file__).parents[1]
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def facts(self) -> Any:
        """What it printed with --json: one document, nothing beside it."""
        return json.loads(self.out)


class Running:
    """A command at work."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def interrupt(self, number: signal.Signals = signal.SIGINT) -> None:
        """Ctrl-C, or another signal."""
        self._process.send_signal(number)

    def end(self, *, timeout_seconds: float = 60.0) -> Ended:
        """Wait for it; one that takes too long is killed, and the test fails."""
        try:
            out, err = self._process.communicate(timeout=timeout_seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            out, err = self._process.communicate()
            raise AssertionError(f"not ended in {timeout_seconds} s; said {out}\n{err}") from None
        return Ended(code=self._process.returncode, out=out, err=err)

    def kill(self) -> int:
        """kill -9. Returns how it ended: -9, unless it had ended before."""
        self._process.kill()
        self._process.communicate()
        return self._process.returncode


class CommandLine:
    """`command("status", "--json")` runs it to its end; `command.start(…)` does not wait."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.folder = folder
        self.home = folder / "home"
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        self.environment = {**kept, "IMAGEJOBS_HOME": str(self.home), "AWS_EC2_METADATA_DISABLED": "true", **variables}

    def __call__(self, *arguments: str | Path, stdin: str | None = None, timeout_seconds: float = 60.0) -> Ended:
        """Run it and wait."""
        running = self.start(*arguments, stdin=stdin)
        return running.end(timeout_seconds=timeout_seconds)

    def start(self, *arguments: str | Path, stdin: str | None = None) -> Running:
        """Run it."""
        source = self._spooled(stdin)
        with source.open() as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "producer", *map(str, arguments)],
                env={**self.environment, "PYTHONPATH": str(ROOT)},
                cwd=self.folder,
                stdin=file,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        return Running(process)

    def _spooled(self, stdin: str | None) -> Path:
        if stdin is None:
            return Path(os.devnull)
        path = self.folder / "stdin"
        path.write_text(stdin, encoding="utf-8")
        return path

    def status(self, batch: str) -> dict[str, Any]:
        """`status BATCH --json`."""
        facts: dict[str, Any] = self("status", batch, "--json").facts
        return facts

    def reached(self, batch: str, **counts: int) -> dict[str, Any]:
        """Wait until the batch has at least so many in these states."""
        return eventually(
            lambda: _facts_if(self.status(batch), counts), timeout_seconds=60, what=f"{batch} reaches {counts}"
        )

    def processes(self) -> dict[int, str]:
        """Whatever runs for this home, by what its command line or its variables say."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                said = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue  # it has just ended, or is another user's
            if str(self.home).encode() in said:
                found[int(folder.name)] = command
        return found


def _facts_if(facts: dict[str, Any], counts: Mapping[str, int]) -> dict[str, Any] | None:
    return facts if all(facts[name] >= least for name, least in counts.items()) else None


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """A .jsonl file of them."""
    path.write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows), encoding="utf-8")
    return path


def small_rows(count: int, **fields: Any) -> list[dict[str, Any]]:
    """Rows of the smallest images there are."""
    usual = {"width": 128, "height": 128, "num_inference_steps": 10}
    return [{"id": f"r{number}", "prompt": f"lighthouse {number}", **usual, **fields} for number in range(count)]
