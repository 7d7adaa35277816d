"""What was asked stands apart from what became of it.

Revision ID: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BigId = sa.BigInteger().with_variant(sa.Integer, "sqlite")
ASKED = ("version", "input", "tags")


def upgrade() -> None:
    """Move each job's version, input and tags into a row of their own."""
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    if not is_sqlite:
        op.execute("LOCK TABLE jobs")  # a job that somebody added between copying and dropping would lose its spec
    op.create_table(
        "specs",
        sa.Column("job_id", BigId, primary_key=True, autoincrement=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("input", sa.Text, nullable=False),
        sa.Column("tags", sa.Text),
    )
    op.execute("INSERT INTO specs (job_id, version, input, tags) SELECT id, version, input, tags FROM jobs")
    if is_sqlite:
        _write_anew()
    else:
        for name in ASKED:
            op.drop_column("jobs", name)


def _write_anew() -> None:
    """Dropped in place, the columns would leave each row where it stood: as many pages as before, mostly empty.

    As it is found, so that nothing but the columns goes.
    """
    bind = op.get_bind()
    kept = [column["name"] for column in sa.inspect(bind).get_columns("jobs") if column["name"] not in ASKED]
    jobs = sa.Table("jobs", sa.MetaData(), autoload_with=bind, include_columns=kept)
    op.rename_table("jobs", "wide_jobs")
    for index in jobs.indexes:
        op.drop_index(str(index.name), "wide_jobs")
    jobs.create(bind)
    wide = sa.table("wide_jobs", *map(sa.column, kept))
    op.execute(sa.insert(jobs).from_select(kept, sa.select(wide).order_by(wide.c.id)))
    op.drop_table("wide_jobs")
