"""Makes the bucket that IMAGEJOBS_STORE names, if it is not there yet. Runs once, before the workers start."""

from __future__ import annotations

import os
import sys
from urllib.parse import urlsplit

import boto3
import botocore.config
import botocore.exceptions

PATIENCE = botocore.config.Config(connect_timeout=5, read_timeout=30, retries={"total_max_attempts": 3})


def main(store: str) -> str:
    """What was done, in a line. Raises botocore's errors when the store refuses."""
    name = urlsplit(store).hostname
    if not store.startswith("s3://") or not name:
        sys.exit("IMAGEJOBS_STORE must be s3://bucket or s3://bucket/prefix")
    client = boto3.client("s3", config=PATIENCE)
    try:
        client.head_bucket(Bucket=name)
    except botocore.exceptions.ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise
        client.create_bucket(Bucket=name)
        return f"bucket {name} made"
    return f"bucket {name} is there"


if __name__ == "__main__":
    print(main(os.environ["IMAGEJOBS_STORE"]))
