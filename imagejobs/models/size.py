"""Which size an image must have: known for the models whose width and height mean just that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imagejobs.settings import DEFAULT_VERSION

_EXACT = frozenset({DEFAULT_VERSION.partition(":")[2]})


def expected_size(version: str, given: Mapping[str, Any]) -> tuple[int, int] | None:
    """Width and height that every output must have; None where the model is free to choose."""
    if version.rpartition(":")[2] not in _EXACT:
        return None
    width, height = given.get("width"), given.get("height")
    return (width, height) if isinstance(width, int) and isinstance(height, int) else None
