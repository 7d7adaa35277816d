"""Many new rows at once, by each database's quickest way: a statement run many times on SQLite, COPY on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Table


def insert_rows(connection: Connection, table: Table, names: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
    """Insert the rows, whose values come in the order of `names`; what is not named has the database's default."""
    columns = f'"{table.name}" ({", ".join(names)})'
    if connection.dialect.name == "sqlite":
        places = ", ".join("?" * len(names))
        connection.exec_driver_sql(f"INSERT INTO {columns} VALUES ({places})", list(rows))  # noqa: S608 - our own names
        return
    from imagejobs.ledger.postgres import copy_in

    copy_in(connection, f"COPY {columns} FROM STDIN", rows)
