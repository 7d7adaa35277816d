"""The ledger's schema on both databases: one truth in two places, upgrades that meet, and refusals that say why."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, make_url, text
from sqlalchemy.exc import IntegrityError

from imagejobs import ledger as ledger_package
from imagejobs.errors import BadSetting
from imagejobs.ledger import LEDGER_ERRORS, Ledger
from imagejobs.ledger.engine import Database
from imagejobs.ledger.schema import SCHEMA, migrate
from imagejobs.ledger.tables import metadata
from tests.desk import Desk
from tests.servers.ports import free_port
from tests.servers.postgres import PostgresServer

ROOT = Path(__file__).parents[2]
SECRET = "hunter2"

_SQLITE = "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' AND tbl_name <> 'alembic_version'"
_POSTGRES = (
    """SELECT table_name, column_name, data_type, character_maximum_length, is_nullable, column_default
       FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'alembic_version'""",
    "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'alembic_version'",
    """SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
       WHERE connamespace = 'public'::regnamespace AND conrelid <> 'alembic_version'::regclass""",
)


def definition(connection: Connection) -> set[tuple[object, ...]]:
    """Everything the database itself knows of its tables, indexes and constraints."""
    if connection.dialect.name == "sqlite":
        rows = connection.execute(text(_SQLITE))
        return {(kind, name, " ".join((sql or "").split())) for kind, name, sql in rows}
    return {tuple(row) for query in _POSTGRES for row in connection.execute(text(query))}


def test_migrations_and_tables_give_the_same_schema(database_url: str):
    """Columns, defaults, indexes with their conditions, and CHECKs: to the letter. A new database has the tables'."""
    with Ledger(database_url) as ledger:
        with ledger.database.read() as connection:
            described = definition(connection)
        with ledger.database.write() as connection:
            metadata.drop_all(connection)
            connection.execute(text("DELETE FROM alembic_version"))
            migrate(connection)
            migrated = definition(connection)

    assert {"batches_open", "jobs_waiting", "counts_sum"} < {name for row in migrated for name in words(row)}
    assert described == migrated


def words(row: tuple[object, ...]) -> set[str]:
    """The words of one row of a definition."""
    return {word for value in row if isinstance(value, str) for word in value.split()}


def test_the_code_knows_the_newest_migration():
    """`SCHEMA` is what an upgrade goes to; a forgotten one would leave a new migration out."""
    folder = Path(str(ledger_package.__file__)).parent / "migrations"

    assert [SCHEMA] == ScriptDirectory(str(folder)).get_heads()


def test_opening_again_keeps_everything(database_url: str):
    """An upgrade of what is up to date does nothing."""
    with Ledger(database_url) as ledger:
        batch = Desk(ledger).batch(rows=2)

    with Ledger(database_url) as ledger:
        assert batch == ledger.batches.get(batch.key)


def test_four_threads_may_open_a_new_database_at_once(database_url: str):
    """One of them makes the schema, the others wait and find it."""
    with ThreadPoolExecutor(4) as pool:
        ledgers = list(pool.map(lambda _: Ledger(database_url), range(4)))

    found = [ledger.database.schema() for ledger in ledgers]
    for ledger in ledgers:
        ledger.close()
    assert [SCHEMA] * 4 == found


def test_four_processes_may_open_a_new_database_at_once(database_url: str):
    """A fleet is deployed all at once."""
    script = "import sys; from imagejobs.ledger import Ledger; Ledger(sys.argv[1]).close()"
    command = [sys.executable, "-c", script, database_url]
    processes = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    said = [process.communicate(timeout=60)[1] for process in processes]

    assert [(0, "")] * 4 == [(process.returncode, error) for process, error in zip(processes, said, strict=True)]


def test_a_newer_schema_is_refused(database_url: str):
    """An old program must not work on what it does not understand; the text says what to do."""
    with Ledger(database_url) as ledger, ledger.database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(BadSetting, match=rf"schema is 9999, this imagejobs knows {SCHEMA}: a newer version"):
        Ledger(database_url)


