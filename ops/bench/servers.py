"""The servers of a run, each a process of its own: those of the tests, set up as one would for real, and the sink."""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg
import redis

from ops.bench import reaper
from ops.bench.contestants import ROOT
from ops.bench.family import cpu_seconds
from ops.bench.measures import Made
from ops.bench.scenarios import Scenario
from tests.servers.ports import free_port
from tests.servers.postgres import PostgresServer
from tests.servers.process import Server
from tests.servers.sandbox import STABLE_DIFFUSION, SandboxServer
from tests.servers.valkey import ValkeyServer

BUCKET = "bench"
PICTURES = 8  # drawn once; after that, each answer differs in its comment alone
ANSWER_SECONDS = 30.0


class Sink(Server):
    """`sink.py`, which counts what is put."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.port = free_port()

    @property
    def environ(self) -> dict[str, str]:
        """What points boto3 and botocore at it."""
        return {
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench-bench-bench",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def command(self) -> Sequence[str]:
        return [sys.executable, "-m", "ops.bench.sink", "--port", str(self.port)]

    def environment(self) -> Mapping[str, str]:
        return {"PYTHONPATH": str(ROOT)}

    def is_ready(self) -> bool:
        return self.images() == 0

    def images(self) -> int:
        """How many rows have an intact image."""
        return int(self._ask("GET", "count")["images"])

    def has(self, name: str) -> bool:
        """Whether something that is no image was put under this name, in whatever folder."""
        return name in self._ask("GET", "count")["others"]

    def arrivals(self) -> tuple[dict[str, int], dict[str, float]]:
        """Its counts, and when each row's first intact image came."""
        seen = self._ask("GET", "arrivals")
        return seen["counts"], seen["arrivals"]

    def reset(self) -> None:
        """Count from here on."""
        self._ask("POST", "reset")

    def outage(self, seconds: float) -> None:
        """Answer everybody with 503 for so long."""
        self._ask("POST", f"outage?seconds={seconds}")

    def _ask(self, method: str, name: str) -> dict[str, Any]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/_sink/{name}", method=method)
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as reply:
            answer: dict[str, Any] = json.load(reply)
        return answer


class Provider(SandboxServer):
    """The sandbox under load, with a scenario's limits and moods."""

    def __init__(self, folder: Path, scenario: Scenario) -> None:
        super().__init__(
            folder,
            run_seconds=scenario.run_seconds,
            cold_start_seconds=scenario.cold_start_seconds,
            creates_per_minute=scenario.creates_per_second * 60,
            calls_per_minute=scenario.calls_per_second * 60,
            burst=scenario.burst,
            image_cache=PICTURES,
        )

    def made(self) -> list[Made]:
        """Every accepted prediction."""
        return [
            Made(
                row=listed["input"]["prompt"],
                status=listed["status"],
                created_at=seconds(listed["created_at"]),
                completed_at=seconds(listed["completed_at"]) if listed["completed_at"] else None,
            )
            for listed in self.predictions()
        ]


class DurablePostgres(PostgresServer):
    """The tests' server leaves out what only a machine's crash would need; here its cost belongs to the figure."""

    def command(self) -> Sequence[str]:
        return [*super().command(), "-c", "fsync=on"]

    def totals(self) -> dict[str, float]:
        """Transactions that wrote, all that were committed, and bytes of its journal, since it was made."""
        with closing(psycopg.connect(self.url_of("postgres").replace("+psycopg", ""), connect_timeout=5)) as connection:
            row = connection.execute(_TOTALS).fetchone() or (0, 0, 0)
        names = ("database_writes", "database_commits", "database_journal_bytes")
        return dict(zip(names, map(float, row), strict=True))


_TOTALS = """\
SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint,
    (SELECT sum(xact_commit) FROM pg_stat_database),
    pg_current_wal_lsn() - '0/0'
"""


class Servers:
    """Valkey, PostgreSQL (once it is asked for) and the sink, for all runs. A context manager."""

    def __init__(self, folder: Path) -> None:
        self._stack = ExitStack()
        self._postgres: DurablePostgres | None = None
        self._folder = folder
        self.valkey = ValkeyServer(folder / "valkey")
        self.sink = Sink(folder / "sink")

    def __enter__(self) -> Self:
        self._stack.enter_context(self.valkey)
        self._stack.enter_context(self.sink)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def environ(self, provider: Provider) -> dict[str, str]:
        """The variables that name the servers, with an empty Redis database."""
        return {
            **self.sink.environ,
            "REDIS_URL": self.valkey.fresh_url(),
            "REPLICATE_BASE_URL": provider.url,
            "REPLICATE_API_TOKEN": provider.token,
            "IMAGEJOBS_STORE": f"s3://{BUCKET}/batches",
            "BENCH_BUCKET": BUCKET,
            "BENCH_VERSION": STABLE_DIFFUSION,
        }

    def new_database(self) -> str:
        """DATABASE_URL of an empty PostgreSQL database."""
        if self._postgres is None:
            self._postgres = self._stack.enter_context(DurablePostgres(self._folder / "postgres"))
        return self._postgres.create_database()

    def redis_info(self) -> dict[str, Any]:
        """The server's own counts: `total_commands_processed`, `used_memory` and so on."""
        with redis.Redis.from_url(self.valkey.url, socket_timeout=ANSWER_SECONDS) as client:
            info: dict[str, Any] = client.info()
        return info

    def totals(self, provider: Provider) -> dict[str, float]:
        """What each has used and done since it was started: a run's share is the difference of two."""
        seen = self.redis_info()
        traffic = seen["total_net_input_bytes"] + seen["total_net_output_bytes"]
        used = {"provider": provider, "sink": self.sink, "redis": self.valkey, "database": self._postgres}
        return {
            **{f"{name}_cpu_ms": cpu_ms(server) for name, server in used.items() if server is not None},
            **({} if self._postgres is None else self._postgres.totals()),
            "redis_commands": seen["total_commands_processed"],
            "redis_bytes": traffic,
        }


def cpu_ms(server: Server) -> float:
    """User and system time of a server and its children."""
    return 1000 * sum(map(cpu_seconds, (server.pid, *reaper.family(server.pid))))


def seconds(stamp: str) -> float:
    """Seconds since 1970 of a time stamp that the provider shows to the nanosecond."""
    whole, _, fraction = stamp.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{whole}+00:00").timestamp() + float(f"0.{fraction or 0}")
