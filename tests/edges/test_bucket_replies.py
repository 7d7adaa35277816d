"""What a store says, and what becomes of it: refusals are sorted, and a put is signed as boto3 signs its own."""

from __future__ import annotations

import gzip
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import pytest

from imagejobs.edges import bucket as bucket_door
from imagejobs.edges.bucket import open_store
from imagejobs.edges.puts import PIECE_BYTES
from imagejobs.errors import BadSetting, Cause, Permanent, Refused, Transient
from tests.edges.every_store import DATA, KEY, KEYS, SHA256, Open, put
from tests.edges.scripted_host import Act, ScriptedHost, answer, hang_up, then_hang_up
from tests.servers.certificates import self_signed
from tests.servers.ports import free_port


@pytest.fixture(scope="module")
def host() -> Iterator[ScriptedHost]:
    """A store that says what it is told; one for all, since a client for each would take a third of a second."""
    with ScriptedHost() as host:
        yield host


def failing(code: str, more: str = "") -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>It is so.</Message>{more}</Error>".encode()


@pytest.mark.parametrize("which", ["first", "later"])
@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (answer(503, failing("SlowDown")), Transient),
        (answer(503, failing("ServiceUnavailable")), Transient),
        (answer(500, failing("InternalError")), Transient),
        (answer(502, b"<html>Bad Gateway"), Transient),
        (answer(400, failing("RequestTimeout")), Transient),
        (answer(400, failing("BadDigest")), Transient),
        (answer(429, b""), Transient),
        (hang_up, Transient),
        (then_hang_up(answer(503, b"<html>Bad", {"Content-Length": "500"})), Transient),
        (then_hang_up(answer(200, b"half", {"Content-Length": "9"})), Transient),
        (then_hang_up(answer(200, b"9\r\nhalf", {"Content-Length": "", "Transfer-Encoding": "chunked"})), Transient),
        (answer(102), Transient),
        (answer(403, failing("AccessDenied")), Refused),
        (answer(403, gzip.compress(failing("AccessDenied")), {"Content-Encoding": "gzip"}), Refused),
        (answer(403, failing("AccessDenied"), {"content-length": str(len(failing("AccessDenied")))}), Refused),
        (answer(403, failing("QuotaExceeded")), Refused),
        (answer(403, failing("RequestTimeTooSkewed")), Refused),
        (answer(400, failing("ExpiredToken")), Refused),
        (answer(400, failing("NeverHeardOf")), Refused),
        (answer(400, failing("KeyTooLongError")), Permanent),
    ],
)
def test_a_stores_refusals_are_sorted(
    reply: Act, error: type[Exception], which: str, host: ScriptedHost, opened: Open
) -> None:
    """By what to do: wait, call the owner, or give up the key. The library never tries again by itself."""
    store = opened("s3://photos/p", {**KEYS, "AWS_ENDPOINT_URL_S3": host.url})
    if which == "later":
        host.then(answer(200))
        put(store)
    else:
        store._puts._places.clear()  # type: ignore[attr-defined] # as in a client that is new, which takes longer
    host.then(reply)
    before = len(host.requests)
    with pytest.raises(error) as caught:
        put(store)

    assert caught.value.cause is Cause.STORAGE  # type: ignore[attr-defined]
    assert "photos" in str(caught.value)
    assert len(host.requests) == before + 1
    assert host.requests[-1].startswith(b"PUT /photos/p/night/images/r1-0.png HTTP/1.1\r\n")
    assert b"Expect" not in host.requests[-1]


def headers_of(request: bytes) -> dict[str, str]:
    """By name, in small letters."""
    lines = request.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def signed_for(request: bytes) -> str:
    """The region."""
    return headers_of(request)["authorization"].split("/")[2]


def test_a_put_says_what_boto3s_own_says(host: ScriptedHost, opened: Open) -> None:
    """All but the count of its tries, which are none: so a store cannot treat the one and the other differently."""
    host.then(answer(200), answer(200))
    store = opened("s3://alike/p", {**KEYS, "AWS_ENDPOINT_URL_S3": host.url, "AWS_SESSION_TOKEN": "a token"})
    for is_direct in (False, True):
        store._puts._is_direct = is_direct  # type: ignore[attr-defined] # where it is not, boto3 sends
        put(store, "a b/ü.png")
    first, later = host.requests[-2:]
    differs = {"authorization", "x-amz-date", "amz-sdk-invocation-id", "amz-sdk-request"}

    assert first.partition(b"\r\n")[0] == later.partition(b"\r\n")[0]
    assert first.partition(b"\r\n\r\n")[2] == later.partition(b"\r\n\r\n")[2] == DATA
    assert {**headers_of(first), **dict.fromkeys(differs, "")} == {**headers_of(later), **dict.fromkeys(differs, "")}
    assert headers_of(later)["x-amz-content-sha256"] == SHA256


