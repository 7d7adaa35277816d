"""The door to the database: SQLite (one machine) or PostgreSQL (a fleet), from one code path.

SQLite runs in WAL mode with synchronous=FULL: an intent that power loss could undo would be paid for twice.
Writers of one process take turns at a lock of ours, since SQLite's own waiting is a sleep-and-retry; between processes
there is only that, so it is made brisk, and busy processes leave room for it. Every write begins with BEGIN IMMEDIATE,
so that a transaction never fails half-way for want of the write lock.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import StaticPool

from imagejobs.errors import BadSetting
from imagejobs.ledger.schema import SCHEMA, bring_up_to_date, version_of

# The database is away or busy: it will be back. PostgreSQL's InternalErrors are about the transaction: ended by the
# server since its process slept in it, or refused by a standby that is not the primary yet.
LEDGER_ERRORS = (OperationalError, InterfaceError, InternalError, PoolTimeoutError)
LONGEST_REPLY_SECONDS = 900.0  # of PostgreSQL's: a migration, or a retry of a million jobs
BUSY_SECONDS = 30  # how long a write waits for another process's; longer than any transaction of ours
ASK_AGAIN_SECONDS = 0.003  # SQLite asks again after one and three milliseconds; then we begin anew
ON_END_SECONDS, ROOM_SECONDS = 0.03, 0.004  # so long may one process write on end; then others are left so much room
KEPT_STATEMENTS = 32  # of each connection, prepared: about as many as run all day; each of some ten kilobytes
OLDEST_SQLITE = (3, 35)  # RETURNING
_OTHER_HOME = "see to what is there, or set IMAGEJOBS_HOME to another folder"


class _Turns:
    """One writer of this process at a time; and now and then room for one of another process.

    Those ask every other millisecond, and between two writes of ours there is a fraction of one: without the room,
    whoever is last to come in may wait for seconds.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._since = self._ended = 0.0  # when this process began to write on end, and when its last write ended

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """A turn, once it is there."""
        with self._lock:
            self._leave_room()
            try:
                yield
            finally:
                self._ended = time.monotonic()

    def _leave_room(self) -> None:
        now = time.monotonic()
        if now - self._ended > ROOM_SECONDS:
            self._since = now
        elif now - self._since > ON_END_SECONDS:
            time.sleep(ROOM_SECONDS)
            self._since = time.monotonic()


class Database:
    """Connections and transactions. `read` sees a snapshot, `write` is one transaction, committed at its end.

    `reply_seconds` bounds the wait for any one reply of PostgreSQL; it may be changed at any time.
    """

    def __init__(self, url: str) -> None:
        self.reply_seconds = LONGEST_REPLY_SECONDS
        self.engine = _engine(url, reply_seconds=lambda: self.reply_seconds)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        self._writer = self.engine.execution_options(writes=True)
        self._turn: Callable[[], AbstractContextManager[Any]] = _Turns() if self.is_sqlite else nullcontext

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads."""
        with self.engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that may write; rolled back when the block raises."""
        with self._turn(), self._writer.begin() as connection:
            yield connection

    def lock(self) -> AbstractContextManager[Any]:
        """What threads that share this database can take turns at; whoever owns the threads may have another kind."""
        return threading.Lock()

    def now(self) -> float:
        """The database's own clock, seconds since the epoch: one clock for a fleet whose hosts disagree."""
        query = (
            "SELECT (julianday('now') - 2440587.5) * 86400.0"
            if self.is_sqlite
            else "SELECT extract(epoch FROM clock_timestamp())"
        )
        with self.read() as connection:
            return float(connection.execute(text(query)).scalar_one())

    def close(self) -> None:
        """Give every pooled connection back."""
        self.engine.dispose()

    def upgrade(self) -> None:
        """Bring the schema to this version, or wait until another process has. Raises BadSetting.

        For a database that a newer version has made, or that cannot be written to.
        """
        give_up_at = time.monotonic() + LONGEST_REPLY_SECONDS
        while (found := self.schema()) != SCHEMA:
            if found is not None and found > SCHEMA:
                raise BadSetting(
                    f"the ledger's schema is {found}, this imagejobs knows {SCHEMA}: a newer version has upgraded it; "
                    "install that version here too"
                )
            self._bring_up(give_up_at)

    def _bring_up(self, give_up_at: float) -> None:
        """On SQLite a migration of millions of jobs keeps everybody else waiting for longer than any write."""
        try:
            with self.write() as connection:
                bring_up_to_date(connection)
        except DBAPIError as error:
            is_locked = isinstance(error.orig, sqlite3.Error) and _is_locked(error.orig)
            if not is_locked or time.monotonic() > give_up_at:
                raise BadSetting(f"the ledger at {self.shown} cannot be upgraded: {_first_line(error)}") from None

    def schema(self) -> str | None:
        """The schema's version, none for an empty database. Raises BadSetting when it cannot be reached."""
        try:
            with self.read() as connection:
                return version_of(connection)
        except DBAPIError as error:
            raise BadSetting(
                f"the ledger at {self.shown} cannot be opened: {_first_line(error)}; {self.way_out}"
            ) from None

    @property
    def shown(self) -> str:
        """The URL without its password."""
        return self.engine.url.render_as_string(hide_password=True)

    @property
    def way_out(self) -> str:
        """What to do where it cannot be reached."""
        if self.is_sqlite:
            return _OTHER_HOME
        return "start PostgreSQL, or set DATABASE_URL to where it is"


