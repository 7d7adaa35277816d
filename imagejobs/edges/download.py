"""The door to output files: addresses somebody else chose, so nothing about them is trusted.

No token, no cookie, nothing from the environment goes along. Only https is fetched, and only from public addresses: a
name is resolved here, every address it has is checked, and the connection is made to a checked one, so a name that
changes its mind between check and use gains nothing; redirects are followed by hand and each is checked the same way.
Where the provider itself is on loopback over http (the stand-in), http from loopback is allowed as well.

A reply is kept in memory, so it is capped; and it must be whole: `imagejobs.edges.images` proves the rest.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import socket
from urllib.parse import unquote_to_bytes, urljoin, urlsplit

from urllib3.util import connection as urllib3_connection

from imagejobs.edges import connections, wire
from imagejobs.edges.objections import read_retry_after
from imagejobs.errors import Cause, NotSent, Permanent, Transient
from imagejobs.settings import Settings

MAX_REDIRECTS = 5
"""A file host needs one, to its own storage; a chain is a loop or a trick."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Gone(Exception):
    """The output was deleted (404, 410): copying again is in vain.

    A 403 is none: a firewall that dislikes a worker's address says the same, and believing it would pay again for
    images that can still be fetched. Where it means that a signed address has expired, the job's own clock ends it.
    """


def is_public(address: Address) -> bool:
    """Whether an address belongs to the internet at large, and to nobody's inside.

    IPv6 forms that carry an IPv4 address (mapped, 6to4, Teredo, NAT64) are refused: they could carry a private one.
    """
    inside = address.is_multicast or address.is_reserved or address.is_link_local or address.is_unspecified
    if isinstance(address, ipaddress.IPv6Address):
        inside = inside or address.is_site_local or bool(address.sixtofour or address.teredo)
    return address.is_global and not inside


class _Guarded(connections.Connection):
    """Connects to allowed addresses only, and exactly to those that were checked."""

    response_class = connections.LongReply

    @staticmethod
    def is_allowed(address: Address) -> bool:
        return is_public(address)

    def _new_conn(self) -> socket.socket:
        """urllib3's hook for making the socket."""
        addresses = _resolve(self.host, self.port)
        if not all(map(self.is_allowed, addresses)):
            raise Permanent(f"{self.host} is not at an address that may be fetched from", cause=Cause.DOWNLOAD)
        return self._first_open(addresses)

    def _first_open(self, addresses: list[Address]) -> socket.socket:
        *others, last = addresses
        for address in others:
            try:
                return self._open(address)
            except OSError:
                continue  # as a browser does: a host may be reachable by one kind of address only
        return self._open(last)

    def _open(self, address: Address) -> socket.socket:
        place = (str(address), self.port)
        return urllib3_connection.create_connection(place, self.timeout, socket_options=self.socket_options)


class _SecureGuarded(_Guarded, connections.SecureConnection):
    """The same over TLS, which verifies the name that was asked for, whatever the address."""


class _Loopback(_Guarded):
    """The other way round: this machine only."""

    @staticmethod
    def is_allowed(address: Address) -> bool:
        return address.is_loopback


def _resolve(host: str, port: int) -> list[Address]:
    """Every address of a name, in the system's order of preference. Raises OSError when it has none.

    The system's resolver has its own time-out (resolv.conf: five seconds, twice, by default).
    """
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise OSError("no possible host name") from None
    return [ipaddress.ip_address(str(place[0]).partition("%")[0]) for *_, place in found]


class Downloader:
    """Fetches outputs; safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        is_local = settings.base_url.startswith("http:")  # Settings allows that on loopback only
        plain = _Loopback if is_local else None
        self._connections = connections.Connections(threads=settings.threads, plain=plain, secure=_SecureGuarded)
        self._read_seconds = settings.read_seconds

    def close(self) -> None:
        """Close the pooled connections."""
        self._connections.close()

    def fetch(self, url: str, *, max_bytes: int) -> bytes:
        """The bytes behind an https address or in a `data:` URI.

        Raises Gone, Transient (cause DOWNLOAD: time-out, broken or short reply, 5xx, 429, any other status), and
        Permanent (cause DOWNLOAD: a forbidden scheme or address, more than `max_bytes`, broken base64).
        """
        if url[:5].lower() == "data:":
            return _decode(url, max_bytes=max_bytes)
        for _ in range(MAX_REDIRECTS + 1):
            reply = self._ask(url, max_bytes=max_bytes)
            if reply.status not in (301, 302, 303, 307, 308):
                return _content(reply, host=_host(url))
            url = _target(url, reply.headers.get("Location", ""))
        raise Permanent(f"{_host(url)}: more than {MAX_REDIRECTS} redirects", cause=Cause.DOWNLOAD)

    def _ask(self, url: str, *, max_bytes: int) -> wire.Reply:
        try:
            return wire.ask(
                self._connections,
                "GET",
                url,
                read_seconds=self._read_seconds,
                max_bytes=max_bytes,
                headers={"Accept-Encoding": "identity"},
            )
        except ValueError:
            raise Permanent(f"{_host(url)}: not an address that may be fetched", cause=Cause.DOWNLOAD) from None
        except NotSent as error:
            raise Transient(str(error), cause=Cause.DOWNLOAD) from None
        except wire.NoReply as error:
            raise Transient(f"{_host(url)}: {error}", cause=Cause.DOWNLOAD) from None


def _content(reply: wire.Reply, *, host: str) -> bytes:
    if reply.status in (404, 410):
        raise Gone(f"{host} answered {reply.status}: the output was deleted")
    if reply.status != 200:
        wait = read_retry_after(reply.headers)
        raise Transient(f"{host} answered {reply.status}", cause=Cause.DOWNLOAD, after_seconds=wait)
    if reply.is_oversize:
        raise Permanent(f"{host}: {reply.broken}", cause=Cause.DOWNLOAD)
    if reply.broken:
        raise Transient(f"{host}: {reply.broken}", cause=Cause.DOWNLOAD)
    return reply.body


def _decode(uri: str, *, max_bytes: int) -> bytes:
    """The bytes a `data:` URI carries (RFC 2397); either alphabet of base64, with or without padding."""
    head, comma, text = uri.partition(",")
    is_base64 = head.lower().endswith(";base64")
    if not comma or len(text) > 4 * max_bytes:
        raise Permanent(f"a data: URI of {len(text)} characters, or none at all", cause=Cause.DOWNLOAD)
    data = unquote_to_bytes(text)
    if is_base64:
        try:
            data = base64.b64decode(data.translate(bytes.maketrans(b"-_", b"+/")) + b"==")
        except binascii.Error:
            raise Permanent("a data: URI with broken base64", cause=Cause.DOWNLOAD) from None
    if len(data) > max_bytes:
        raise Permanent(f"a data: URI of {len(data)} bytes, more than {max_bytes}", cause=Cause.DOWNLOAD)
    return data


def _host(url: str) -> str:
    """The host alone: an output's whole address is as good as a key to it, and belongs in no error text."""
    try:
        return urlsplit(url).hostname or "no host"
    except ValueError:
        return "no host"


def _target(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        return ""
