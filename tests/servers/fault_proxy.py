"""A TCP proxy that makes the network's faults to order, before any server a test talks to."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from tests.servers.ports import free_port

_ANSWER_SECONDS = 10.0
_CHUNK_BYTES = 65_536
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER with no time: close sends RST, as a crashed peer's system does


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What is wrong with the network. The default is nothing; faults combine, and change while connections live."""

    latency_seconds: float = 0.0  # added to every chunk, both ways
    is_refusing: bool = False  # nobody listens: connection refused
    loses_requests: bool = False  # what the client sends vanishes; the connection stays open
    loses_replies: bool = False  # the server gets the request and acts on it, the client never hears of it
    cuts_after_reply_bytes: int | None = None  # then both sides see a reset; 0 cuts before the first byte


BLACK_HOLE = Faults(loses_requests=True, loses_replies=True)
REFUSED = Faults(is_refusing=True)
NO_REPLIES = Faults(loses_replies=True)


class FaultProxy:
    """Listens on a loopback port of its own and passes everything on to `host:port`. A context manager.

    Assign `faults` to break the network, `Faults()` to mend it; `cut_connections` resets the live ones.
    `connections` counts those accepted so far, `struck` how often a fault hit: a chunk held up or lost, a cut.
    """

    def __init__(self, *, host: str = "127.0.0.1", port: int) -> None:
        self.port = free_port()
        self.connections = 0
        self.struck = 0
        self._target = (host, port)
        self._faults = Faults()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault proxy", daemon=True)
        self._listener: asyncio.Server | None = None
        self._live: set[asyncio.StreamWriter] = set()

    @property
    def faults(self) -> Faults:
        """What is wrong at the moment."""
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._faults = faults
        self._run(self._close() if faults.is_refusing else self._listen())

    def lead_to(self, port: int, *, host: str = "127.0.0.1") -> None:
        """From now on the address belongs to another server; the live connections to the old one are reset."""
        self._target = (host, port)
        self.cut_connections()

    def cut_connections(self) -> None:
        """Reset every live connection, on both sides."""
        self._run(self._cut_all())

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._listen())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_ANSWER_SECONDS)
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_ANSWER_SECONDS)

    async def _listen(self) -> None:
        if self._listener is None:
            self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def _close(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def _cut_all(self) -> None:
        for writer in tuple(self._live):
            _reset(writer)

    async def _end(self) -> None:
        await self._close()
        await self._cut_all()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._live.add(writer)
        try:
            server_reader, server_writer = await asyncio.open_connection(*self._target)
        except OSError:
            self._forget(writer)
            return
        self._live.add(server_writer)
        try:
            async with asyncio.TaskGroup() as both_ways:
                both_ways.create_task(self._pass_requests(reader, server_writer))
                both_ways.create_task(self._pass_replies(server_reader, writer))
        except* OSError:  # one side was reset, or is to be: so is the other
            _reset(writer)
            _reset(server_writer)
        finally:
            self._forget(writer)
            self._forget(server_writer)

    async def _pass_requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_CHUNK_BYTES):
            await self._hold_up()
            if self._faults.loses_requests:
                self.struck += 1
            else:
                writer.write(data)
                await writer.drain()
        writer.write_eof()

    async def _pass_replies(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passed = 0
        while data := await reader.read(_CHUNK_BYTES):
            await self._hold_up()
            limit = self._faults.cuts_after_reply_bytes
            if limit is not None and passed + len(data) > limit:
                self.struck += 1
                writer.write(data[: max(0, limit - passed)])
                await writer.drain()
                raise ConnectionResetError
            if self._faults.loses_replies:
                self.struck += 1
            else:
                writer.write(data)
                await writer.drain()
                passed += len(data)
        writer.write_eof()

    async def _hold_up(self) -> None:
        if self._faults.latency_seconds:
            self.struck += 1
            await asyncio.sleep(self._faults.latency_seconds)

    def _forget(self, writer: asyncio.StreamWriter) -> None:
        self._live.discard(writer)
        writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    raw: socket.socket | None = writer.get_extra_info("socket")
    if raw is not None and raw.fileno() >= 0:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.close()
