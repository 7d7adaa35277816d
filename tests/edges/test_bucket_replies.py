"""What a store says, and what becomes of it: refusals are sorted, and what makes no sense is a bad setting."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from imagejobs.edges.bucket import open_store
from imagejobs.errors import BadSetting, Cause, Permanent, Refused, Transient
from tests.edges.every_store import KEY, KEYS, Open, failing, put
from tests.edges.scripted_host import Act, ScriptedHost, answer, hang_up, then_hang_up
from tests.servers.ports import free_port


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
    reply: Act, error: type[Exception], which: str, store_host: ScriptedHost, opened: Open
) -> None:
    """By what to do: wait, call the owner, or give up the key. The library never tries again by itself."""
    store = opened("s3://photos/p", {**KEYS, "AWS_ENDPOINT_URL_S3": store_host.url})
    if which == "later":
        store_host.then(answer(200))
        put(store)
    else:
        store._puts._buckets.clear()  # type: ignore[attr-defined] # as in a client that is new, which takes longer
    store_host.then(reply)
    before = len(store_host.requests)
    with pytest.raises(error) as caught:
        put(store)

    assert caught.value.cause is Cause.STORAGE  # type: ignore[attr-defined]
    assert "photos" in str(caught.value)
    assert len(store_host.requests) == before + 1
    assert store_host.requests[-1].startswith(b"PUT /photos/p/night/images/r1-0.png HTTP/1.1\r\n")
    assert b"Expect" not in store_host.requests[-1]


@pytest.mark.parametrize("status", [200, 201, 204])
def test_any_success_is_one(status: int, store_host: ScriptedHost, opened: Open) -> None:
    """Not every store says 200."""
    store = opened("s3://photos/p", {**KEYS, "AWS_ENDPOINT_URL_S3": store_host.url})
    store_host.then(answer(status))
    before = len(store_host.requests)

    assert put(store) == store.uri(KEY)
    assert len(store_host.requests) == before + 1


def test_a_put_that_failed_leaves_no_reply_behind(store_host: ScriptedHost, opened: Open) -> None:
    """What the store said of one object is never taken for its word on the next."""
    store = opened("s3://photos/p", {**KEYS, "AWS_ENDPOINT_URL_S3": store_host.url})
    store_host.then(answer(200), answer(403, failing("AccessDenied")), answer(200))
    put(store)
    with pytest.raises(Refused):
        put(store)
    before = len(store_host.requests)
    put(store)

    assert before + 1 == len(store_host.requests)


def test_a_body_that_breaks_off_is_transient(store_host: ScriptedHost, opened: Open) -> None:
    """Reading costs nothing."""
    store_host.then(then_hang_up(answer(200, b"half", {"Content-Length": "9"})))
    with pytest.raises(Transient):
        opened("s3://photos/p", {**KEYS, "AWS_ENDPOINT_URL": store_host.url}).get(KEY)


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


def test_a_key_that_may_not_list_is_found_before_the_night(store_host: ScriptedHost, opened: Open) -> None:
    """Asked for what is not there, a store tells 404 only to who may list; and closing a batch asks for that."""
    store = opened("s3://photos/p", {**KEYS, "AWS_ENDPOINT_URL_S3": store_host.url})
    store_host.then(answer(200), answer(200, b"?"), answer(204), answer(403))
    with pytest.raises(BadSetting, match="s3:ListBucket"):
        store.check()


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"])
@pytest.mark.parametrize("value", ["hunter2\n", "\u201chunter2\u201d", "hunter2\r"])
def test_credentials_that_fit_into_no_header_are_a_bad_setting(name: str, value: str, opened: Open) -> None:
    """By their name, and never by what they are: `echo` into a secret leaves a line break."""
    with pytest.raises(BadSetting, match=name) as caught:
        opened("s3://photos", {**KEYS, name: value})

    assert "hunter2" not in str(caught.value)


def test_other_credentials_that_fit_into_no_header_are_refused(
    store_host: ScriptedHost, opened: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """For the owner to mend, and not told to anybody: the library's own words have them."""
    told = {"Version": 1, "AccessKeyId": "hunter2\n", "SecretAccessKey": "hunter3"}
    (tmp_path / "told").write_text(json.dumps(told))
    (tmp_path / "config").write_text(f"[default]\ncredential_process = cat {tmp_path / 'told'}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    store = opened("s3://photos", {"AWS_ENDPOINT_URL_S3": f"{store_host.url}/by-a-process"})
    for act in (lambda: put(store), lambda: store.get(KEY), lambda: store.delete(KEY)):
        with pytest.raises(Refused, match="write them anew") as caught:
            act()

        assert "hunter" not in str(caught.value)


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
