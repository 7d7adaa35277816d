"""docker-compose.yml without Docker: its very commands and variables, as plain processes on real servers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from imagejobs.job import Batch
from imagejobs.ledger import Ledger
from imagejobs.states import State
from tests.ledger_books import assert_books_balance
from tests.servers.sandbox import SandboxServer
from tests.servers.waiting import eventually

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
REFERENCE = re.compile(r"\$\{(\w+)(?::[-?][^}]*)?\}")


@pytest.fixture
def doors(postgres_server, bucket, redis_url, tmp_path) -> Mapping[str, str]:
    """What stands for the hosts of the compose file here: the same variables, other addresses."""
    return {
        "IMAGEJOBS_HOME": str(tmp_path / "home"),
        "REDIS_URL": redis_url,
        "DATABASE_URL": postgres_server.create_database(),
        "IMAGEJOBS_STORE": f"s3://{bucket.name}/night",
        **bucket.settings,
    }


def environment(service: str, doors: Mapping[str, str], sandbox: SandboxServer) -> dict[str, str]:
    """The service's own variables, each with a value: the compose file's, or that of the server that stands for it."""
    given = {**doors, "REPLICATE_BASE_URL": sandbox.url, "REPLICATE_API_TOKEN": sandbox.token}
    written = COMPOSE[service]["environment"]
    assert set(doors) <= set(written)
    texts = {name: value for name, value in written.items() if value is not None}  # the others are not set
    return {name: given.get(name, REFERENCE.sub(_default, str(value))) for name, value in texts.items()}


def _default(reference: re.Match[str]) -> str:
    return reference.group(0).partition(":-")[2].rstrip("}")


@contextmanager
def running(service: str, environ: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The service's command, as the image's entry point would run it."""
    command = [sys.executable, "-m", "producer", *COMPOSE[service]["command"]]
    with (
        log.open("ab") as out,
        subprocess.Popen(command, env={**os.environ, **environ}, cwd=ROOT, stdout=out, stderr=out) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60)


def test_a_fleet_by_the_compose_files_own_commands(doors, sandbox, tmp_path):
    """Three workers on PostgreSQL, Redis and S3; submitted from elsewhere; one is stopped: all is stored once."""
    log = tmp_path / "fleet.log"
    environ = environment("demo-worker", doors, sandbox)
    with ExitStack() as stack:
        workers = [stack.enter_context(running("demo-worker", environ, log)) for _ in range(3)]
        _submit(environment("demo", doors, sandbox), tmp_path)
        with Ledger(doors["DATABASE_URL"]) as ledger:
            eventually(lambda: _only(ledger).counts[State.SUCCEEDED] > 10, timeout_seconds=60, what="work is going on")
            workers[0].terminate()
            eventually(lambda: _only(ledger).is_done, timeout_seconds=120, every_seconds=0.5, what="the batch closed")
            batch = _only(ledger)
            assert_books_balance(ledger)

    assert batch.total == batch.counts[State.SUCCEEDED] == sandbox.stats()["creates_accepted"]
    assert 0 == sandbox.stats()["inputs_paid_twice"]


def test_doctor_is_content_with_a_whole_fleet(doors, sandbox, tmp_path):
    """The worker's health check, word for word."""
    environ = environment("worker", doors, sandbox)
    command = COMPOSE["worker"]["healthcheck"]["test"][2:]
    done = subprocess.run(
        [sys.executable, "-m", "producer", *command, "--json"],
        env={**os.environ, **environ},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert 0 == done.returncode, done.stdout + done.stderr
    assert json.loads(done.stdout)


def _submit(environ: Mapping[str, str], folder: Path) -> None:
    _, example = COMPOSE["demo"]["command"]
    rows = (ROOT / example.lstrip("/")).read_text(encoding="utf-8").splitlines()[:40]
    file = folder / Path(example).name
    file.write_text("\n".join(rows), encoding="utf-8")
    subprocess.run(
        [sys.executable, "-m", "producer", "submit", str(file)],
        env={**os.environ, **environ},
        cwd=ROOT,
        check=True,
        timeout=60,
    )


def _only(ledger: Ledger) -> Batch | Any:
    (batch,) = ledger.batches.all()
    return batch
