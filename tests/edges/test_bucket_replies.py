"""What a store says, and what becomes of it: refusals are sorted, and a put is signed as boto3 signs its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from imagejobs.edges.bucket import open_store
from imagejobs.errors import BadSetting, Cause, Permanent, Refused, Transient
from tests.edges.every_store import DATA, KEY, KEYS, SHA256, Open, put
from tests.edges.scripted_host import Act, ScriptedHost, answer, hang_up, then_hang_up
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
        (answer(403, failing("AccessDenied")), Refused),
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
    for _ in range(2):
        put(store, "a b/ü.png")
    first, later = host.requests[-2:]
    differs = {"authorization", "x-amz-date", "amz-sdk-invocation-id", "amz-sdk-request"}

    assert first.partition(b"\r\n")[0] == later.partition(b"\r\n")[0]
    assert first.partition(b"\r\n\r\n")[2] == later.partition(b"\r\n\r\n")[2] == DATA
    assert {**headers_of(first), **dict.fromkeys(differs, "")} == {**headers_of(later), **dict.fromkeys(differs, "")}
    assert headers_of(later)["x-amz-content-sha256"] == SHA256


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
