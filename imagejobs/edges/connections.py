"""How the HTTP doors use the network: nothing happens of its own accord, and no reply can drag on.

`requests` and `urllib3` are polite by default: they follow redirects, keep cookies, read proxies and passwords from the
environment, and wait as long as a byte comes now and then. A door that spends money or fetches from an address it was
handed wants none of that. What is theirs here: addresses and pools (requests' adapter, urllib3's manager), names,
sockets and TLS (urllib3's connections). Requests and replies are written and read by Python's own http.client, on which
urllib3 stands: see docs/decisions/0044.
"""

from __future__ import annotations

import http.client
import io
import re
import socket
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from http import HTTPStatus
from typing import Any, NamedTuple, TypeAlias

from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from imagejobs.clock import SystemClock
from imagejobs.errors import NotSent

_now = SystemClock().monotonic  # sockets age in real time, also while a laptop sleeps, whatever the clock of the jobs

CONNECT_SECONDS = 5.0
"""From the name to the end of the TLS handshake; a connection that took longer is not used. So whoever starts a create
knows when, at the latest, it was on its way: a search for one that was lost may begin a while after that."""

TRY_SECONDS = 2.0
"""For one address, and for the handshake: time is left to try the next address."""

SEND_SECONDS = 10.0
"""For a whole body: six megabytes, the most that the provider is known to take, at 5 Mbit/s."""

REUSE_SECONDS = 4.0
"""A connection idle for longer is not used again: the shortest keep-alive in common use is 5 s (Node.js, uvicorn), and
a request that meets the server's close on its way is lost without a reply."""

KNOWN = 8
"""Hosts whose connections are at hand: to look them up by an address is a quarter of a call's price."""

_PLAIN = re.compile(r"(https?://[a-z0-9.-]+(?::[1-9][0-9]*)?)((?:/[\w~=-][\w.~=-]*)+)", re.ASCII)
"""An address of which requests' reading says nothing new: no user, nothing to be quoted, no dots to be resolved."""

Body: TypeAlias = bytes | Sequence[bytes | memoryview] | None
"""In pieces only with a Content-Length among the headers."""


class _PacedStream(io.RawIOBase):
    """A socket's stream in which all reads share one deadline: a byte now and then must not hold a thread for ever."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, *, timeouts: int) -> None:
        self._raw = raw
        self._sock = sock
        self._read_seconds = sock.gettimeout() or SEND_SECONDS
        self._until = _now() + timeouts * self._read_seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._until - _now()
        if left <= 0:
            raise TimeoutError("the reply dragged on")
        if left < self._read_seconds:
            self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class PacedReply(http.client.HTTPResponse):
    """A reply that is whole, headers and all, within one read time-out: whoever waits for a create counts on it."""

    timeouts = 1

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_PacedStream(self.fp.detach(), sock, timeouts=self.timeouts))

    def _get_chunk_left(self) -> int | None:
        """http.client's own, which takes "-1" for a length too, and reads on without a bound."""
        left: int | None = super()._get_chunk_left()  # type: ignore[misc]
        if left is not None and left < 0:
            raise http.client.IncompleteRead(b"")
        return left


class LongReply(PacedReply):
    """The same for bodies of megabytes."""

    timeouts = 5


class Connection(HTTPConnection):
    """A connection that says NotSent when it could not be made, and is never used again after a rest.

    Only a failure while connecting (name, route, refusal, TLS handshake) proves that no request was sent; it is raised
    here because further up urllib3 gives the same names to failures before and after.
    """

    response_class = PacedReply
    _rested_since: float | None = None

    def connect(self) -> None:
        """Raises NotSent."""
        began = _now()
        try:
            super().connect()
        except (OSError, HTTPError) as error:
            raise NotSent(f"cannot reach {self.host}: {root_cause(error)}") from None
        if _now() - began > CONNECT_SECONDS:
            self.close()
            raise NotSent(f"cannot reach {self.host}: not within {CONNECT_SECONDS:g} s")

    def exchange(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        body: Body,
        read_seconds: float,
        send_seconds: float,
    ) -> PacedReply:
        """One request, and a reply as far as its body, which the caller reads.

        Each piece of the body has `send_seconds`. Raises NotSent; OSError or HTTPException once anything may have been
        sent.
        """
        if self._rested_since is not None and _now() - self._rested_since > REUSE_SECONDS:
            self.close()
        if self.sock is None:
            self.timeout = TRY_SECONDS
            self.connect()
        self.sock.settimeout(send_seconds)
        # A server may answer, and hang up, before it has heard all: a refusal is read even then.
        with suppress(BrokenPipeError, ConnectionResetError):
            http.client.HTTPConnection.request(self, method, path, body, headers)
        self.sock.settimeout(read_seconds)
        reply: PacedReply = http.client.HTTPConnection.getresponse(self)  # type: ignore[assignment] # its response_class
        if reply.status < HTTPStatus.OK:  # an interim one: the next request must not meet the reply itself
            raise http.client.HTTPException(f"{reply.status}, and the reply itself was not waited for")
        self._rested_since = _now()
        return reply


