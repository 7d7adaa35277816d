"""A fleet on one machine for system tests: the real commands and processes, and proofs from the other sides.

`Fleet` starts a sandbox, a Redis-compatible server and workers, and records a batch; `settled` holds the ledger, the
provider's own counts and the store's bytes against each other.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from imagejobs.edges.bucket import open_store
from imagejobs.job import Batch
from imagejobs.ledger import Ledger
from imagejobs.settings import Settings
from imagejobs.states import State
from producer import submit_batch
from tests.ledger_books import assert_books_balance
from tests.servers.sandbox import SandboxServer
from tests.servers.waiting import eventually

ROOT = Path(__file__).parents[2]


def rows(count: int, **fields: Any) -> list[dict[str, Any]]:
    """That many small specs, each with a prompt of its own."""
    usual = {"width": 128, "height": 128, "num_inference_steps": 10}
    return [{"id": f"r{number:04}", "prompt": f"lighthouse {number}", **usual, **fields} for number in range(count)]


class Fleet:
    """Workers on one ledger, one Redis and one sandbox."""

    def __init__(self, folder: Path, *, sandbox: SandboxServer, redis_url: str, **environ: str) -> None:
        self.folder = folder
        self.sandbox = sandbox
        self.environ = {
            "IMAGEJOBS_HOME": str(folder),
            "REDIS_URL": redis_url,
            "DATABASE_URL": f"sqlite:///{folder / 'ledger.sqlite'}",
            "IMAGEJOBS_STORE": (folder / "store").as_uri(),
            "REPLICATE_BASE_URL": sandbox.url,
            "REPLICATE_API_TOKEN": sandbox.token,
            "IMAGEJOBS_CREATES_PER_MINUTE": "0",
            "IMAGEJOBS_CALLS_PER_MINUTE": "0",
            "IMAGEJOBS_READ_SECONDS": "3",
            "IMAGEJOBS_SETTLE_SECONDS": "1",
            **environ,
        }
        self.settings = Settings.read(self.environ)
        self.ledger = Ledger(self.settings.database)
        self.workers: list[subprocess.Popen[bytes]] = []
        self._logs: dict[subprocess.Popen[bytes], Path] = {}

    def submit(self, specs: Sequence[Mapping[str, Any]], *, batch: str = "night", **options: Any) -> Batch:
        """Record a batch and feed it."""
        submit_batch(specs, batch=batch, settings=self.settings, **options)
        return self.batch(batch)

    def batch(self, key: str = "night") -> Batch:
        """The batch as the ledger has it now. Its counts sum, whenever it is looked at."""
        found = self.ledger.batches.get(key)
        assert found is not None
        assert sum(found.counts.values()) == found.total
        return found

    def start(self, count: int = 1, *, root: Path = ROOT, **environ: str) -> list[subprocess.Popen[bytes]]:
        """Start worker processes, of the version whose packages lie in `root`."""
        started = [self._start(root, environ) for _ in range(count)]
        self.workers += started
        return started

    def _start(self, root: Path, environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
        path = self.folder / f"worker-{len(self._logs) + 1:03}.log"
        with path.open("ab") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", "worker"],
                env={**os.environ, **self.environ, **environ},
                cwd=root,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._logs[worker] = path
        return worker

    def kill(self, worker: subprocess.Popen[bytes]) -> None:
        """kill -9."""
        worker.kill()
        worker.wait()
        self.workers.remove(worker)

    def closed(self, key: str = "night", *, timeout_seconds: float = 90.0) -> Batch:
        """Wait until the batch is closed."""
        eventually(
            lambda: self.batch(key).is_done,
            timeout_seconds=timeout_seconds,
            every_seconds=0.2,
            what=lambda: f"batch {key} closed; {self.batch(key)}; {self.last_words()}",
        )
        return self.batch(key)

    def reached(self, condition: Callable[[Batch], object], *, timeout_seconds: float = 60.0) -> Batch:
        """Wait until the batch is as `condition` says."""
        eventually(
            lambda: condition(self.batch()), timeout_seconds=timeout_seconds, every_seconds=0.02, what="the batch"
        )
        return self.batch()

    def command(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """`imagejobs` with the fleet's settings, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "producer", *arguments],
            env={**os.environ, **self.environ, **environ},
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def told(self, *arguments: str) -> str:
        """What a command that must succeed prints."""
        done = self.command(*arguments)
        assert 0 == done.returncode, done.stderr
        return done.stdout

    def log(self, *workers: subprocess.Popen[bytes]) -> str:
        """What these workers have said, or all of them."""
        paths = [self._logs[worker] for worker in workers or self._logs]
        return "".join(path.read_text(encoding="utf-8", errors="replace") for path in paths)

    def last_words(self) -> str:
        """How each worker's log ends, for who looks into a failed test."""
        return "; ".join(f"{log.name} ends {log.read_text(errors='replace')[-600:]}" for log in self._logs.values())

    def events(self, name: str, *workers: subprocess.Popen[bytes]) -> list[dict[str, Any]]:
        """Every event of this name that these workers have logged, or all of them."""
        lines = [line for line in self.log(*workers).splitlines() if f'"event": "{name}"' in line]
        return [json.loads(line) for line in lines if line.endswith("}")]

    def is_up(self, worker: subprocess.Popen[bytes]) -> bool:
        """Whether the worker has opened its doors: it takes messages from here on."""
        with self._logs[worker].open(encoding="utf-8", errors="replace") as log:
            return '"event": "worker_starts"' in log.read(4096)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self.workers:
            worker.send_signal(signal.SIGCONT)
            worker.terminate()
        over = time.monotonic() + 10
        for worker in self.workers:
            try:
                worker.wait(max(0.1, over - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
        self.ledger.close()


def assert_all_stored(fleet: Fleet, batch: Batch, *, images: int) -> None:
    """Every job succeeded, the books balance, and the store holds every image, byte for byte."""
    assert (batch.total, images) == (batch.counts[State.SUCCEEDED], batch.images)
    assert_books_balance(fleet.ledger)
    assert images == count_intact(fleet, batch)


def assert_paid_once(fleet: Fleet, batch: Batch) -> None:
    """The provider's own count: one accepted prediction a job, none twice."""
    stats = fleet.sandbox.stats()
    assert (batch.total, 0) == (stats["creates_accepted"], stats["inputs_paid_twice"])


def count_intact(fleet: Fleet, batch: Batch) -> int:
    """How many of the batch's images are in the store with the very bytes that the ledger recorded."""
    store = open_store(fleet.settings.store_url, {**os.environ, **fleet.environ})
    prefix = store.uri(batch.key) + "/"
    intact = 0
    for row in fleet.ledger.views.image_rows(batch.id):
        data = store.get(f"{batch.key}/{row['uri'].removeprefix(prefix)}")
        intact += (len(data), hashlib.sha256(data).hexdigest()) == (row["bytes"], row["sha256"])
    return intact
