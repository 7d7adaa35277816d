"""One request, one reply, over connections that are kept: see `imagejobs.edges.connections`."""

from __future__ import annotations

import http.client
import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from requests.utils import default_headers
from urllib3 import HTTPHeaderDict, HTTPResponse
from urllib3.exceptions import HTTPError

from imagejobs.edges.connections import SEND_SECONDS, Body, Connections, PacedReply, Pool, root_cause

_HEADERS = {**default_headers(), "User-Agent": "imagejobs"}
_DIGITS = 15  # of a length that is told: a petabyte
_FAILURES = (OSError, HTTPError, http.client.HTTPException)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back. `broken` says why the body is not whole; a status is an answer even then."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    broken: str = ""
    is_oversize: bool = False


class NoReply(Exception):
    """The request may have arrived, but no reply came back that says what became of it."""


def ask(
    connections: Connections,
    method: str,
    address: str,
    *,
    read_seconds: float,
    max_bytes: int,
    headers: Mapping[str, str],
    query: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> Reply:
    """One request, one reply.

    Raises ValueError for an address that is none, NotSent when nothing left, NoReply once anything may have been sent.
    """
    pool, path, who = connections.place(address, query)
    return send(
        pool,
        method,
        path,
        headers={**_HEADERS, **headers, **who},
        body=body,
        read_seconds=read_seconds,
        max_bytes=max_bytes,
    )


def send(
    pool: Pool,
    method: str,
    path: str,
    *,
    headers: Mapping[str, str],
    body: Body,
    read_seconds: float,
    max_bytes: int,
    send_seconds: float = SEND_SECONDS,
) -> Reply:
    """The same, with nothing added to the headers. Raises NotSent and NoReply."""
    connection = pool.take()
    is_whole = False
    try:
        reply = connection.exchange(
            method, path, headers=headers, body=body, read_seconds=read_seconds, send_seconds=send_seconds
        )
        read = _read(reply, max_bytes=max_bytes)
        is_whole = reply.isclosed() and not read.broken
        return read
    except _FAILURES as error:
        raise NoReply(root_cause(error)) from None
    finally:
        if not is_whole:
            connection.close()
        pool.give_back(connection)


def _read(reply: PacedReply, *, max_bytes: int) -> Reply:
    """The body in one piece, which costs a third less of a whole job than pieces of 10 KB.

    A Content-Length that lies is caught either way: one byte more than allowed is asked for, and what is missing in the
    end is told.
    """
    headers = HTTPHeaderDict((name, _unfolded(value)) for name, value in reply.headers.items())
    whole = partial(Reply, status=reply.status, headers=headers)
    if not _is_clear(reply):
        return whole(broken="the reply is of no clear length")
    if (reply.length or 0) > max_bytes:
        return whole(is_oversize=True, broken=f"{str(reply.length)[:_DIGITS]} bytes, more than {max_bytes}")
    try:
        body = _unpacked(reply.read(max_bytes + 1), headers, max_bytes=max_bytes)
    except (*_FAILURES, ValueError) as error:
        return whole(broken=f"the reply broke off: {root_cause(error)}")
    if len(body) > max_bytes:
        return whole(is_oversize=True, broken=f"more than {max_bytes} bytes")
    return whole(broken=f"the reply broke off: {reply.length} bytes are missing") if reply.length else whole(body=body)


def _is_clear(reply: PacedReply) -> bool:
    """http.client takes the first of several lengths, and reads on for ever where it can make nothing of it."""
    lengths = set(reply.headers.get_all("Content-Length", ()))
    return not lengths or reply.chunked or (len(lengths) == 1 and reply.length is not None)


def _unfolded(value: str) -> str:
    """A header over several lines, which nobody sends any more, in one."""
    return " ".join(value.split()) if "\n" in value else value


def _unpacked(body: bytes, headers: HTTPHeaderDict, *, max_bytes: int) -> bytes:
    """By urllib3, and never to more than a byte above the bound. Raises HTTPError."""
    if "Content-Encoding" not in headers or len(body) > max_bytes:
        return body
    packed = {"Content-Encoding": headers["Content-Encoding"]}
    with HTTPResponse(io.BytesIO(body), packed, preload_content=False) as response:
        return response.read(max_bytes + 1, decode_content=True)
