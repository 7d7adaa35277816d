"""Who takes part, each as its own documentation would have it. Data: commands, and what they are told."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ops.bench.scenarios import Scenario

ROOT = Path(__file__).parents[2]
PEERS = ROOT / ".venv-bench" / "bin"
HERE = "ops.bench.peers"
FILE = "FILE"  # stands for the rows' path in a command


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """`workers` are its processes. A queue's rows are brought by `enqueue`; without one, it is a script that takes
    the file, makes it all and ends.
    """

    name: str
    title: str
    workers: tuple[tuple[str, ...], ...]
    enqueue: tuple[str, ...] = ()
    in_flight: str = "threads"
    marker: str | None = None
    """What it puts into the bucket when all else is done; its cost up to there is the images' cost."""

    is_ours: bool = False
    on_postgres: bool = False
    environ: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_script(self) -> bool:
        """Whether it has no queue."""
        return not self.enqueue

    def commands(self, scenario: Scenario, path: Path) -> list[list[str]]:
        """What to start, the file's path and the scenario's numbers filled in."""
        return [filled(command, scenario, path) for command in self.workers]

    def under_way(self, scenario: Scenario) -> int:
        """How many images it may have in hand at once."""
        return scenario.coroutines if self.in_flight == "coroutines" else scenario.threads


def filled(command: tuple[str, ...], scenario: Scenario, path: Path) -> list[str]:
    """A command with its placeholders replaced."""
    stands_for = {FILE: str(path), "THREADS": str(scenario.threads), "COROUTINES": str(scenario.coroutines)}
    return [stands_for.get(word, word) for word in command]


def _script(name: str, title: str, *, in_flight: str = "threads") -> Contestant:
    command = (str(PEERS / "python"), "-m", f"{HERE}.{name.replace('-', '_')}_script", FILE)
    return Contestant(name=name, title=title, workers=(command,), in_flight=in_flight)


def _queue(name: str, title: str, module: str, *worker: str, in_flight: str = "threads") -> Contestant:
    enqueue = (str(PEERS / "python"), "-m", f"{HERE}.{module}", FILE)
    command = (str(PEERS / worker[0]), *worker[1:])
    return Contestant(name=name, title=title, workers=(command,), enqueue=enqueue, in_flight=in_flight)


def _celery(pool: str, concurrency: int) -> Contestant:
    options = ("worker", "-P", pool, "-c", str(concurrency), "-l", "WARNING", "--without-gossip", "--without-mingle")
    title = f"Celery, a task a step, pool {pool} of {concurrency}"
    return _queue(f"celery-{pool}", title, "celery_app", "celery", "-A", f"{HERE}.celery_app", *options)


def _ours(ledger: str, workers: int) -> Contestant:
    return Contestant(
        name=f"imagejobs-{ledger}-{workers}",
        title=f"imagejobs on {'PostgreSQL' if ledger == 'postgres' else 'SQLite'}, workers: {workers}",
        workers=((sys.executable, "-m", "worker"),) * workers,
        enqueue=(sys.executable, "-m", "producer", "submit", FILE),
        marker="_SUCCESS",
        is_ours=True,
        on_postgres=ledger == "postgres",
        environ={"IMAGEJOBS_LOG_LEVEL": "warning"},
    )


_ALL = (
    *(_ours(ledger, workers) for ledger in ("sqlite", "postgres") for workers in (1, 2, 4, 8)),
    _script("asyncio", "asyncio script: aiohttp, aiobotocore; nothing durable", in_flight="coroutines"),
    _script("threads", "script: requests and boto3 in threads; nothing durable"),
    _script("replicate", "script: the official client in threads; nothing durable"),
    _celery("prefork", 8),
    _celery("threads", 64),
    _celery("gevent", 200),
    _queue(
        "dramatiq",
        "dramatiq, an actor a step, 2 processes of 32 threads",
        "dramatiq_app",
        "dramatiq",
        f"{HERE}.dramatiq_app",
        "-p",
        "2",
        "-t",
        "32",
    ),
    _queue(
        "taskiq",
        "taskiq on a stream, a coroutine an image",
        "taskiq_app",
        *("taskiq", "worker", f"{HERE}.taskiq_app:broker", "--workers", "1", "--max-async-tasks", "COROUTINES"),
        in_flight="coroutines",
    ),
    _queue(
        "arq", "arq, a coroutine an image", "arq_app", "arq", f"{HERE}.arq_app.WorkerSettings", in_flight="coroutines"
    ),
    _queue("rq", "RQ, a function an image, 8 workers", "rq_app", "rq", "worker-pool", "-n", "8", "-l", "WARNING"),
)
CONTESTANTS = {contestant.name: contestant for contestant in _ALL}


def environ_of(contestant: Contestant, scenario: Scenario, given: Mapping[str, str]) -> dict[str, str]:
    """The environment of its processes: nothing of the developer's but PATH. `given` names the servers."""
    told = {
        "PATH": f"{PEERS}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "LC_ALL": "C.UTF-8",
        "PYTHONPATH": str(ROOT),
        "AWS_EC2_METADATA_DISABLED": "true",
        "IMAGEJOBS_CREATES_PER_MINUTE": f"{scenario.creates_per_second * 60:.0f}",
        "IMAGEJOBS_CALLS_PER_MINUTE": f"{scenario.calls_per_second * 60:.0f}",
        "BENCH_IN_FLIGHT": str(contestant.under_way(scenario)),
        "BENCH_POLL_SECONDS": str(scenario.poll_seconds),
        "BENCH_CREATES_PER_SECOND": str(scenario.creates_per_second),
        "RQ_REDIS_URL": given["REDIS_URL"],
    }
    return {**told, **given, **contestant.environ}
