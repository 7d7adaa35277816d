"""What to do about a server that is not installed: skip on somebody's laptop, fail where it must be there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import pytest


def require(*commands: str) -> dict[str, Path]:
    """Where these commands are on PATH. If one is missing, the test is skipped; with CI set, it fails."""
    found = {command: shutil.which(command) for command in commands}
    missing = [command for command, path in found.items() if path is None]
    if missing:
        give_up(missing)
    return {command: Path(path) for command, path in found.items() if path}


def give_up(missing: Iterable[str]) -> NoReturn:
    """Skip, or with CI set fail: there a server that quietly went missing would make its tests worthless."""
    text = f"not installed: {', '.join(missing)} (.ci/run shows how)"
    if os.environ.get("CI"):
        pytest.fail(text, pytrace=False)
    pytest.skip(text)
