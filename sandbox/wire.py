"""Puts replies on the wire, whole or spoiled in the ways a network spoils them."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

SLOW_PIECES = 20  # a slow body comes in so many pieces
HUGE_PIECE_BYTES = 65_536
JSON, PROBLEM_JSON, HTML = "application/json", "application/problem+json", "text/html"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What is to be sent. `declared_bytes` is the length announced, where it is not the body's own."""

    status: int
    body: bytes = b""
    media_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    declared_bytes: int | None = None
    chunked: bool = False


def json_reply(status: int, content: Any, *, headers: Mapping[str, str] | None = None, problem: bool = False) -> Reply:
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    return Reply(status=status, body=body, media_type=PROBLEM_JSON if problem else JSON, headers=headers or {})


async def send(request: web.Request, reply: Reply, *, over_seconds: float = 0.0) -> web.StreamResponse:
    """The reply as an answer, dribbled `over_seconds` if that is above 0.

    Where more was declared than there is, the connection is closed in the middle of the body.
    """
    headers = {**reply.headers, "Content-Type": reply.media_type}
    if not (over_seconds or reply.chunked or reply.declared_bytes):
        return web.Response(status=reply.status, body=reply.body, headers=headers)
    response = web.StreamResponse(status=reply.status, headers=headers)
    if reply.chunked:
        response.enable_chunked_encoding()
    else:
        response.content_length = reply.declared_bytes or len(reply.body)
    await response.prepare(request)
    for piece in _pieces(reply.body, SLOW_PIECES if over_seconds else 1):
        await asyncio.sleep(over_seconds * len(piece) / len(reply.body))
        await response.write(piece)
    if reply.declared_bytes and request.transport:
        request.transport.close()
    return response


def _pieces(body: bytes, count: int) -> list[bytes]:
    size = -(-len(body) // count) or 1
    return [body[start : start + size] for start in range(0, len(body), size)]


async def send_huge(request: web.Request, head: bytes, *, media_type: str, total_bytes: int) -> web.StreamResponse:
    """`head`, then noise up to so many bytes, never held in memory here."""
    response = web.StreamResponse(headers={"Content-Type": media_type, "Content-Length": str(total_bytes)})
    await response.prepare(request)
    await response.write(head)
    noise = bytes(range(256)) * (HUGE_PIECE_BYTES // 256)
    left = total_bytes - len(head)
    while left > 0:
        await response.write(noise[:left])
        left -= HUGE_PIECE_BYTES
    return response


def reset(request: web.Request) -> web.Response:
    """Cuts the connection with a TCP reset; the answer returned goes nowhere."""
    transport = request.transport
    if transport is not None:
        connection: socket.socket | None = transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response()
