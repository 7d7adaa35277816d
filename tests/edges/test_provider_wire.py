"""The provider's door on a real socket: what each fault of the wire means for a create and a read."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagejobs.edges.dialects import ImagesAnswer, Prediction
from imagejobs.edges.provider import Provider
from imagejobs.errors import Cause, OutcomeUnknown, Permanent, Refused, Throttled, Transient
from tests.edges.provider_door import STARTING, create, text_of
from tests.edges.scripted_host import ScriptedHost, answer, hang_up, raw, reset, then_hang_up
from tests.servers.waiting import eventually


def test_a_create_is_one_plain_post(host: ScriptedHost, provider: Provider) -> None:
    """Path, token, deadline and body are as documented, and nothing else is said."""
    host.then(answer(201, STARTING))

    assert Prediction(id="p1", status="starting") == create(provider)
    head, _, body = host.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/predictions HTTP/1.1\r\n")
    assert b"Authorization: Bearer r8_SecretSecretSecret" in head
    assert b"Cancel-After: 91s" in head
    assert body == b'{"version": "o/n:abc", "input": {"prompt": "n\\u00e9", "seed": 7}}'


def test_the_shortest_deadline_is_five_seconds(host: ScriptedHost, provider: Provider) -> None:
    """The provider refuses a shorter one."""
    host.then(answer(201, STARTING))
    create(provider, cancel_after_seconds=0.5)

    assert b"Cancel-After: 5s\r\n" in host.requests[0]


def test_a_base_url_with_a_path_keeps_it(host: ScriptedHost, open_provider: Callable[..., Provider]) -> None:
    """As with a proxy under /replicate."""
    host.then(answer(200, {"created": 1, "data": [{"url": "https://h/0.png"}]}))
    provider = open_provider(f"{host.url}/replicate/")

    assert ImagesAnswer(outputs=("https://h/0.png",), created_at=1.0) == create(provider)
    assert host.requests[0].startswith(b"POST /replicate/v1/predictions ")


def test_an_input_that_is_no_json_is_never_sent(host: ScriptedHost, provider: Provider) -> None:
    """The spec can never pass."""
    with pytest.raises(Permanent) as error:
        create(provider, input={"guidance_scale": float("nan")})

    assert (Cause.INPUT, []) == (error.value.cause, host.requests)


LOST = {
    "closed": hang_up,
    "reset": reset,
    "silent": lambda _: None,
    "half a header": then_hang_up(raw(b"HTTP/1.1 201 Created\r\nContent-")),
    "half a body": then_hang_up(answer(201, b'{"id": "p1", ', {"Content-Length": "40"})),
    "a broken chunk": then_hang_up(answer(201, b"zz\r\n", {"Content-Length": "", "Transfer-Encoding": "chunked"})),
    "no http": then_hang_up(raw(b"SSH-2.0-OpenSSH_9.2\r\n")),
    "bad gzip": answer(201, b"nonsense", {"Content-Encoding": "gzip"}),
    "two lengths": answer(201, STARTING, {"Content-Length": "2, 3"}),
    "two lengths, one to a line": then_hang_up(
        raw(b"HTTP/1.1 201 C\r\nContent-Length: 2\r\ncontent-length: 3\r\n\r\n{}")
    ),
    "no length": then_hang_up(answer(201, STARTING, {"Content-Length": "a few"})),
    "less than no length": then_hang_up(answer(201, STARTING, {"Content-Length": "-1"})),
}


@pytest.mark.parametrize("fault", LOST)
def test_a_create_without_a_whole_reply_is_unknown(fault: str, open_provider: Callable[..., Provider]) -> None:
    """It may have been accepted; it is sent once, and never again."""
    with ScriptedHost(LOST[fault], answer(201, STARTING)) as host:
        with pytest.raises(OutcomeUnknown):
            create(open_provider(host.url, read_seconds=0.1))

        assert eventually(lambda: len(host.requests) == 1)


@pytest.mark.parametrize("fault", LOST)
def test_a_read_without_a_whole_reply_may_be_repeated(fault: str, open_provider: Callable[..., Provider]) -> None:
    """It cost nothing."""
    with ScriptedHost(LOST[fault]) as host, pytest.raises(Transient):
        open_provider(host.url, read_seconds=0.1).get("p1")


@pytest.mark.parametrize("part", ["headers", "body"])
def test_a_reply_that_drips_ends(part: str, open_provider: Callable[..., Provider]) -> None:
    """The read time-out is for the whole of it: whoever looks for a lost create counts on that."""
    with ScriptedHost() as host:
        drip = host.drip(b"X-Padding: 1\r\n" * 100, every_seconds=0.02)
        begin = b"HTTP/1.1 200 OK\r\n" + (b"Content-Length: 1400\r\n\r\n" if part == "body" else b"")
        host.then(lambda peer: (peer.sendall(begin), drip(peer))[1])
        before = time.monotonic()
        with pytest.raises(OutcomeUnknown):
            create(open_provider(host.url, read_seconds=0.1))

        assert time.monotonic() - before < 1


@pytest.mark.parametrize("status", [500, 502, 503, 504, 524, 408])
def test_a_server_error_leaves_a_create_unknown(status: int, host: ScriptedHost, provider: Provider) -> None:
    """Proxies answer 5xx for predictions that were made and will be billed."""
    host.then(answer(status, b"<html>Bad Gateway"))
    with pytest.raises(OutcomeUnknown, match=f"answered {status}: <html>Bad Gateway"):
        create(provider)


@pytest.mark.parametrize("body", [{"error": {"message": "boom"}}, {"id": "p1"}, {"data": [{}]}, [], b"", b"\xff\x00"])
def test_a_success_that_makes_no_sense_leaves_a_create_unknown(
    body: Any, host: ScriptedHost, provider: Provider
) -> None:
    """The raw body is kept, so that a person can judge."""
    host.then(answer(201, body))
    with pytest.raises(OutcomeUnknown, match="nothing usable") as error:
        create(provider)

    assert len(text_of(error)) < 600


def test_a_web_page_hints_at_the_base_url(host: ScriptedHost, provider: Provider) -> None:
    """Some proxies answer every path they do not know with their front page, and 200."""
    host.then(answer(200, b"<!doctype html>", {"Content-Type": "text/html; charset=utf-8"}))
    with pytest.raises(OutcomeUnknown, match="is REPLICATE_BASE_URL right"):
        create(provider)


def test_an_endless_reply_is_cut_off(host: ScriptedHost, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded, also for a small body that unpacks to a large one."""
    monkeypatch.setattr("imagejobs.edges.provider.MAX_REPLY_BYTES", 1000)
    host.then(
        answer(201, b"x" * 2000),
        answer(201, gzip.compress(b"x" * 100_000), {"Content-Encoding": "gzip"}),
    )
    for _ in range(2):
        with pytest.raises(OutcomeUnknown, match="more than 1000"):
            create(provider)


@given(st.binary(max_size=300))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_bytes_come_back_the_outcome_is_declared(
    host: ScriptedHost, open_provider: Callable[..., Provider], tail: bytes
) -> None:
    """No reply makes a create raise anything but what it says it raises."""
    host.then(then_hang_up(raw(b"HTTP/1.1 " + tail)))
    with pytest.raises((OutcomeUnknown, Permanent, Refused, Throttled)):
        create(open_provider(host.url))
