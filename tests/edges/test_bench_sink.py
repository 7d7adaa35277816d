"""The benchmarks' sink counts what a store would have taken, and nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest
import requests

from imagejobs.edges.bucket import open_store
from imagejobs.edges.store import Stat, Store
from ops.bench.servers import Sink
from sandbox.containers import corrupted, with_comment
from sandbox.drawing import Subject, draw, encode

LONG_SECONDS = 600.0


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sink]:
    with Sink(tmp_path_factory.mktemp("sink")) as sink:
        yield sink


@pytest.fixture
def sink(running: Sink) -> Sink:
    running.reset()
    return running


@pytest.fixture
def store(sink: Sink) -> Iterator[Store]:
    store = open_store("s3://bench/batches", sink.environ)
    yield store
    store.close()


def picture(prompt: str) -> bytes:
    subject = Subject(style="landscape", prompt="", negative_prompt="", seed=1, index=0, width=64, height=64)
    return with_comment(encode(draw(subject), "png"), f'{{"prompt": "{prompt}", "seed": 1, "index": 0}}')


def put(store: Store, key: str, data: bytes) -> None:
    store.put(key, data, content_type="image/png", sha256=hashlib.sha256(data).hexdigest())


def test_images_are_counted_by_whose_they_are(sink: Sink, store: Store) -> None:
    """One that comes twice is one image and two puts; the first arrival is the one that counts."""
    put(store, "night/images/r1-0.png", picture("row 1"))
    first = sink.arrivals()[1]["row 1"]
    put(store, "night/images/r2-0.png", picture("row 2"))
    put(store, "night/images/r1-0.png", picture("row 1"))
    counts, arrivals = sink.arrivals()

    assert ({"row 1", "row 2"}, 2, 3) == (set(arrivals), sink.images(), counts["images_intact"])
    assert first == arrivals["row 1"]


def test_a_broken_image_has_not_arrived(sink: Sink, store: Store) -> None:
    """It was put, and its row is lost all the same."""
    put(store, "night/images/r1-0.png", corrupted(picture("row 1")))
    counts, arrivals = sink.arrivals()

    assert (1, 0, {}) == (counts["images_broken"], sink.images(), arrivals)


def test_other_bytes_than_were_signed_are_refused(sink: Sink) -> None:
    """As a store refuses them."""
    signed = {"x-amz-content-sha256": hashlib.sha256(b"what was meant").hexdigest()}
    reply = requests.put(f"{sink.environ['AWS_ENDPOINT_URL_S3']}/bench/a", b"what came", headers=signed, timeout=10)

    assert (400, {"puts_refused": 1}) == (reply.status_code, sink.arrivals()[0])


def test_what_is_no_image_is_given_back(sink: Sink, store: Store) -> None:
    """A probe, a manifest, a marker: a worker reads them again, and whoever waits for one is told."""
    store.check()
    put(store, "night/_SUCCESS", b"{}")

    assert b"{}" == store.get("night/_SUCCESS")
    assert (True, False) == (sink.has("_SUCCESS"), sink.has("manifest"))
    assert Stat(bytes=2, sha256=hashlib.sha256(b"{}").hexdigest()) == store.stat("night/_SUCCESS")
    assert None is store.stat("night/nothing")


def test_a_store_that_is_away_takes_nothing_until_it_is_back(sink: Sink, store: Store) -> None:
    """It refuses as a store does that one should ask again later, and counts no image; then it is as before."""
    url = f"{sink.environ['AWS_ENDPOINT_URL_S3']}/bench/r1-0.png"
    sink.outage(LONG_SECONDS)
    refused = requests.put(url, data=picture("row 1"), timeout=10)
    while_away = sink.images()
    sink.outage(0)
    put(store, "night/images/r1-0.png", picture("row 1"))

    assert (503, 0, 1) == (refused.status_code, while_away, sink.images())
