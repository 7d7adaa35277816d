"""A step of a data pipeline: submit a file of specs, wait for the batch, hand its images on.

    imagejobs worker &                                   # or a fleet, with the same settings
    python examples/pipeline.py specs.jsonl night-2026-11-24

Safe to run again at any point, also after a crash: the same key is the same batch, and nothing is paid for twice.
"""

from __future__ import annotations

import sys

from imagejobs.states import State
from producer import get_batch, submit_batch


def main(file: str, key: str) -> int:
    """Print one line an image: id, address, SHA-256. Returns the number of failed jobs."""
    submit_batch(file, batch=key).wait(timeout_seconds=12 * 3600)
    batch = get_batch(key)
    for image in batch.images():
        print(image["id"], image["uri"], image["sha256"])  # noqa: T201 - its output is what the next step reads
    for group in batch.failures():
        print(f"{group.count} failed: {group.cause}: {group.sample_error}", file=sys.stderr)  # noqa: T201
    return batch.status().counts[State.FAILED]


if __name__ == "__main__":
    sys.exit(1 if main(*sys.argv[1:3]) else 0)