def test_counts_that_do_not_sum_are_refused_by_the_database(database_url: str):
    """Whatever the code does wrong: the CHECK bites."""
    with Ledger(database_url) as ledger:
        batch = Desk(ledger).batch(rows=3)
        statement = text("UPDATE batches SET queued = queued - 1 WHERE id = :id")
        with pytest.raises(IntegrityError, match="counts_sum"), ledger.database.write() as connection:
            connection.execute(statement, {"id": batch.id})

        assert batch == ledger.batches.get(batch.key)


def test_a_write_that_raises_leaves_nothing(database_url: str):
    """One transaction, all or nothing."""
    with Ledger(database_url) as ledger:
        batch = Desk(ledger).batch()
        statement = text("UPDATE batches SET paused = 'half done' WHERE id = :id")
        with pytest.raises(ZeroDivisionError), ledger.database.write() as connection:
            connection.execute(statement, {"id": batch.id})
            _ = batch.id / 0

        assert batch == ledger.batches.get(batch.key)


def test_two_submits_of_one_key_make_one_batch(database_url: str):
    """The second one is told that the key is taken."""
    facts = {"account": "a", "store": "s", "rows_digest": "d"}
    with Ledger(database_url) as ledger:
        created = [ledger.batches.create("night", facts=facts, now=1.0) for _ in range(2)]

    assert [False, True] == [batch is None for batch in created]


def test_sqlite_survives_power_loss_and_reads_beside_writes(tmp_path: Path):
    """An intent that power loss could undo would be paid for twice."""
    database = Database(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    with database.read() as connection:
        found = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("synchronous", "journal_mode")]
    database.close()

    assert [2, "wal"] == found


def no_server(folder: Path) -> str:
    """A PostgreSQL that is not there."""
    return f"postgresql+psycopg://me:{SECRET}@127.0.0.1:{free_port()}/x"


def bad_port(folder: Path) -> str:
    """A port that is no number."""
    return f"postgresql+psycopg://me:{SECRET}@127.0.0.1:port/x"


def no_url(folder: Path) -> str:
    """Nothing like a URL."""
    return f"me:{SECRET}"


def a_folder(folder: Path) -> str:
    """SQLite on a folder."""
    return f"sqlite:///{folder}"


def no_database(folder: Path) -> str:
    """SQLite on a file of something else."""
    (folder / "notes.txt").write_text("no database at all\n" * 100)
    return f"sqlite:///{folder / 'notes.txt'}"


def below_a_file(folder: Path) -> str:
    """A folder that cannot be made."""
    (folder / "file").touch()
    return f"sqlite:///{folder / 'file' / 'ledger.sqlite'}"


@pytest.mark.parametrize("url", [no_server, bad_port, no_url, a_folder, no_database, below_a_file])
def test_a_database_that_cannot_be_opened_is_a_bad_setting(tmp_path: Path, url: Callable[[Path], str]):
    """For the person at the command line: on one line, without the password, and with the variable that mends it."""
    with pytest.raises(BadSetting, match=r"DATABASE_URL|IMAGEJOBS_HOME") as caught:
        Ledger(url(tmp_path))

    assert (False, 0) == (SECRET in str(caught.value), str(caught.value).count("\n"))


def test_a_wrong_password_is_a_bad_setting(postgres_server: PostgresServer):
    """Nor does what the server says repeat it."""
    url = make_url(postgres_server.url_of("postgres")).set(password=SECRET)

    with pytest.raises(BadSetting, match="password authentication failed") as caught:
        Ledger(url.render_as_string(hide_password=False))
    assert SECRET not in str(caught.value)


def test_a_writer_that_waits_too_long_raises_a_ledger_error(database_url: str):
    """A lock that is never given back ends as an error that workers know how to wait for."""
    with Ledger(database_url) as ledger:
        batch = Desk(ledger).batch()
        impatient = create_engine(database_url, connect_args=_impatience(ledger))
        with ledger.database.write() as connection:
            connection.execute(text("UPDATE batches SET streak = 1 WHERE id = :id"), {"id": batch.id})
            with pytest.raises(LEDGER_ERRORS), impatient.begin() as other:
                other.execute(text("UPDATE batches SET streak = 2 WHERE id = :id"), {"id": batch.id})
        impatient.dispose()


def _impatience(ledger: Ledger) -> dict[str, object]:
    return {"timeout": 0.1} if ledger.database.is_sqlite else {"options": "-c lock_timeout=100ms"}
