"""The schema's version: a new database is made as `tables` has it, an older one is brought up by the migrations.

A test proves that both ways end at the same schema. A new one is not migrated from nothing because that takes Alembic,
which is slow to import, and six megabytes that a worker would keep.
"""

from __future__ import annotations

import threading
from pathlib import Path

from sqlalchemy import Connection, text

from imagejobs.ledger.tables import metadata

SCHEMA = "0002"  # the newest migration; a test holds it against the folder
_UPGRADE_LOCK = 7_263_811  # any number, the same in every process: PostgreSQL's advisory lock for upgrades
_ONE_UPGRADE = threading.Lock()  # Alembic keeps its context in the module: one upgrade at a time in a process


def version_of(connection: Connection) -> str | None:
    """The schema's version; none for an empty database."""
    if not connection.dialect.has_table(connection, "alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def bring_up_to_date(connection: Connection) -> None:
    """Make the schema, or migrate it. Of several that want to, one does, and the others find it done."""
    if connection.dialect.name != "sqlite":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADE_LOCK})
    found = version_of(connection)
    if found is None:
        _make(connection)
    elif found < SCHEMA:  # else a newer version was quicker
        migrate(connection)


def _make(connection: Connection) -> None:
    metadata.create_all(connection, checkfirst=False)  # tables of ours that nobody has stamped are not ours to guess at
    connection.execute(text(_VERSIONS))
    connection.execute(text("INSERT INTO alembic_version VALUES (:version)"), {"version": SCHEMA})


_VERSIONS = """
    CREATE TABLE alembic_version
    (version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))
"""  # as Alembic itself makes it


def migrate(connection: Connection) -> None:
    """Every migration that this database has not seen."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    with _ONE_UPGRADE:
        command.upgrade(config, SCHEMA)
