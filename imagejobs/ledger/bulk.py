"""Many rows at once, by each database's quickest way.

New ones by a statement run many times on SQLite, by COPY on PostgreSQL; those that are there by one value with all ids.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Table, TextClause, func, select, text

from imagejobs.ledger.tables import jobs, specs

_IDS = jobs.c.id, specs.c.job_id
_SQLITE_AMONG = text("jobs.id IN (SELECT value FROM json_each(:ids))")
_POSTGRES_AMONG = text("jobs.id = ANY(:ids)")


def insert_rows(connection: Connection, table: Table, names: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
    """Insert the rows, whose values come in the order of `names`; what is not named has the database's default."""
    columns = f'"{table.name}" ({", ".join(names)})'
    if connection.dialect.name == "sqlite":
        places = ", ".join("?" * len(names))
        connection.exec_driver_sql(f"INSERT INTO {columns} VALUES ({places})", list(rows))  # noqa: S608 - our own names
        return
    from imagejobs.ledger.postgres import copy_in

    copy_in(connection, f"COPY {columns} FROM STDIN", rows)


def take_ids(connection: Connection, count: int) -> Sequence[int]:
    """Ids for that many new jobs. Only in a transaction that writes: SQLite has one at a time.

    Past the specs too: a process of the first schema that discards its batch knows nothing of them.
    """
    if connection.dialect.name == "sqlite":
        last = max(connection.execute(select(func.coalesce(func.max(one), 0))).scalar_one() for one in _IDS)
        return range(last + 1, last + 1 + count)
    # All of them in one value: as rows of a reply each takes a microsecond more.
    following = func.array_agg(func.nextval(func.pg_get_serial_sequence(jobs.name, "id")))
    found: Sequence[int] = connection.execute(
        select(following).select_from(func.generate_series(1, count))
    ).scalar_one()
    return found


def among(connection: Connection, ids: Sequence[int]) -> TextClause:
    """The jobs of these ids.

    A parameter for each would make another statement of every number of ids: writing and parsing it takes as long as
    what it does.
    """
    if connection.dialect.name == "sqlite":
        return _SQLITE_AMONG.bindparams(ids=json.dumps(list(ids)))
    return _POSTGRES_AMONG.bindparams(ids=list(ids))
