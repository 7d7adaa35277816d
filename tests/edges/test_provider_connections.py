"""The provider's door and its connections: when nothing was sent, which are used again, and who gets between."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from imagejobs.edges import connections
from imagejobs.edges.dialects import Prediction
from imagejobs.edges.provider import Provider
from imagejobs.errors import NotSent, OutcomeUnknown, Permanent, Refused
from tests.edges.provider_door import STARTING, create, text_of
from tests.edges.scripted_host import ScriptedHost, answer, then_hang_up
from tests.servers.certificates import self_signed
from tests.servers.ports import free_port


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


def test_many_threads_share_one_door(host: ScriptedHost, provider: Provider) -> None:
    """Each gets its own answer."""
    host.then(*[answer(201, STARTING)] * 40)
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: create(provider), range(40)))

    assert [Prediction(id="p1", status="starting")] * 40 == made
    assert len(host.requests) == 40
