"""A go-between for Redis that sees every message as it is put on a queue, once, and may put something else there."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from tests.servers.fault_proxy import FaultProxy

Command = list[bytes]
Meddling = Callable[[bytes, bytes, int], Command | None]
"""Given a queue's key, a message and its number (from 1), the command to send in place of LPUSH; None: leave it be.
The command must reply with a number, as LPUSH does.
"""


class Meddler(FaultProxy):
    """Stands before a Redis server and rewrites each LPUSH of one message to a queue of ours. `struck` counts them."""

    def __init__(self, redis_url: str, meddle: Meddling) -> None:
        self._server = urlsplit(redis_url)
        super().__init__(port=self._server.port or 6379)
        self._meddle = meddle
        self.seen = 0
        self.struck = 0

    @property
    def url(self) -> str:
        """What REDIS_URL is set to."""
        login = self._server.netloc.rpartition("@")[0]
        return self._server._replace(netloc=f"{login}@127.0.0.1:{self.port}").geturl()

    async def _pass_requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(_packed(self._rewritten(await _command(reader))))
                await writer.drain()
        except asyncio.IncompleteReadError:
            writer.write_eof()

    def _rewritten(self, command: Command) -> Command:
        if len(command) != 3 or command[0].upper() != b"LPUSH" or b":imagejobs." not in command[1]:
            return command
        self.seen += 1
        other = self._meddle(command[1], command[2], self.seen)
        self.struck += other is not None
        return command if other is None else other


async def _command(reader: asyncio.StreamReader) -> Command:
    """One command as clients send them: an array of strings with their lengths."""
    parts = int((await reader.readuntil(b"\r\n"))[1:])
    command = []
    for _ in range(parts):
        length = int((await reader.readuntil(b"\r\n"))[1:])
        command.append((await reader.readexactly(length + 2))[:-2])
    return command


def _packed(command: Sequence[bytes]) -> bytes:
    parts = [b"$%d\r\n%s\r\n" % (len(part), part) for part in command]
    return b"*%d\r\n%s" % (len(parts), b"".join(parts))


def rewritten(
    message: bytes, *, args: list[Any] | None = None, kwargs: dict[str, Any] | None = None, **headers: Any
) -> bytes:
    """The message with other arguments and more headers."""
    envelope = json.loads(message)
    old_args, old_kwargs, embed = json.loads(base64.b64decode(envelope["body"]))
    body = [old_args if args is None else args, old_kwargs if kwargs is None else kwargs, embed]
    envelope["body"] = base64.b64encode(json.dumps(body).encode()).decode()
    envelope["headers"] |= headers
    return json.dumps(envelope).encode()
