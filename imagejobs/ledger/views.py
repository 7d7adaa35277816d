"""What others read from the ledger: what is in flight, and the rows that manifests and reports are made of."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, and_, bindparam, case, delete, func, insert, select, tuple_

from imagejobs.job import Flight, Job
from imagejobs.ledger.engine import Database
from imagejobs.ledger.rows import alike, expiries, flight_of, flight_query, job_of, job_query
from imagejobs.ledger.tables import attempts, batches, images, in_flight, jobs, orphans, schemas, specs
from imagejobs.states import State

PAGE = 2000  # rows held in memory at once, whatever the size of a batch
SMALL_PAGE = 250  # where a process lives on: of the room that was needed once, it keeps a part
FIRST_PAGE, PAGE_CHARACTERS = 20, 4 * 2**20  # fewer where inputs are large: one may be a megabyte


def _flying(query: Select[Any], state: State, *where: ColumnElement[bool]) -> Select[Any]:
    return query.where(in_flight(state), batches.c.account == bindparam("account"), *where)


# Built once: every sweep asks them.
_RUNNING = _flying(flight_query(), State.RUNNING).order_by(attempts.c.intent_at, jobs.c.id)
_UNKNOWN = _flying(job_query(), State.SUBMITTING, jobs.c.due_at <= bindparam("now")).order_by(
    attempts.c.intent_at, jobs.c.id
)
_SUBMITTING = _flying(job_query(), State.SUBMITTING).order_by(jobs.c.id)
_NAMED = job_query().where(jobs.c.id.in_(bindparam("ids", expanding=True))).order_by(jobs.c.id)
_KNOWN = [
    select(column).where(column.in_(bindparam("ids", expanding=True)))
    for column in (attempts.c.prediction_id, orphans.c.prediction_id)
]
_PAGE: Any = (bindparam("first"), bindparam("last"))


def _of_page(table: Table) -> ColumnElement[bool]:
    """The table's rows of a page's jobs. PostgreSQL carries no bounds over a join: a page would read all before it."""
    return and_(table.c.job_id == jobs.c.id, table.c.job_id.between(*_PAGE))


def _fitting(rows: Sequence[Mapping[str, Any]], page: int) -> int:
    """How many rows like these a page may have."""
    return max(1, min(page, PAGE_CHARACTERS * len(rows) // sum(len(row["input"]) for row in rows)))


_ASKED = jobs.join(specs, _of_page(specs))


class Views:
    """Reads only, but for the cache of model schemas."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def flights(self, account: str) -> list[Flight]:
        """The account's jobs whose prediction is at the provider, the oldest first."""
        with self._database.read() as connection:
            return [flight_of(row) for row in connection.execute(_RUNNING, {"account": account})]

    def unknown(self, account: str, *, now: float) -> list[Job]:
        """Creates whose reply is lost, for which it is time to look them up. The oldest intent first."""
        return self._jobs(_UNKNOWN, account=account, now=now)

    def submitting(self, account: str) -> list[Job]:
        """Creates that are on their way, or whose reply is lost."""
        return self._jobs(_SUBMITTING, account=account)

    def jobs(self, job_ids: Sequence[int]) -> list[Job]:
        """These jobs as they stand now, in order of id."""
        return [job for ids in alike(sorted(job_ids)) for job in self._jobs(_NAMED, ids=ids)]

    def _jobs(self, query: Select[Any], **which: Any) -> list[Job]:
        with self._database.read() as connection:
            return [job_of(row) for row in connection.execute(query, which)]

    def known(self, prediction_ids: Sequence[str]) -> set[str]:
        """Which of these predictions belong to an attempt of ours, or are known to belong to none."""
        found: set[str] = set()
        with self._database.read() as connection:
            for ids in alike(prediction_ids):
                for query in _KNOWN:
                    found.update(connection.execute(query, {"ids": ids}).scalars())
        return found

    def backlog_expiry(self, account: str, *, leave_out: int) -> float | None:
        """When the account's backlog of copies begins to die, but for so many outputs that die before all others.

        One that can never be had waits out its hour, and is no sign that copying has fallen behind.
        """
        waiting = expiries(batches.c.account == account).limit(1).offset(leave_out)
        with self._database.read() as connection:
            return connection.execute(waiting).scalar()

    def copies(self, account: str) -> tuple[int, int, str | None]:
        """How many copies wait, how many of them have failed before, and what one of those was told."""
        failed = attempts.c.copy_tries > 0
        current = and_(attempts.c.job_id == jobs.c.id, attempts.c.number == jobs.c.attempt)
        waiting = jobs.join(attempts, current).join(batches, batches.c.id == jobs.c.batch_id)
        figures = (func.count(), func.count(case((failed, 1))), func.max(case((failed, jobs.c.error))))
        query = select(*figures).select_from(waiting).where(in_flight(State.STORING), batches.c.account == account)
        with self._database.read() as connection:
            count, failing, error = connection.execute(query).one()
        return count, failing, error

    def image_rows(self, batch_id: int, *, page: int = PAGE) -> Iterator[dict[str, Any]]:
        """One row an image, in the order of the input: everything the manifest says of it. `page` rows a query."""
        current = and_(_of_page(attempts), attempts.c.number == images.c.attempt)
        query = select(
            jobs.c.id.label("job_id"),
            jobs.c.row_id.label("id"),
            jobs.c.state,
            *specs.c["version", "input", "tags"],
            *images.c["index", "attempt", "uri", "sha256", "bytes", "width", "height", "content_type", "stored_at"],
            attempts.c.prediction_id,
            attempts.c.accepted_at.label("created_at"),
            attempts.c.completed_at,
            attempts.c.predict_time_s,
        ).select_from(_ASKED.join(images, _of_page(images)).outerjoin(attempts, current))
        yield from self._pages(batch_id, query, (jobs.c.id, images.c["index"]), ("job_id", "index"), page)

    def job_rows(self, batch_id: int, state: State | None = None, *, page: int = PAGE) -> Iterator[dict[str, Any]]:
        """One row a job, in the order of the input: what was asked, and what became of it. `page` rows a query."""
        became = jobs.c["id", "row_id", "line", "state", "outputs", "attempt", "cause", "error"]
        query = select(*became, *specs.c["version", "input", "tags"]).select_from(_ASKED)
        query = query if state is None else query.where(jobs.c.state == state)
        yield from self._pages(batch_id, query, (jobs.c.id,), ("id",), page)

    def _pages(
        self, batch_id: int, query: Select[Any], keys: Sequence[Any], names: Sequence[str], most: int
    ) -> Iterator[dict[str, Any]]:
        """Keyset pages: each a transaction of its own, so that a long export holds nobody up.

        The first key is the job's id. A batch lies in one stretch of ids, more or less, and is read along it.
        """
        ends = func.coalesce(func.min(jobs.c.id), 0), func.coalesce(func.max(jobs.c.id), 0)
        with self._database.read() as connection:
            first, last = connection.execute(select(*ends).where(jobs.c.batch_id == batch_id)).one()
        # SQLite would find the batch by its rows' names, and sort all of it, for every page; + 0 hides that index.
        batch = jobs.c.batch_id + 0 if self._database.is_sqlite else jobs.c.batch_id
        rest = page = query.where(batch == batch_id, jobs.c.id.between(*_PAGE)).order_by(*keys)
        size = FIRST_PAGE
        while True:
            with self._database.read() as connection:
                found = connection.execute(rest.limit(size), {"first": first, "last": last})
                # As plain texts: SQLAlchemy's own kind takes JSON twenty times as long.
                columns = [str(name) for name in found.keys()]  # noqa: SIM118 - no dict
                rows = [dict(zip(columns, row, strict=True)) for row in found]
            yield from rows
            if len(rows) < size:
                return
            place = tuple(rows[-1][name] for name in names)
            first, rest = place[0], page.where(tuple_(*keys) > tuple_(*place))
            size = _fitting(rows, most)

    def history(self, batch_id: int, row_id: str) -> list[dict[str, Any]]:
        """Every attempt of one job, the first one first."""
        query = select(attempts).join(jobs, jobs.c.id == attempts.c.job_id)
        query = query.where(jobs.c.batch_id == batch_id, jobs.c.row_id == row_id).order_by(attempts.c.number)
        with self._database.read() as connection:
            return [dict(row._mapping) for row in connection.execute(query)]

    def has_row(self, batch_id: int, row_id: str) -> bool:
        """Whether the batch has a row of that name."""
        query = select(jobs.c.id).where(jobs.c.batch_id == batch_id, jobs.c.row_id == row_id)
        with self._database.read() as connection:
            return connection.execute(query).first() is not None

    def input_schema(self, version: str) -> dict[str, Any] | None:
        """A model version's input schema, if it was fetched before. Versions never change, so it never goes stale."""
        with self._database.read() as connection:
            found = connection.execute(select(schemas.c.input_schema).where(schemas.c.version == version)).scalar()
        return None if found is None else dict(json.loads(found))

    def keep_input_schema(self, version: str, schema: dict[str, Any], *, now: float) -> None:
        """Remember a model version's input schema."""
        with self._database.write() as connection:
            connection.execute(delete(schemas).where(schemas.c.version == version))
            row = {"version": version, "input_schema": json.dumps(schema), "fetched_at": now}
            connection.execute(insert(schemas).values(**row))
