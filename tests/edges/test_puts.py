"""How a put goes to the store: signed as boto3's, to whom it is meant for, the way that is meant, in its own time."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import pytest

from imagejobs.edges import bucket as bucket_door
from imagejobs.edges.puts import PIECE_BYTES
from imagejobs.errors import Transient
from tests.edges.every_store import DATA, KEY, KEYS, SHA256, Open, failing, put
from tests.edges.scripted_host import ScriptedHost, answer, then_hang_up
from tests.servers.certificates import self_signed


def headers_of(request: bytes) -> dict[str, str]:
    """By name, in small letters."""
    lines = request.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def signed_for(request: bytes) -> str:
    """The region."""
    return headers_of(request)["authorization"].split("/")[2]


def test_a_put_says_what_boto3s_own_says(store_host: ScriptedHost, opened: Open) -> None:
    """All but the count of its tries, which are none: so a store cannot treat the one and the other differently."""
    store_host.then(answer(200), answer(200))
    store = opened("s3://alike/p", {**KEYS, "AWS_ENDPOINT_URL_S3": store_host.url, "AWS_SESSION_TOKEN": "a token"})
    for is_direct in (False, True):
        store._puts._is_direct = is_direct  # type: ignore[attr-defined] # where it is not, boto3 sends
        put(store, "a b/ü.png")
    first, later = store_host.requests[-2:]
    differs = {"authorization", "x-amz-date", "amz-sdk-invocation-id", "amz-sdk-request"}

    assert first.partition(b"\r\n")[0] == later.partition(b"\r\n")[0]
    assert first.partition(b"\r\n\r\n")[2] == later.partition(b"\r\n\r\n")[2] == DATA
    assert {**headers_of(first), **dict.fromkeys(differs, "")} == {**headers_of(later), **dict.fromkeys(differs, "")}
    assert headers_of(later)["x-amz-content-sha256"] == SHA256


def test_through_a_proxy_an_interim_reply_is_none(
    store_host: ScriptedHost, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """boto3 takes it for success, and the reply itself for the next put's."""
    monkeypatch.setenv("http_proxy", store_host.url)
    store = opened("s3://photos/p", {**KEYS, "AWS_ENDPOINT_URL_S3": "http://store.invalid:9001"})
    store_host.then(answer(102), answer(503, failing("SlowDown")))
    before = store_host.connections
    for _ in range(2):
        with pytest.raises(Transient):
            put(store)

    assert store_host.connections == before + 2


def test_a_bucket_that_is_elsewhere_is_followed_once(store_host: ScriptedHost, opened: Open) -> None:
    """Told of another region by a later put, boto3 signs for that one, and so does every put from then on."""
    store = opened("s3://moved/p", {**KEYS, "AWS_ENDPOINT_URL_S3": store_host.url, "AWS_DEFAULT_REGION": "us-west-2"})
    moved = answer(400, failing("AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>"))
    store_host.then(answer(200), moved, answer(200), answer(200))
    before = len(store_host.requests)
    for _ in range(3):
        put(store)

    assert ["us-west-2", "us-west-2", "eu-west-1", "eu-west-1"] == [
        signed_for(one) for one in store_host.requests[before:]
    ]


@pytest.mark.parametrize("is_trusted", [True, False])
def test_a_store_of_a_house_is_known_by_its_own_authority(
    is_trusted: bool, tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AWS_CA_BUNDLE is for every put; without it, no byte of an image goes to such a store."""
    with ScriptedHost(answer(200), answer(200), tls=self_signed(tmp_path)) as host:
        if is_trusted:
            monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "cert.pem"))
        store = opened("s3://photos/p", {**KEYS, "AWS_ENDPOINT_URL_S3": host.url})
        for _ in range(2):
            with nullcontext() if is_trusted else pytest.raises(Transient, match="certificate verify failed"):
                put(store)

    assert len(host.requests) == (2 if is_trusted else 0)


def test_a_later_put_looks_at_whom_it_talks_to(tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who takes the store's place after the first put gets nothing."""
    (tmp_path / "other").mkdir()
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "cert.pem"))
    with ScriptedHost(then_hang_up(answer(200)), answer(200), tls=self_signed(tmp_path)) as host:
        store = opened("s3://photos/p", {**KEYS, "AWS_ENDPOINT_URL_S3": host.url})
        put(store)
        host.tls = self_signed(tmp_path / "other")
        with pytest.raises(Transient, match="certificate verify failed"):
            put(store)

    assert len(host.requests) == 1


@pytest.mark.parametrize(
    "environ",
    [
        {"no_proxy": "elsewhere"},
        {"https_proxy": "http://127.0.0.1:9"},
        {"http_proxy": "http://127.0.0.1:9", "no_proxy": "127.0.0.1"},
    ],
)
def test_puts_are_quick_where_no_proxy_leads_to_the_store(
    environ: dict[str, str], store_host: ScriptedHost, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever else a house has said of proxies."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    endpoint = f"{store_host.url}/{len(environ)}-{next(iter(environ))}"  # a client of its own
    store = opened("s3://photos/p", {**KEYS, "AWS_ENDPOINT_URL_S3": endpoint})
    store_host.then(answer(200), answer(200))
    before = len(store_host.requests)
    for _ in range(2):
        put(store)

    assert [False, False] == [b"amz-sdk-invocation-id" in request for request in store_host.requests[before:]]


def test_a_proxy_is_obeyed(store_host: ScriptedHost, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """By every put, as by boto3's other calls: a house may let nothing out by another way."""
    monkeypatch.setenv("http_proxy", store_host.url)
    store = opened("s3://photos/p", {**KEYS, "AWS_ENDPOINT_URL_S3": "http://store.invalid:9000"})
    store_host.then(answer(200), answer(200))
    before = len(store_host.requests)
    for _ in range(2):
        put(store)

    asked = [request.partition(b" HTTP/")[0] for request in store_host.requests[before:]]
    assert asked == [b"PUT http://store.invalid:9000/photos/p/" + KEY.encode()] * 2


def test_a_large_image_may_take_its_time(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time is for each piece: over a slow line, an image that takes longer as a whole would never be stored.

    A kernel would take all of this one at once, and leave the time for the reply to the line.
    """
    monkeypatch.setattr(bucket_door, "SILENT_SECONDS", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as threads:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, PIECE_BYTES // 4)
        store = opened(
            "s3://photos/p", {**KEYS, "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{listener.getsockname()[1]}"}
        )
        took = threads.submit(take_slowly, listener)
        put(store, data=bytes(12 * PIECE_BYTES))

        assert took.result(5) > 2.0


def take_slowly(listener: socket.socket) -> float:
    """A put, a piece in a quarter of a second. Returns how long it took."""
    listener.settimeout(10)
    peer, _ = listener.accept()
    with peer, peer.makefile("rb") as stream:
        began, left = time.monotonic(), 0
        while (line := stream.readline()).strip():
            left = int(line[15:]) if line.lower().startswith(b"content-length:") else left
        while left:
            piece = stream.read(min(left, PIECE_BYTES))
            assert piece, "hung up"
            left -= len(piece)
            time.sleep(0.25 if left else 0)  # the line's speed
        answer(200)(peer)
    return time.monotonic() - began
