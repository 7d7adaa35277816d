"""What a call through each door costs, beside the same call made with the bare libraries, in turns in one process.

Milliseconds of this process's CPU, and apart from it what the sandbox and the sink take to answer. One thread, so that
no figure holds the price of handing the interpreter's lock around.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import boto3
import requests
import urllib3

from imagejobs.clock import SystemClock
from imagejobs.edges.bucket import open_store
from imagejobs.edges.download import Downloader
from imagejobs.edges.images import inspect
from imagejobs.edges.provider import Provider as Door
from imagejobs.settings import Settings
from ops.bench.book import Figures
from ops.bench.scenarios import S1
from ops.bench.servers import BUCKET, Provider, Servers, cpu_ms
from ops.bench.verbs import Measurement
from sandbox.listing import PAGE
from tests.servers.process import Server
from tests.servers.sandbox import STABLE_DIFFUSION

ROUNDS = 5
OURS, LIBRARY, BARE, ANSWER = "ours", "requests or boto3", "urllib3", "the server's answer to ours"
MAX_BYTES, MAX_PIXELS = 64_000_000, 100_000_000
LIST = f"list of {PAGE}"
INPUT = {"prompt": "picture 000001", "width": S1.side_px, "height": S1.side_px}
Way = Callable[[], object]


def measure(calls: int) -> dict[str, Figures]:
    """By way, milliseconds of CPU a call: medians of rounds in which all take turns; of an answer, over all calls."""
    with (
        tempfile.TemporaryDirectory(prefix="imagejobs-bench-") as folder,
        Servers(Path(folder, "servers")) as servers,
        Provider(Path(folder, "sandbox"), S1) as provider,
        _doors(servers.environ(provider)) as doors,
    ):
        took = {call: _in_turns(ways, calls) for call, ways in doors.items()}
        for call, ways in doors.items():
            if OURS in ways:
                took[call][ANSWER] = _answer_ms(ways[OURS], calls, answerers=(provider, servers.sink))
    return {way: {call: times.get(way) for call, times in took.items()} for way in (OURS, LIBRARY, BARE, ANSWER)}


def _answer_ms(way: Way, calls: int, *, answerers: Sequence[Server]) -> float:
    """One of them answers, the others have nothing to do."""
    before = sum(map(cpu_ms, answerers))
    for _ in range(calls):
        way()
    return (sum(map(cpu_ms, answerers)) - before) / calls


def _in_turns(ways: Mapping[str, Way], calls: int) -> dict[str, float]:
    for way in ways.values():
        way()  # imports, connections
    rounds = [[_cpu_ms(way, calls) for way in ways.values()] for _ in range(ROUNDS)]
    return dict(zip(ways, map(statistics.median, zip(*rounds, strict=True)), strict=True))


def _cpu_ms(way: Way, calls: int) -> float:
    began = time.process_time()
    for _ in range(calls):
        way()
    return (time.process_time() - began) * 1000 / calls


@contextmanager
def _doors(environ: Mapping[str, str]) -> Iterator[dict[str, dict[str, Way]]]:
    """Each call by its name, in its ways."""
    settings = Settings.read(environ)
    with (
        closing(Door(settings, clock=SystemClock())) as door,
        closing(Downloader(settings)) as downloader,
        closing(open_store(f"s3://{BUCKET}/doors", environ)) as store,
        requests.Session() as session,
        urllib3.PoolManager() as pool,
        closing(_plain_bucket(environ)) as bucket,
    ):
        api = f"{settings.base_url}/v1/predictions"
        headers = {"Authorization": f"Bearer {environ['REPLICATE_API_TOKEN']}", "Content-Type": "application/json"}
        body = json.dumps({"version": STABLE_DIFFUSION, "input": INPUT})
        began = time.time() - 60
        for _ in range(PAGE):
            door.create(version=STABLE_DIFFUSION, input=INPUT, cancel_after_seconds=60)
        image, data = _finished_image(door, downloader, began)
        digest = hashlib.sha256(data).hexdigest()
        yield {
            "create": {
                OURS: lambda: door.create(version=STABLE_DIFFUSION, input=INPUT, cancel_after_seconds=60),
                LIBRARY: lambda: session.post(api, data=body, headers=headers, timeout=30).json(),
                BARE: lambda: json.loads(pool.request("POST", api, body=body, headers=headers).data),
            },
            LIST: {
                OURS: lambda: door.list(created_after=began),
                LIBRARY: lambda: session.get(api, headers=headers, timeout=30).json(),
                BARE: lambda: json.loads(pool.request("GET", api, headers=headers).data),
            },
            f"download of {len(data) // 1000} KB": {
                OURS: lambda: downloader.fetch(image, max_bytes=MAX_BYTES),
                LIBRARY: lambda: session.get(image, timeout=30).content,
                BARE: lambda: pool.request("GET", image).data,
            },
            "image check": {OURS: lambda: inspect(data, max_pixels=MAX_PIXELS)},
            "SHA-256": {LIBRARY: lambda: hashlib.sha256(data).hexdigest()},
            f"put of {len(data) // 1000} KB": {
                OURS: lambda: store.put("a.png", data, content_type="image/png", sha256=digest),
                LIBRARY: lambda: bucket.put_object(Bucket=BUCKET, Key="b.png", Body=data, ContentType="image/png"),
                BARE: lambda: pool.request("PUT", f"{environ['AWS_ENDPOINT_URL_S3']}/{BUCKET}/c.png", body=data),
            },
        }


def _plain_bucket(environ: Mapping[str, str]) -> Any:
    """As boto3's own documentation opens one."""
    return boto3.client(
        "s3",
        endpoint_url=environ["AWS_ENDPOINT_URL_S3"],
        aws_access_key_id=environ["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environ["AWS_SECRET_ACCESS_KEY"],
        region_name=environ["AWS_DEFAULT_REGION"],
    )


def _finished_image(door: Door, downloader: Downloader, began: float) -> tuple[str, bytes]:
    """The largest of the pictures, once all that were asked for are there: a page then never changes."""
    while not all(prediction.output for prediction in door.list(created_after=began).predictions):
        time.sleep(S1.run_seconds)
    listed = door.list(created_after=began).predictions
    pictures = {url: downloader.fetch(url, max_bytes=MAX_BYTES) for one in listed for url in one.output or ()}
    return max(pictures.items(), key=lambda picture: len(picture[1]))


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--calls", type=int, default=300, help="a round, of each (default: %(default)s)")


MEASUREMENT = Measurement(
    name="doors",
    help="milliseconds of CPU a call through each door, beside the bare libraries",
    title="CPU ms of a call through each door",
    measure=lambda given: measure(given.calls).items(),
    options=_options,
)
