"""Free ports on loopback."""

from __future__ import annotations

import random
import socket

_BELOW_EPHEMERAL = range(15_000, 30_000)


def free_port() -> int:
    """A TCP port nobody listens on, from below the range the kernel gives to outgoing connections.

    A server that a test kills must find its port free when it starts again; a port of the ephemeral range could
    meanwhile have become the local end of somebody's connection.
    """
    while True:
        port = random.choice(_BELOW_EPHEMERAL)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
