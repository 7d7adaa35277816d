"""The provider's door on a real socket: what each fault of the wire means for a create and a read."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagejobs.edges import connections
from imagejobs.edges.dialects import ImagesAnswer, Prediction
from imagejobs.edges.provider import Provider
from imagejobs.errors import Cause, NotSent, OutcomeUnknown, Permanent, Refused, Throttled, Transient
from tests.edges.provider_door import STARTING, create, text_of
from tests.edges.scripted_host import ScriptedHost, answer, hang_up, raw, reset, then_hang_up
from tests.servers.certificates import self_signed
from tests.servers.ports import free_port
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


def test_a_refused_connection_was_not_sent(open_provider: Callable[..., Provider]) -> None:
    """Nobody listens, so nobody was paid."""
    with pytest.raises(NotSent) as error:
        create(open_provider(f"http://127.0.0.1:{free_port()}"))

    assert text_of(error) == "cannot reach 127.0.0.1: Connection refused"


def test_an_unknown_name_was_not_sent(open_provider: Callable[..., Provider]) -> None:
    """`.invalid` never resolves (RFC 6761)."""
    with pytest.raises(NotSent, match=r"cannot reach nowhere\.invalid"):
        create(open_provider("https://nowhere.invalid"))


def test_a_certificate_that_does_not_verify_was_not_sent(
    tmp_path: Path, open_provider: Callable[..., Provider]
) -> None:
    """The handshake fails before the request, and so the token, leaves."""
    with ScriptedHost(answer(201, STARTING), tls=self_signed(tmp_path)) as host:
        with pytest.raises(NotSent, match="certificate verify failed"):
            create(open_provider(host.url))

        assert host.requests == []


def test_a_handshake_that_never_ends_was_not_sent(
    host: ScriptedHost, open_provider: Callable[..., Provider], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A port that accepts and then says nothing."""
    monkeypatch.setattr(connections, "TRY_SECONDS", 0.1)
    with pytest.raises(NotSent, match="timed out"):
        create(open_provider(host.url.replace("http:", "https:")))


def test_a_create_is_not_sent_late(
    host: ScriptedHost, open_provider: Callable[..., Provider], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever looks for a lost create counts on it: behind a slow resolver it is not sent at all."""
    system = socket.getaddrinfo

    def resolve_slowly(*args: Any, **kwargs: Any) -> Any:
        host.over.wait(0.1)
        return system(*args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve_slowly)
    monkeypatch.setattr(connections, "CONNECT_SECONDS", 0.05)
    with pytest.raises(NotSent, match=r"not within 0\.05 s"):
        create(open_provider(host.url))

    assert host.requests == []


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


def test_the_environment_is_not_obeyed(
    host: ScriptedHost, provider: Provider, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither a proxy nor a .netrc gets between the token and its host."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{free_port()}")
    host.then(answer(201, STARTING))
    create(provider)

    assert b"Authorization: Bearer r8_" in host.requests[0]


def test_cookies_are_not_kept(host: ScriptedHost, provider: Provider) -> None:
    """A door remembers nothing of the last call."""
    host.then(answer(201, STARTING, {"Set-Cookie": "a=b"}), answer(201, STARTING))
    create(provider)
    create(provider)

    assert b"Cookie" not in host.requests[1]


def test_a_connection_is_used_again(host: ScriptedHost, provider: Provider) -> None:
    """A handshake for each of four hundred thousand calls would be a waste."""
    host.then(*[answer(201, STARTING)] * 3, answer(422, {"detail": "no"}), answer(201, STARTING))
    for _ in range(3):
        create(provider)
    with pytest.raises(Permanent):
        create(provider)
    create(provider)

    assert host.connections == 1


def test_a_connection_that_rested_is_not_used_for_a_create(
    host: ScriptedHost, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be closed from the other side at this very moment, and the reply would be lost with it."""
    monkeypatch.setattr(connections, "REUSE_SECONDS", -1)
    host.then(answer(201, STARTING), answer(201, STARTING))
    create(provider)
    create(provider)

    assert host.connections == 2


def test_a_connection_with_half_a_reply_is_not_used_again(
    host: ScriptedHost, open_provider: Callable[..., Provider]
) -> None:
    """What comes late would be taken for the next reply."""
    host.then(answer(201, b'{"id": "p1", ', {"Content-Length": "40"}), answer(201, STARTING))
    provider = open_provider(host.url, read_seconds=0.1)
    with pytest.raises(OutcomeUnknown):
        create(provider)

    assert Prediction(id="p1", status="starting") == create(provider)
    assert host.connections == 2


def test_a_refusal_that_comes_early_is_read(open_provider: Callable[..., Provider]) -> None:
    """A server may answer, and hang up, before it has heard all: nothing was paid, and nothing has to be looked up."""

    def refuse() -> None:
        peer, _ = listener.accept()
        with peer:  # closed with something unread: the connection is reset
            assert peer.recv(1000).startswith(b"POST ")
            answer(402, {"detail": "no credit"})(peer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = threading.Thread(target=refuse)
        serving.start()
        with pytest.raises(Refused, match="no credit"):
            create(open_provider(f"http://127.0.0.1:{listener.getsockname()[1]}"), input={"prompt": "x" * 30_000_000})
        serving.join(5)


def test_a_connection_closed_meanwhile_is_replaced(host: ScriptedHost, provider: Provider) -> None:
    """The close has arrived, so nothing is lost by it."""
    closed = threading.Event()
    host.then(lambda peer: (then_hang_up(answer(201, STARTING))(peer), closed.set())[1], answer(201, STARTING))
    create(provider)
    assert closed.wait(5)

    assert Prediction(id="p1", status="starting") == create(provider)


@given(st.binary(max_size=300))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_bytes_come_back_the_outcome_is_declared(
    host: ScriptedHost, open_provider: Callable[..., Provider], tail: bytes
) -> None:
    """No reply makes a create raise anything but what it says it raises."""
    host.then(then_hang_up(raw(b"HTTP/1.1 " + tail)))
    with pytest.raises((OutcomeUnknown, Permanent, Refused, Throttled)):
        create(open_provider(host.url))


def test_many_threads_share_one_door(host: ScriptedHost, provider: Provider) -> None:
    """Each gets its own answer."""
    host.then(*[answer(201, STARTING)] * 40)
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: create(provider), range(40)))

    assert [Prediction(id="p1", status="starting")] * 40 == made
    assert len(host.requests) == 40