@pytest.mark.parametrize("status", [200, 201, 204])
def test_any_success_is_one(status: int, host: ScriptedHost, opened: Open) -> None:
    """Not every store says 200."""
    store = opened("s3://photos/p", {**KEYS, "AWS_ENDPOINT_URL_S3": host.url})
    host.then(answer(status))
    before = len(host.requests)

    assert put(store) == store.uri(KEY)
    assert len(host.requests) == before + 1


def test_through_a_proxy_an_interim_reply_is_none(
    host: ScriptedHost, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """boto3 takes it for success, and the reply itself for the next put's."""
    monkeypatch.setenv("http_proxy", host.url)
    store = opened("s3://photos/p", {**KEYS, "AWS_ENDPOINT_URL_S3": "http://store.invalid:9001"})
    host.then(answer(102), answer(503, failing("SlowDown")))
    before = host.connections
    for _ in range(2):
        with pytest.raises(Transient):
            put(store)

    assert host.connections == before + 2


def test_a_bucket_that_is_elsewhere_is_followed_once(host: ScriptedHost, opened: Open) -> None:
    """Told of another region by a later put, boto3 signs for that one, and so does every put from then on."""
    store = opened("s3://moved/p", {**KEYS, "AWS_ENDPOINT_URL_S3": host.url, "AWS_DEFAULT_REGION": "us-west-2"})
    moved = answer(400, failing("AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>"))
    host.then(answer(200), moved, answer(200), answer(200))
    before = len(host.requests)
    for _ in range(3):
        put(store)

    assert ["us-west-2", "us-west-2", "eu-west-1", "eu-west-1"] == [signed_for(one) for one in host.requests[before:]]


def test_a_put_that_failed_leaves_no_reply_behind(host: ScriptedHost, opened: Open) -> None:
    """What the store said of one object is never taken for its word on the next."""
    store = opened("s3://photos/p", {**KEYS, "AWS_ENDPOINT_URL_S3": host.url})
    host.then(answer(200), answer(403, failing("AccessDenied")), answer(200))
    put(store)
    with pytest.raises(Refused):
        put(store)
    before = len(host.requests)
    put(store)

    assert before + 1 == len(host.requests)


def test_a_body_that_breaks_off_is_transient(host: ScriptedHost, opened: Open) -> None:
    """Reading costs nothing."""
    host.then(then_hang_up(answer(200, b"half", {"Content-Length": "9"})))
    with pytest.raises(Transient):
        opened("s3://photos/p", {**KEYS, "AWS_ENDPOINT_URL": host.url}).get(KEY)


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
    environ: dict[str, str], host: ScriptedHost, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever else a house has said of proxies."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    endpoint = f"{host.url}/{len(environ)}-{next(iter(environ))}"  # a client of its own
    store = opened("s3://photos/p", {**KEYS, "AWS_ENDPOINT_URL_S3": endpoint})
    host.then(answer(200), answer(200))
    before = len(host.requests)
    for _ in range(2):
        put(store)

    assert [False, False] == [b"amz-sdk-invocation-id" in request for request in host.requests[before:]]


def test_a_proxy_is_obeyed(host: ScriptedHost, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """By every put, as by boto3's other calls: a house may let nothing out by another way."""
    monkeypatch.setenv("http_proxy", host.url)
    store = opened("s3://photos/p", {**KEYS, "AWS_ENDPOINT_URL_S3": "http://store.invalid:9000"})
    host.then(answer(200), answer(200))
    before = len(host.requests)
    for _ in range(2):
        put(store)

    asked = [request.partition(b" HTTP/")[0] for request in host.requests[before:]]
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


def test_nobody_at_the_endpoint_is_said(opened: Open) -> None:
    """With the address that was tried."""
    endpoint = f"http://127.0.0.1:{free_port()}"
    store = opened("s3://photos", {**KEYS, "AWS_ENDPOINT_URL_S3": endpoint})
    with pytest.raises(Transient):
        put(store)
    with pytest.raises(BadSetting, match=f"{endpoint}.*AWS_ENDPOINT_URL_S3 right"):
        store.check()


def test_no_credentials_is_said(opened: Open) -> None:
    """With the variables that are missing."""
    store = opened("s3://photos", {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"})
    with pytest.raises(Refused, match="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        put(store)


@pytest.mark.parametrize(
    ("url", "environ"),
    [
        ("gs://photos/p", {}),
        ("s3:///p", {}),
        ("file://host/p", {}),
        ("photos", {}),
        ("s3://photos", {**KEYS, "AWS_ENDPOINT_URL_S3": "not a url"}),
        ("s3://photos", {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE"}),
        ("s3://photos", {"AWS_PROFILE": "no-such-profile"}),
    ],
)
def test_a_store_that_cannot_be_named_is_a_bad_setting(url: str, environ: dict[str, str]) -> None:
    """Before anything is asked of it."""
    with pytest.raises(BadSetting):
        open_store(url, environ)
