"""A ledger that an older version has made: brought up to date by whoever opens it first, with everything in it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, column, delete, insert, make_url, table, text

from imagejobs import ledger as ledger_package
from imagejobs.errors import BadSetting
from imagejobs.ledger import Ledger, engine
from imagejobs.ledger.engine import Database
from imagejobs.ledger.schema import SCHEMA, version_of
from tests.desk import LATER, NOW, Desk
from tests.servers.postgres import PostgresServer
from tests.servers.waiting import eventually


def test_what_was_asked_before_specs_stood_apart_is_still_known(database_url: str):
    """A ledger of the first schema, with a job that waits, one that is under way and one that failed: all go on."""
    first_schema(database_url)

    with Ledger(database_url) as ledger:
        waiting, flying, failed = ledger.views.job_rows(1)
        (flight,) = ledger.views.flights(OLD["account"])
        taken = ledger.turns.take(OLD["account"], places=5, now=NOW, resend_at=LATER)
        (claimed,) = ledger.jobs.claim(taken, account=OLD["account"], now=NOW, resolve_at=LATER)
        added = Desk(ledger).batch(rows=2)
        unused = min(row["id"] for row in ledger.views.job_rows(added.id))
    told = [(row["id"], row["row_id"], row["version"], row["input"], row["tags"]) for row in (waiting, flying, failed)]
    assert [
        (number, f"r{number}", "o/m:v", f'{{"seed": {number}}}', '{"mood": "calm"}') for number in (1, 2, 3)
    ] == told
    assert (2, "o/m:v", "p2") == (flight.job_id, flight.version, flight.prediction_id)
    assert (1, "r1", "o/m:v", {"seed": 1}) == (claimed.id, claimed.row_id, claimed.version, claimed.input)
    assert ("failed", "CUDA error") == (failed["state"], failed["error"])
    assert unused > 3


def test_a_job_that_is_added_while_the_specs_are_moved_keeps_its_own(postgres_server: PostgresServer):
    """By a submit of the version before, which has written and not committed yet. On SQLite one waits for the other."""
    database_url = postgres_server.create_database()
    first_schema(database_url)
    database = Database(database_url)
    with ThreadPoolExecutor(1) as pool:
        with database.write() as connection:
            _insert(
                connection, "jobs", **ASKED, row_id="late", line=4, input="{}", state="queued", attempt=0, tries_left=3
            )
            opening = pool.submit(Ledger, database_url)
            with database.read() as other:
                eventually(lambda: other.execute(text(_WAITING)).scalar_one(), what="the migration waits")
        with opening.result(30) as ledger:
            assert ["r1", "r2", "r3", "late"] == [row["row_id"] for row in ledger.views.job_rows(1)]
    database.close()
    postgres_server.drop_database(database_url)


ASKED = {"batch_id": 1, "version": "o/m:v", "tags": '{"mood": "calm"}', "outputs": 1, "due_at": 0.0, "hinted": 0}


# What a person may have made beside our tables, and what stops the migration after the specs were copied.
OBSTACLES = {"sqlite": ("TABLE wide_jobs", "(x)"), "postgresql": ("VIEW wide_jobs", "AS SELECT tags FROM jobs")}


def test_a_migration_that_breaks_in_its_midst_leaves_the_ledger_as_it_was(database_url: str):
    """On the first schema, which the version before goes on working with; nothing is half moved."""
    first_schema(database_url)
    database = Database(database_url)
    kind, what = OBSTACLES[database.engine.dialect.name]
    with database.write() as connection:
        connection.execute(text(f"CREATE {kind} {what}"))
    with pytest.raises(BadSetting, match=r"cannot be upgraded: .*(wide_jobs|other objects depend)"):
        Ledger(database_url)
    with database.write() as connection:
        asked = connection.execute(text("SELECT row_id, version FROM jobs ORDER BY id")).all()
        assert [("r1", "o/m:v"), ("r2", "o/m:v"), ("r3", "o/m:v")] == [tuple(row) for row in asked]
        assert (False, "0001") == (database.engine.dialect.has_table(connection, "specs"), version_of(connection))
        connection.execute(text(f"DROP {kind}"))
    database.close()

    with Ledger(database_url) as ledger:
        assert 3 == len(list(ledger.views.job_rows(1)))


@contextmanager
def held(path: Path) -> Iterator[None]:
    """By another process, which is still migrating it."""
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as another:
        another.execute("BEGIN IMMEDIATE")
        yield
        another.execute("ROLLBACK")


def test_a_migration_by_another_process_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """However much longer it takes than any write: two workers are started at once on a ledger of millions."""
    asked: list[object] = []
    ask = engine._begin_to_write
    monkeypatch.setattr(engine, "BUSY_SECONDS", 0.05)
    monkeypatch.setattr(engine, "_begin_to_write", lambda connection: asked.append(1) or ask(connection))
    path = tmp_path / "ledger.sqlite"
    first_schema(f"sqlite:///{path}")
    asked.clear()
    with ThreadPoolExecutor(1) as pool:
        with held(path):
            opening = pool.submit(Ledger, f"sqlite:///{path}")
            eventually(lambda: len(asked) > 2, what="it asks again")
        with opening.result(30) as ledger:
            assert (SCHEMA, 3) == (ledger.database.schema(), len(list(ledger.views.job_rows(1))))


def test_a_migration_that_cannot_be_is_a_bad_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Somebody has the file in a transaction of hours."""
    monkeypatch.setattr(engine, "BUSY_SECONDS", 0.05)
    monkeypatch.setattr(engine, "LONGEST_REPLY_SECONDS", 0.1)
    path = tmp_path / "ledger.sqlite"
    first_schema(f"sqlite:///{path}")

    with held(path), pytest.raises(BadSetting, match=r"ledger\.sqlite cannot be upgraded: database is locked"):
        Ledger(f"sqlite:///{path}")