class SecureConnection(Connection, HTTPSConnection):
    """The same over TLS; the certificate is verified before anything is sent."""


class Pool(HTTPConnectionPool):
    """Connections to one host, to be lent. urllib3's own way to ask by them costs as much again as a call."""

    def take(self) -> Connection:
        """One that rests, if its other end has not hung up, or a new one, which connects when it is first used."""
        connection: Connection = self._get_conn()  # type: ignore[assignment]
        return connection

    def give_back(self, connection: Connection) -> None:
        """It can be used again, or is closed."""
        self._put_conn(connection)


class _SecurePool(Pool, HTTPSConnectionPool):
    """The same over TLS."""


class _Adapter(HTTPAdapter):
    """Opens connections of one kind, and keeps one for each thread."""

    def __init__(self, pool: type[Pool], *, threads: int, verify: bool | str, context: ssl.SSLContext | None) -> None:
        self._pool = pool
        self._verify = verify
        self._context = context
        super().__init__(pool_maxsize=threads, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        if self._context:
            kwargs["ssl_context"] = self._context
        super().init_poolmanager(*args, **kwargs)
        manager: PoolManager = self.poolmanager
        manager.pool_classes_by_scheme = {"http": self._pool, "https": self._pool}

    def pool_for(self, request: PreparedRequest) -> Pool:
        """Where to send it, with certificates to be verified. Raises ValueError."""
        pool: Pool = self.get_connection_with_tls_context(request, verify=self._verify)  # type: ignore[assignment]
        self.cert_verify(pool, request.url, verify=self._verify, cert=None)  # type: ignore[no-untyped-call]
        return pool


class Place(NamedTuple):
    """Where an address leads: the connections to its host, what to ask there for, and what it says of who asks."""

    pool: Pool
    path: str
    headers: Mapping[str, str]


class Connections:
    """For many threads: nothing from the environment (proxies, .netrc), no cookies, no redirects, no retries.

    requests' own session has all of these, and works for them at every call even where they are switched off: a third
    of a call's price. So its requests and its adapters are used, and the session between them is left out. Without
    `plain`, an http address is as bad as any other scheme. `authorities`, a file or folder of certificates, is trusted
    in place of the usual ones; `context` says what else TLS must be like, in place of urllib3's own.
    """

    def __init__(
        self,
        *,
        threads: int,
        plain: type[HTTPConnection] | None = Connection,
        secure: type[HTTPSConnection] = SecureConnection,
        authorities: str | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        opening = partial(_Adapter, threads=threads, verify=authorities or True, context=context)
        self._adapters = {"https://": opening(_pool_of(_SecurePool, secure))}
        if plain:
            self._adapters["http://"] = opening(_pool_of(Pool, plain))
        self._known = lru_cache(maxsize=KNOWN)(self._read)

    def place(self, address: str, query: Mapping[str, str] | None) -> Place:
        """Raises ValueError for an address that is none, or that none of these can reach."""
        plain = _PLAIN.fullmatch(address)
        if query or not plain:
            return self._read(address, query)
        origin, path = plain.groups()
        return self._known(origin)._replace(path=path)

    def pool(self, origin: str) -> Pool:
        """To a scheme, host and port. Raises ValueError; OSError without a certificate to verify others by."""
        return self._known(origin).pool

    def _read(self, address: str, query: Mapping[str, str] | None = None) -> Place:
        """By requests' own reading of an address; its cookies and hooks are left out, for half the price."""
        request = PreparedRequest()
        request.prepare_method("GET")
        request.prepare_url(address, query)
        request.prepare_headers(None)
        request.prepare_body(None, None)
        request.prepare_auth(None, address)
        url = request.url or ""
        adapter = self._adapters.get(url[: url.find("://") + 3].lower())
        if adapter is None:
            raise ValueError("no address of a kind that is asked")
        return Place(adapter.pool_for(request), request.path_url, dict(request.headers))

    def close(self) -> None:
        """Close the pooled ones."""
        for adapter in self._adapters.values():
            adapter.close()
        self._known.cache_clear()  # a pool that nobody has any more closes its connections


def _pool_of(pool: type[Pool], connection: type[HTTPConnection]) -> type[Pool]:
    return type(pool.__name__, (pool,), {"ConnectionCls": connection})


def root_cause(error: BaseException) -> str:
    """What the system or TLS said at the bottom of the libraries' wrappers, in words that are the same every time."""
    while isinstance(deeper := error.__cause__ or error.__context__, (OSError, HTTPError, http.client.HTTPException)):
        error = deeper
    if isinstance(error, TimeoutError):
        return "timed out"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
