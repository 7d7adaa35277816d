"""A host on loopback that does to each request what a test tells it: for faults that only raw bytes can show."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Self

Act = Callable[[socket.socket], None]
"""What to do after a request came; an act that closes the socket ends the connection."""


def answer(status: int = 200, body: Any = b"", headers: Mapping[str, str] | None = None) -> Act:
    """A whole and proper reply; a body that is no bytes is sent as JSON. A given Content-Length may lie."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
    lines = {"Content-Type": kind, "Content-Length": str(len(content)), **(headers or {})}
    head = f"HTTP/1.1 {status} Scripted\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return raw(head.encode() + b"\r\n" + content)


def raw(content: bytes) -> Act:
    """Those bytes, and the connection stays open."""
    return lambda peer: peer.sendall(content)


def hang_up(peer: socket.socket) -> None:
    """Close without a word: the reply is lost."""
    peer.close()


def reset(peer: socket.socket) -> None:
    """Break the connection with a TCP reset."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def then_hang_up(act: Act) -> Act:
    """The act, then the end of the connection."""

    def do(peer: socket.socket) -> None:
        act(peer)
        peer.close()

    return do


class ScriptedHost:
    """Answers the n-th request with the n-th act, and remembers what was asked. Silent when the script is over."""

    def __init__(self, *acts: Act, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self.over = threading.Event()  # set at the end of the test: acts that dawdle wait on it
        self._acts = deque(acts)
        self.tls = tls
        self._peers: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._run(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join(5)
        self._listener.close()
        for peer in self._peers:
            with contextlib.suppress(OSError):  # most have ended already
                peer.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def then(self, *acts: Act) -> None:
        """Add to the script."""
        self._acts.extend(acts)

    def drip(self, content: bytes, *, every_seconds: float) -> Act:
        """One byte at a time, until the other side has had enough or the test is over."""

        def do(peer: socket.socket) -> None:
            for index in range(len(content)):
                peer.sendall(content[index : index + 1])
                if self.over.wait(every_seconds):
                    return

        return do

    def _run(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._run(self._serve, peer)

    def _serve(self, peer: socket.socket) -> None:
        try:
            with self.tls.wrap_socket(peer, server_side=True) if self.tls else peer as stream:
                self._peers.append(stream)
                while request := _read_request(stream):
                    self.requests.append(request)
                    act = self._acts.popleft() if self._acts else lambda _: self.over.wait(30)
                    act(stream)
        except OSError:
            return  # the other side, or the act, ended the connection


def _read_request(stream: socket.socket) -> bytes:
    """Headers and body of the next request; empty when there is none."""
    if stream.fileno() < 0:
        return b""
    request = b""
    while b"\r\n\r\n" not in request:
        if not (more := stream.recv(65536)):
            return b""
        request += more
    head, _, body = request.partition(b"\r\n\r\n")
    lengths = [int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    while len(body) < sum(lengths):
        if not (more := stream.recv(65536)):
            return b""
        body += more
    return head + b"\r\n\r\n" + body