_WAITING = """SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
              WHERE NOT granted AND datname = current_database()"""
OLD = {"key": "old", "account": "old", "store": "x", "rows_digest": "d", "created_at": 0.0, "opened_at": 0.0}


def first_schema(database_url: str) -> None:
    """A database as 0.1.0 left it."""
    config = Config()
    config.set_main_option("script_location", str(Path(str(ledger_package.__file__)).parent / "migrations"))
    database = Database(database_url)
    with database.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        _insert(connection, "batches", **OLD, total=3, queued=1, running=1, failed=1)
        for number, state, error in ((1, "queued", None), (2, "running", None), (3, "failed", "CUDA error")):
            asked = {"row_id": f"r{number}", "line": number, "input": f'{{"seed": {number}}}'}
            became = {"state": state, "error": error, "attempt": number // 2, "tries_left": 3}
            _insert(connection, "jobs", **ASKED, **asked, **became)
        intent = {"job_id": 2, "number": 1, "intent_at": 1.0, "accepted_at": 1.0, "prediction_id": "p2"}
        _insert(connection, "attempts", **intent, outcome="accepted")
    database.close()


def _insert(connection: Connection, name: str, **values: object) -> None:
    connection.execute(insert(table(name, *map(column, values))).values(values))


def test_a_batch_that_an_older_process_discards_is_in_nobodys_way(database_url: str):
    """It was submitting when its ledger was migrated, and knows of no specs: those that it leaves keep their ids."""
    with Ledger(database_url) as ledger:
        at = Desk(ledger)
        left = at.batch(rows=3, is_open=False)
        with ledger.database.write() as connection:
            for name in ("jobs", "batches"):
                key = column("batch_id" if name == "jobs" else "id")
                connection.execute(delete(table(name, key)).where(key == left.id))
        batch = at.batch(rows=2)

        assert ["r1", "r2"] == [row["row_id"] for row in ledger.views.job_rows(batch.id)]


def test_a_role_that_may_not_migrate_is_a_bad_setting(postgres_server: PostgresServer):
    """One that may read and write rows, and no more."""
    database_url = postgres_server.create_database()
    first_schema(database_url)
    owner = Database(database_url)
    with owner.write() as connection:
        connection.execute(text("CREATE ROLE clerk LOGIN PASSWORD 'clerk'"))
        connection.execute(text("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO clerk"))
    clerk = make_url(database_url).set(username="clerk", password="clerk")
    try:
        with pytest.raises(BadSetting, match=r"cannot be upgraded: (permission denied|must be owner)"):
            Ledger(clerk.render_as_string(hide_password=False))
    finally:
        with owner.write() as connection:
            connection.execute(text("DROP OWNED BY clerk"))
            connection.execute(text("DROP ROLE clerk"))
        owner.close()
        postgres_server.drop_database(database_url)


def test_a_newer_version_that_was_quicker_is_refused_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It migrated while this one waited for its turn."""
    database = Database(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    first_schema(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    ask = engine._begin_to_write

    def after_a_newer_one(connection: Connection) -> None:
        ask(connection)
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    monkeypatch.setattr(engine, "_begin_to_write", after_a_newer_one)
    with pytest.raises(BadSetting, match="schema is 9999"):
        database.upgrade()
    database.close()
