"""What a run tells its contestant, by environment; and the rows of a file. Standard library only: every peer has it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

BASE_URL = os.environ["REPLICATE_BASE_URL"]
HEADERS = {"Authorization": f"Bearer {os.environ['REPLICATE_API_TOKEN']}"}
VERSION = os.environ["BENCH_VERSION"]
BUCKET = os.environ["BENCH_BUCKET"]
REDIS_URL = os.environ["REDIS_URL"]
IN_FLIGHT = int(os.environ["BENCH_IN_FLIGHT"])
"""How many images may be under way at once: threads, coroutines or jobs, as the peer counts them."""

POLL_SECONDS = float(os.environ["BENCH_POLL_SECONDS"])
CREATES_PER_SECOND = float(os.environ["BENCH_CREATES_PER_SECOND"])
"""The account's limit, for peers that pace themselves; 0 is none."""

TRIES = 5
"""How often anything is tried before it is given up."""

FINAL = ("succeeded", "failed", "canceled", "aborted")


class Failed(Exception):
    """The prediction ended without an image: only a new one can help."""


class Throttled(Exception):
    """429. `after_seconds` is what the provider asked to wait."""

    def __init__(self, after_seconds: float) -> None:
        super().__init__(after_seconds)
        self.after_seconds = after_seconds


def rows(path: str) -> list[dict[str, Any]]:
    """A JSONL file of specs: `id`, and the fields of the provider's input."""
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def body(row: dict[str, Any]) -> dict[str, Any]:
    """What a create posts for a row."""
    return {"version": VERSION, "input": {name: value for name, value in row.items() if name != "id"}}


def key(row: dict[str, Any]) -> str:
    """Where the row's image goes."""
    return f"images/{row['id']}.png"


def image_of(prediction: dict[str, Any]) -> str | None:
    """The address of its image; None while it runs. Raises Failed."""
    if prediction["status"] not in FINAL:
        return None
    if prediction["status"] != "succeeded" or not prediction["output"]:
        raise Failed(prediction["error"] or prediction["status"])
    return str(prediction["output"][0])
