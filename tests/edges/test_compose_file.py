"""docker-compose.yml as Docker's own tool reads it (no engine is needed), and its one-shot service on real stores."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers.requirement import give_up
from tests.servers.s3 import Bucket, S3Server

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "ops" / "compose"


def compose_command() -> list[str]:
    """`docker compose` where the plugin is, else Debian's docker-compose, which checks against the same schema."""
    for command in (["docker", "compose"], ["docker-compose"]):
        has_program = shutil.which(command[0]) is not None
        if has_program and subprocess.run([*command, "version"], capture_output=True, check=False).returncode == 0:
            return command
    return give_up(["docker compose"])


def read_by_compose(env_file: Path) -> subprocess.CompletedProcess[str]:
    arguments = ["--file", str(ROOT / "docker-compose.yml"), "--env-file", str(env_file)]
    return subprocess.run(
        [*compose_command(), *arguments, "--profile", "demo", "config", "--quiet"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_compose_accepts_the_file(tmp_path: Path) -> None:
    """Valid against the schema, every reference resolved, with the .env that make_env writes."""
    subprocess.run([sys.executable, COMPOSE / "make_env.py", tmp_path / "env"], check=True, timeout=30)

    read = read_by_compose(tmp_path / "env")

    assert (read.returncode, read.stderr) == (0, "")


def test_compose_refuses_missing_secrets(tmp_path: Path) -> None:
    """Without .env nothing starts, and the message names what makes one."""
    (tmp_path / "env").touch()

    read = read_by_compose(tmp_path / "env")

    assert read.returncode != 0
    assert "make_env.py" in read.stderr


def make_bucket(settings: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, COMPOSE / "make_bucket.py"],
        env={"PATH": os.environ["PATH"], **settings},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.strip()


def test_the_bucket_is_made_once(s3_server: S3Server) -> None:
    """The second run finds it, and the objects in it stay."""
    settings = {**s3_server.settings, "IMAGEJOBS_STORE": "s3://made-by-compose/prefix"}

    assert make_bucket(settings) == "bucket made-by-compose made"
    s3_server.client().put_object(Bucket="made-by-compose", Key="k", Body=b"bytes")

    assert make_bucket(settings) == "bucket made-by-compose is there"
    assert s3_server.client().get_object(Bucket="made-by-compose", Key="k")["Body"].read() == b"bytes"


@pytest.mark.parametrize("s3_server", ["radosgw"], indirect=True)
def test_a_refusal_is_not_taken_for_a_missing_bucket(bucket: Bucket) -> None:
    """With wrong keys the one-shot service fails, and no worker starts."""
    settings = {**bucket.settings, "AWS_SECRET_ACCESS_KEY": "wrong", "IMAGEJOBS_STORE": f"s3://{bucket.name}"}

    with pytest.raises(subprocess.CalledProcessError) as refused:
        make_bucket(settings)

    assert "403" in refused.value.stderr
