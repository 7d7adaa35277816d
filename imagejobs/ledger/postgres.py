"""PostgreSQL: how it is connected to, and how a network that swallows replies ends as an error.

Keepalives find out a host that is gone. They do not find out a balancer or a proxy that keeps the connection open and
passes nothing on: there a thread would wait for its reply for ever. So every reply is waited for within a bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import psycopg
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError

from imagejobs.ledger.tables import metadata

# Said here and not in the tables: SQLAlchemy loads its whole dialect for the word, for nothing on SQLite.
for _index in (index for table in metadata.tables.values() for index in table.indexes):
    _index.dialect_options["postgresql"]["where"] = _index.dialect_options["sqlite"]["where"]

CONNECT_SECONDS = 10
IDLE_SECONDS = 30  # a process that is stopped in mid-transaction must not keep its locks, and so everybody, for longer
_CONNECT = {
    "connect_timeout": CONNECT_SECONDS,
    # A dead host: 3 keepalive probes, 5 s apart, after 10 s.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
    "application_name": "imagejobs",
}


class BoundedConnection(psycopg.Connection[Any]):
    """Gives a statement up, and itself with it, when its reply takes longer than `reply_seconds` says."""

    reply_seconds: Callable[[], float]

    def wait(self, gen: PQGen[Any], interval: float = 0.1, timeout: float | None = None) -> Any:
        """Raises OperationalError when the bound is passed. The server may have done what it was asked, or may yet."""
        try:
            return super().wait(gen, interval=interval, timeout=self.reply_seconds() if timeout is None else timeout)
        except psycopg.OperationalError:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.pgconn.finish()  # the reply may come yet: nobody may take it for that of another statement
            raise


def open_postgres(url: str, *, reply_seconds: Callable[[], float]) -> Engine:
    """The pool of connections. `reply_seconds` is asked anew at each reply."""
    engine = create_engine(
        url,
        # Said here, whatever the server's default is: locks are what guards a job, and under a stricter level a
        # transaction that waited for one would fail instead of reading on.
        isolation_level="READ COMMITTED",
        pool_size=8,
        max_overflow=24,
        pool_pre_ping=True,
        pool_recycle=600,
        connect_args=_CONNECT,
    )

    def connect(_dialect: object, _record: object, args: Any, kwargs: Any) -> BoundedConnection:
        connection = BoundedConnection.connect(*args, **kwargs)
        connection.reply_seconds = reply_seconds
        connection.execute(f"SET idle_in_transaction_session_timeout = '{IDLE_SECONDS}s'".encode())
        connection.commit()
        return connection

    event.listen(engine, "do_connect", connect)
    return engine


def copy_in(connection: Connection, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
    """COPY … FROM STDIN. Raises SQLAlchemy's errors, as every other statement does."""
    driver: Any = connection.connection.driver_connection
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(row)
    except psycopg.Error as error:
        raise DBAPIError.instance(statement, None, error, psycopg.Error, dialect=connection.dialect) from error