def _first_line(error: DBAPIError) -> str:
    return str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else type(error.orig).__name__


def _engine(url: str, *, reply_seconds: Callable[[], float]) -> Engine:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # ValueError: a port that is no number
        raise BadSetting("DATABASE_URL is no database URL: it looks like postgresql+psycopg://user@host/name") from None
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(url, parsed.database or "")
    from imagejobs.ledger.postgres import open_postgres  # ten megabytes, for nothing on SQLite

    return open_postgres(url, reply_seconds=reply_seconds)


def _sqlite(url: str, path: str) -> Engine:
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise BadSetting(f"this Python's SQLite is {sqlite3.sqlite_version}; imagejobs needs 3.35 or later")
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        folder = Path(path).parent
        raise BadSetting(f"the ledger's folder {folder} cannot be made: {error.strerror}; {_OTHER_HOME}") from None
    # Without a path it lives in memory: in the one connection that all share, and for as long as that.
    # The connection given back last is taken first: each keeps a cache of its own, and few are ever needed at once.
    shared: dict[str, Any] = {"pool_size": 8, "max_overflow": 24, "pool_use_lifo": True}
    pool = shared if path else {"poolclass": StaticPool}
    connect = {"timeout": BUSY_SECONDS, "cached_statements": KEPT_STATEMENTS}
    engine = create_engine(url, connect_args=connect, **pool)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves
    _to_wal(connection)
    for pragma in ("synchronous=FULL", "foreign_keys=ON", "cache_size=-1000"):
        connection.execute(f"PRAGMA {pragma}")


def _to_wal(connection: sqlite3.Connection) -> None:
    """A new file's first change to WAL does not wait its turn as other writes do: it fails at once, so repeat it."""
    give_up_at = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if not _is_locked(error) or time.monotonic() > give_up_at:
                raise
            time.sleep(0.02)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    if connection.get_execution_options().get("writes", False):
        _begin_to_write(connection)
    else:
        _wait_at_most(connection, BUSY_SECONDS)
        connection.exec_driver_sql("BEGIN")


def _begin_to_write(connection: Connection) -> None:
    """Ask for the write lock every other millisecond. SQLite's own waiting asks ever more rarely, down to every tenth
    of a second: whoever has waited for longest would find the lock free last.

    Asked past SQLAlchemy, to which each refusal would be an error to be looked into: a quarter of a millisecond of CPU.
    """
    _wait_at_most(connection, ASK_AGAIN_SECONDS)
    ask = _driver(connection).execute
    for _ in range(int(BUSY_SECONDS / ASK_AGAIN_SECONDS)):  # not by the clock: who was stopped meanwhile has not waited
        try:
            ask("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            if not _is_locked(error):
                break
        else:
            return
    connection.exec_driver_sql("BEGIN IMMEDIATE")  # once more, for an error of its kind


def _wait_at_most(connection: Connection, seconds: float) -> None:
    """How long SQLite waits for another process, from now on, in this connection."""
    _driver(connection).execute(f"PRAGMA busy_timeout={int(seconds * 1000)}")


def _driver(connection: Connection) -> Any:
    """sqlite3's own connection."""
    return connection.connection.driver_connection


def _is_locked(error: sqlite3.Error) -> bool:
    return isinstance(error, sqlite3.OperationalError) and "locked" in str(error)
