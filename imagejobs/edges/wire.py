"""One request, one reply, over connections that are kept: see `imagejobs.edges.connections`."""

from __future__ import annotations

import http.client
import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import NotRequired, TypedDict, Unpack

from requests.utils import default_headers
from urllib3 import HTTPHeaderDict, HTTPResponse
from urllib3.exceptions import HTTPError

from imagejobs.edges.connections import Body, Connections, PacedReply, Pool, root_cause

_HEADERS = {**default_headers(), "User-Agent": "imagejobs"}
_LENGTH_DIGITS = 15  # of a Content-Length: a petabyte; Python refuses to read thousands of digits
_FAILURES = (OSError, HTTPError, http.client.HTTPException)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back. `broken` says why the body is not whole; a status is an answer even then."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    broken: str = ""
    is_oversize: bool = False


class _Request(TypedDict):
    """What a connection is told of one, as `Connection.exchange` has it."""

    headers: Mapping[str, str]
    body: Body
    read_seconds: float
    send_seconds: NotRequired[float]


class NoReply(Exception):
    """The request may have arrived, but no status line came back."""


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


def send(pool: Pool, method: str, path: str, *, max_bytes: int, **request: Unpack[_Request]) -> Reply:
    """The same, with nothing added to the headers. Raises NotSent and NoReply."""
    try:
        connection = pool.take()
    except HTTPError as error:
        raise NoReply(root_cause(error)) from None
    is_whole = False
    try:
        reply = connection.exchange(method, path, **request)
        read = _read(reply, max_bytes=max_bytes)
        is_whole = reply.isclosed()
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
    headers = HTTPHeaderDict(reply.headers.items())
    whole = partial(Reply, status=reply.status, headers=headers)
    announced = headers.get("Content-Length", "")
    if announced.isdecimal() and (len(announced) > _LENGTH_DIGITS or int(announced) > max_bytes):
        return whole(is_oversize=True, broken=f"{announced[:_LENGTH_DIGITS]} bytes, more than {max_bytes}")
    if not _is_clear(reply, announced):
        return whole(broken=f"of no clear length: {announced[:_LENGTH_DIGITS]!r}")
    try:
        body = _decoded(reply.read(max_bytes + 1), headers, max_bytes=max_bytes)
    except _FAILURES as error:
        return whole(broken=f"the reply broke off: {root_cause(error)}")
    if len(body) > max_bytes:
        return whole(is_oversize=True, broken=f"more than {max_bytes} bytes")
    return whole(broken=f"the reply broke off: {reply.length} bytes are missing") if reply.length else whole(body=body)


def _is_clear(reply: PacedReply, announced: str) -> bool:
    """Whether http.client could make sense of the length: it reads on for ever where it could not."""
    return not announced or reply.chunked or (reply.length is not None and announced.isdecimal())


def _decoded(body: bytes, headers: HTTPHeaderDict, *, max_bytes: int) -> bytes:
    """As urllib3 unpacks it, never to more than a byte above the bound. Raises HTTPError."""
    if "Content-Encoding" not in headers:
        return body
    packed = {"Content-Encoding": headers["Content-Encoding"]}
    with HTTPResponse(io.BytesIO(body), packed, preload_content=False) as response:
        return response.read(max_bytes + 1, decode_content=True)
