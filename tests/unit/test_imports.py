"""What a command must not import on its way: somebody waits for it, or a row for its turn."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

SLOW = ("celery", "requests", "boto3", "jsonschema", "alembic", "aiohttp", "pyarrow")


@pytest.mark.parametrize(
    ("module", "not_needed"),
    [
        pytest.param("producer.cli", (*SLOW, "sqlalchemy", "pydantic", "redis", "structlog"), id="help"),
        pytest.param(
            "producer.enqueue, imagejobs.queues",
            (*SLOW, "sqlalchemy.dialects.postgresql"),
            id="recording a batch, with Redis to be asked first",
        ),
    ],
)
def test_commands_import_what_they_need(module: str, not_needed: tuple[str, ...]):
    code = f"import {module}, json, sys; print(json.dumps([*sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = set(json.loads(done.stdout))

    assert {"producer"} < imported
    assert [] == [name for name in not_needed if name in imported]
