"""The official client in threads, as its README has it: `python -m ops.bench.peers.replicate_script FILE`."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import boto3
import replicate

from ops.bench.peers import surroundings


@cache
def bucket() -> Any:
    """One client for all threads."""
    return boto3.client("s3")


def make(client: replicate.Client, row: dict[str, Any]) -> None:
    """Run the model and store its first output. The client itself retries what it thinks is safe."""
    wanted = surroundings.body(row)
    try:
        output = client.run(f"stability-ai/stable-diffusion:{wanted['version']}", input=wanted["input"])
        data = output[0].read()
        bucket().put_object(Bucket=surroundings.BUCKET, Key=surroundings.key(row), Body=data, ContentType="image/png")
    except Exception as error:  # noqa: BLE001 - one lost image must not end the night
        print(row["id"], repr(error), file=sys.stderr)


def main(path: str) -> None:
    """Make all rows of the file."""
    client = replicate.Client(base_url=surroundings.BASE_URL)
    client.poll_interval = surroundings.POLL_SECONDS
    bucket()
    with ThreadPoolExecutor(surroundings.IN_FLIGHT) as pool:
        list(pool.map(lambda row: make(client, row), surroundings.rows(path)))


if __name__ == "__main__":
    main(sys.argv[1])
