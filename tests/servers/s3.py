"""Object stores that speak S3: ministack from its wheel (an emulator), and radosgw in rados_gateway.py."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import botocore.exceptions

from tests.servers.ports import free_port
from tests.servers.process import Server

REGION = "us-east-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A bucket, and the environment that points boto3, and so the commands, at its store."""

    name: str
    settings: Mapping[str, str]


class S3Server(Server):
    """What a test needs to know of a store: its endpoint, its keys, and buckets of its own."""

    access_key = "AKIAIMAGEJOBSTESTS01"
    secret_key = "correct-horse-battery-staple-correct-horse"
    not_yet = (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.port = free_port()
        self._numbers = itertools.count(1)

    @property
    def endpoint(self) -> str:
        """What AWS_ENDPOINT_URL_S3 takes."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def settings(self) -> Mapping[str, str]:
        """The environment that points boto3, and so the commands, at this store."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_DEFAULT_REGION": REGION,
        }

    def client(self, **changes: Any) -> Any:
        """A boto3 client, for looking at the store from outside; `changes` go to boto3 (another key, say)."""
        facts = {
            "endpoint_url": self.endpoint,
            "aws_access_key_id": self.access_key,
            "aws_secret_access_key": self.secret_key,
            "region_name": REGION,
            "config": boto3.session.Config(connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 1}),
        }
        return boto3.client("s3", **{**facts, **changes})

    def make_bucket(self) -> str:
        """A new empty bucket; returns its name."""
        name = f"bucket-{next(self._numbers)}"
        self.client().create_bucket(Bucket=name)
        return name

    def is_ready(self) -> bool:
        """A bucket can be made and removed: that is the last thing a store learns while it comes up."""
        client = self.client()
        client.create_bucket(Bucket="readiness-probe")
        client.delete_bucket(Bucket="readiness-probe")
        return True


class MinistackServer(S3Server):
    """Objects on disk, right answers, but it takes any secret: whether a signature is right it cannot tell."""

    def command(self) -> Sequence[str]:
        """The wheel's module."""
        return [sys.executable, "-m", "ministack"]

    def environment(self) -> Mapping[str, str]:
        """Loopback and S3 only: by itself it binds all addresses and emulates much more."""
        return {
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self.port),
            "SERVICES": "s3",
            "SFTP_ENABLED": "0",
            "IOT_MTLS_ENABLED": "0",
            "AUTH": "true",
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "S3_PERSIST": "1",
            "S3_DATA_DIR": str(self.folder / "objects"),
        }
