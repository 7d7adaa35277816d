"""What tests of the stand-in provider ask of it."""

from __future__ import annotations

from typing import Any

from tests.servers.sandbox import STABLE_DIFFUSION


def order(**given: Any) -> dict[str, Any]:
    return {"version": STABLE_DIFFUSION, "input": {"prompt": "a hill", "seed": 5, **given}}
