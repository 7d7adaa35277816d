"""Downloads: what a reply means, whole, broken, endless, or carried in the address itself."""

from __future__ import annotations

import base64
import gzip
import time
from collections.abc import Callable

import pytest

from imagejobs.edges.download import Downloader, Gone
from imagejobs.errors import Cause, Transient
from tests.edges.download_door import BYTES, open_door, refusal
from tests.edges.scripted_host import Act, ScriptedHost, answer, hang_up, raw, reset, then_hang_up
from tests.servers.ports import free_port


@pytest.mark.parametrize("status", [404, 410])
def test_a_deleted_output_is_gone(status: int, host: ScriptedHost, local: Downloader) -> None:
    """Copying again would be in vain."""
    host.then(answer(status, b"not here"))
    with pytest.raises(Gone):
        local.fetch(f"{host.url}/secret-path/out-0.png", max_bytes=10**6)


@pytest.mark.parametrize("status", [403, 401, 400, 408, 429, 500, 503, 204, 206, 304])
def test_any_other_status_may_pass(status: int, host: ScriptedHost, local: Downloader) -> None:
    """A 403 too: a firewall says it of images that are still there. The wait is passed on, the address is not."""
    host.then(answer(status, b"", {"Retry-After": "9"}))
    with pytest.raises(Transient) as error:
        local.fetch(f"{host.url}/secret-path/out-0.png", max_bytes=10**6)

    assert (Cause.DOWNLOAD, 9.0) == (error.value.cause, error.value.after_seconds)
    assert "secret-path" not in str(error.value)


FAULTS: dict[str, Act] = {
    "closed": hang_up,
    "reset": reset,
    "silent": lambda _: None,
    "short body": then_hang_up(answer(200, BYTES, {"Content-Length": str(len(BYTES) + 1)})),
    "short chunks": then_hang_up(answer(200, b"4\r\nabcd\r\n", {"Content-Length": "", "Transfer-Encoding": "chunked"})),
    "bad gzip": answer(200, BYTES, {"Content-Encoding": "gzip"}),
    "no http": then_hang_up(raw(b"220 smtp ready\r\n")),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_reply_is_transient(fault: str) -> None:
    """A body that is not whole is never handed on."""
    with ScriptedHost(FAULTS[fault]) as host:
        door = open_door(host.url, read_seconds=0.1)
        with pytest.raises(Transient) as error:
            door.fetch(f"{host.url}/out-0.png", max_bytes=10**6)
        door.close()

    assert error.value.cause is Cause.DOWNLOAD


def test_nobody_there_is_transient(local: Downloader) -> None:
    """A refused connection."""
    with pytest.raises(Transient, match="cannot reach"):
        local.fetch(f"http://127.0.0.1:{free_port()}/a.png", max_bytes=10)


def test_a_dripping_body_ends(host: ScriptedHost) -> None:
    """A byte within every read time-out does not hold a thread for ever."""
    drip = host.drip(b"x" * 1000, every_seconds=0.02)
    host.then(lambda peer: (peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"), drip(peer))[1])
    door = open_door(host.url, read_seconds=0.1)
    before = time.monotonic()
    with pytest.raises(Transient):
        door.fetch(f"{host.url}/out-0.png", max_bytes=10**6)
    door.close()

    assert time.monotonic() - before < 2


ENDLESS: dict[str, Act] = {
    "announced": answer(200, b"", {"Content-Length": str(10**12)}),
    "unannounced": then_hang_up(raw(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 5000)),
    "chunked": then_hang_up(
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n" + b"x" * 2000 + b"\r\n")
    ),
    "unpacked": answer(200, gzip.compress(bytes(10**6)), {"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_too_large_is_refused_for_good(kind: str, local: Downloader) -> None:
    """However the size is hidden."""
    with ScriptedHost(ENDLESS[kind]) as host:
        text = refusal(local, f"{host.url}/out-0.png")

    assert "more than 1000" in text


def test_a_body_longer_than_announced_is_cut_there(host: ScriptedHost, local: Downloader) -> None:
    """HTTP says where it ends; what follows is not read as part of it."""
    host.then(then_hang_up(answer(200, b"12345678", {"Content-Length": "5"})))

    assert local.fetch(f"{host.url}/a", max_bytes=10) == b"12345"


@pytest.mark.parametrize(
    "uri",
    [
        "data:image/png;base64," + base64.b64encode(BYTES).decode(),
        "DATA:;BASE64," + base64.urlsafe_b64encode(BYTES).decode().rstrip("="),
        "data:image/png;base64," + base64.encodebytes(BYTES).decode(),
        "data:image/png;base64," + base64.b64encode(BYTES).decode().replace("+", "%2B"),
    ],
)
def test_a_data_uri_is_its_own_content(uri: str, public: Downloader) -> None:
    """In either alphabet, padded or not, on one line or many."""
    assert public.fetch(uri, max_bytes=len(BYTES)) == BYTES


def test_a_data_uri_need_not_be_base64(public: Downloader) -> None:
    """Percent-encoded (RFC 2397)."""
    assert public.fetch("data:,a%00b", max_bytes=10) == b"a\x00b"


@pytest.mark.parametrize(
    "uri", ["data:", "data:image/png;base64", "data:;base64,A", "data:," + "x" * 11, "data:,%F" * 9]
)
def test_a_broken_or_long_data_uri_is_refused_for_good(uri: str, public: Downloader) -> None:
    """It will say the same tomorrow."""
    assert refusal(public, uri, max_bytes=10)


def test_a_long_base64_uri_is_refused_for_good(public: Downloader) -> None:
    """Bytes count, not characters."""
    uri = "data:;base64," + base64.b64encode(b"x" * 11).decode()

    assert "11 bytes, more than 10" in refusal(public, uri, max_bytes=10)


def test_a_broken_body_is_caught_whatever_is_cut(host: ScriptedHost, local: Downloader) -> None:
    """At any length, a truncated download raises rather than returns."""
    cut: Callable[[int], Act] = lambda n: then_hang_up(answer(200, BYTES[:n], {"Content-Length": str(len(BYTES))}))  # noqa: E731
    host.then(*map(cut, (0, 1, 8192, len(BYTES) - 1)))
    for _ in range(4):
        with pytest.raises(Transient):
            local.fetch(f"{host.url}/a", max_bytes=10**6)
