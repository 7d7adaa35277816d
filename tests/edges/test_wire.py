"""One request and one reply on a real socket: what is made of every kind of reply, and what of its connection."""

from __future__ import annotations

import gzip
import socket
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from imagejobs.edges.connections import Connections
from imagejobs.edges.wire import NoReply, Reply, ask
from tests.edges.scripted_host import Act, ScriptedHost, answer, raw, then_hang_up

BOUND, MEGABYTE = 1000, 2**20
READ_SECONDS = 1.5  # one reply is silent for so long
LARGE = gzip.compress(bytes(2 * BOUND), compresslevel=0)
Ask = Callable[[ScriptedHost], Reply]


@pytest.fixture
def asking() -> Iterator[Ask]:
    """Asks a host, always over the same connections."""
    with closing(Connections(threads=1)) as connections:
        yield lambda host: ask(
            connections, "POST", host.url, read_seconds=READ_SECONDS, max_bytes=BOUND, headers={}, body=b"create"
        )


def chunked(*lines: str) -> Act:
    return raw("\r\n".join(["HTTP/1.1 200 OK", "Transfer-Encoding: chunked", "", *lines, ""]).encode())


def packed(content: bytes, encoding: str = "gzip") -> Act:
    return answer(200, content, {"Content-Encoding": encoding})


WHOLE: dict[str, tuple[Act, bytes]] = {
    "a length": (answer(200, b"hello"), b"hello"),
    "nothing": (answer(200, b""), b""),
    "no content": (raw(b"HTTP/1.1 204 No Content\r\n\r\n"), b""),
    "not modified": (raw(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"), b""),
    "chunks": (chunked("5", "hello", "1;a=b", "!", "0", "Trailer: 1", ""), b"hello!"),
    "packed": (packed(gzip.compress(b"hello")), b"hello"),
    "packed twice": (packed(gzip.compress(gzip.compress(b"hello")), "gzip, gzip"), b"hello"),
    "packed as nobody knows": (packed(b"hello", "rot13"), b"hello"),
    "the bound": (answer(200, b"x" * BOUND), b"x" * BOUND),
    "a length said twice": (
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\ncontent-length: 5\r\n\r\nhello"),
        b"hello",
    ),
    "continued": (raw(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"), b"hello"),
}
TO_THE_END: dict[str, tuple[Act, bytes]] = {
    "an old server": (then_hang_up(raw(b"HTTP/1.0 200 OK\r\n\r\nhello")), b"hello"),
    "no length": (then_hang_up(raw(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello")), b"hello"),
}
BROKEN: dict[str, Act] = {
    "cut off": then_hang_up(answer(200, b"hello", {"Content-Length": "9"})),
    "silent": answer(200, b"hello", {"Content-Length": "9"}),
    "a chunk cut off": then_hang_up(chunked("9", "hello")),
    "a chunk of no length": chunked("zz", "hello", "0", ""),
    "a chunk of less than nothing": chunked("-5", "hello", "0", ""),
    "two lengths": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\ncontent-length: 4\r\n\r\nhello"),
    "two lengths in a line": answer(200, b"hello", {"Content-Length": "5, 4"}),
    "a length in words": answer(200, b"hello", {"Content-Length": "five"}),
    "a length of ten thousand digits": answer(200, b"hello", {"Content-Length": "5" * 10_000}),
    "not packed": packed(b"hello"),
}
TOO_LONG: dict[str, Act] = {
    "said": answer(200, b"x" * (BOUND + 1)),
    "chunked": chunked(f"{BOUND + 1:x}", "x" * (BOUND + 1), "0", ""),
    "packed small": packed(gzip.compress(b"x" * 100 * BOUND)),
    "packed large": packed(LARGE),
    "packed large, in chunks": raw(
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
        % (len(LARGE), LARGE)
    ),
}
LOST: dict[str, Act] = {
    "nothing": then_hang_up(raw(b"")),
    "no http": then_hang_up(raw(b"SSH-2.0-OpenSSH_9.2\r\n")),
    "an early hint": raw(b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    "another protocol": raw(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"),
}


@pytest.mark.parametrize("case", {**WHOLE, **TO_THE_END})
def test_a_whole_reply_leaves_its_connection_to_the_next(case: str, asking: Ask) -> None:
    """A handshake for each call would be a waste. Some replies end with their connection, as those of old servers."""
    act, body = {**WHOLE, **TO_THE_END}[case]
    with ScriptedHost(act, answer(200, b"next")) as host:
        first, after = asking(host), asking(host)

        assert (body, "", b"next") == (first.body, first.broken, after.body)
        assert host.connections == (1 if case in WHOLE else 2)


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_reply_is_said_to_be_and_ends_its_connection(case: str, asking: Ask) -> None:
    """What may still come of it would be taken for the next one's."""
    with ScriptedHost(BROKEN[case], answer(200, b"next")) as host:
        first, after = asking(host), asking(host)

        assert (200, b"", False) == (first.status, first.body, first.is_oversize)
        assert first.broken
        assert (b"next", 2) == (after.body, host.connections)


@pytest.mark.parametrize("case", TOO_LONG)
def test_a_reply_that_is_too_long_is_not_kept(case: str, asking: Ask) -> None:
    """However it is said, or not said."""
    with ScriptedHost(TOO_LONG[case], answer(200, b"next")) as host:
        first, after = asking(host), asking(host)

        assert (b"", True) == (first.body, first.is_oversize)
        assert f"more than {BOUND}" in first.broken
        assert (b"next", 2) == (after.body, host.connections)


@pytest.mark.parametrize("case", LOST)
def test_without_a_reply_nobody_is_told_of_one(case: str, asking: Ask) -> None:
    """Nor does the next request meet it: the reply after an early hint may come late."""
    with ScriptedHost(LOST[case], answer(200, b"next")) as host:
        with pytest.raises(NoReply):
            asking(host)

        assert (b"next", 2) == (asking(host).body, host.connections)


def test_a_chunk_of_less_than_nothing_does_not_fill_the_memory(asking: Ask) -> None:
    """http.client would read it to its end."""
    taken = []

    def flood(peer: socket.socket) -> None:
        chunked("-1")(peer)
        for _ in range(64):
            peer.sendall(bytes(MEGABYTE))
            taken.append(MEGABYTE)

    with ScriptedHost(flood) as host:
        assert asking(host).broken

    assert sum(taken) < 32 * MEGABYTE  # what the kernel took on the way


def test_headers_are_joined_as_the_standard_has_it(asking: Ask) -> None:
    """Of one name, in several lines; and one of several lines."""
    head = b"HTTP/1.1 200 OK\r\nA: 1\r\na: 2\r\nRetry-After:\r\n  7\r\nContent-Length: 0\r\n\r\n"
    with ScriptedHost(raw(head)) as host:
        headers = asking(host).headers

    assert ("1, 2", "7") == (headers["A"], headers["retry-after"])
