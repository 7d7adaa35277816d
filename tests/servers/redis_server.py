"""Redis and what speaks its protocol: Debian's redis-server here, Valkey in valkey.py on the same ground."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

import redis

from tests.servers.ports import free_port
from tests.servers.process import Server
from tests.servers.requirement import require

DATABASES = 16


class RedisLike(Server):
    """A server as we run it in production: append-only file synced every second, nothing evicted, a password.

    It listens on a loopback port, or with `unix_socket=True` on a socket in its folder and on no port at all.
    """

    password = "correct-horse"
    not_yet = (redis.ConnectionError, redis.TimeoutError)  # BusyLoadingError is a ConnectionError

    def __init__(self, folder: Path, *, unix_socket: bool = False) -> None:
        super().__init__(folder)
        self.port = 0 if unix_socket else free_port()
        self.socket = folder / "redis.sock" if unix_socket else None
        self._handed_out = 0

    @property
    def url(self) -> str:
        """What REDIS_URL takes, database 0."""
        return self.url_of(0)

    def url_of(self, database: int) -> str:
        """What REDIS_URL takes for one of the 16 databases, as redis-py writes it."""
        if self.socket:
            return f"unix://:{self.password}@{self.socket}?db={database}"
        return f"redis://:{self.password}@127.0.0.1:{self.port}/{database}"

    def fresh_url(self) -> str:
        """An empty database, in turn: what a straggler of the last test still writes goes to another one."""
        url = self.url_of(self._handed_out % DATABASES)
        self._handed_out += 1
        with redis.Redis.from_url(url, socket_timeout=5.0) as client:
            client.flushdb()
        return url

    @abstractmethod
    def program(self) -> Path:
        """Where the server's binary is."""

    def command(self) -> Sequence[str]:
        """Its arguments; Redis and Valkey take the same."""
        where = (
            ["--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "700"]
            if self.socket
            else ["--port", str(self.port), "--bind", "127.0.0.1"]
        )
        return [
            *(str(self.program()), *where, "--dir", str(self.folder), "--requirepass", self.password),
            *("--databases", str(DATABASES), "--save", "", "--maxmemory-policy", "noeviction"),
            *("--appendonly", "yes", "--appendfsync", "everysec", "--aof-load-truncated", "yes"),
        ]

    def is_ready(self) -> bool:
        """An authenticated PING: refused while it loads its file."""
        with redis.Redis.from_url(self.url, socket_timeout=5.0) as client:
            return bool(client.ping())


class RedisServer(RedisLike):
    """Debian's redis-server: the second engine, so that nothing is tuned to one server's quirks."""

    def program(self) -> Path:
        """From PATH; missing, the test is skipped or with CI set fails."""
        return require("redis-server")["redis-server"]
