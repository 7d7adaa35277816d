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
# The partial indexes of jobs, as 0001 made them.
INDEXES = (
    ("jobs_waiting", "state = 'queued' AND hinted = 0", ("batch_id", "due_at", "id")),
    ("jobs_hinted", "state = 'queued' AND hinted = 1", ("due_at",)),
    ("jobs_in_flight", "state IN ('submitting', 'running', 'storing')", ("state", "due_at")),
    ("jobs_failed", "state = 'failed'", ("batch_id", "cause", "error_key")),
)


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
    """Dropped in place, the columns would leave each row where it stood: as many pages as before, mostly empty."""
    op.rename_table("jobs", "wide_jobs")
    for name, _, _ in INDEXES:
        op.drop_index(name, "wide_jobs")
    jobs = op.create_table(
        "jobs",
        sa.Column("id", BigId, primary_key=True),
        sa.Column("batch_id", sa.BigInteger, nullable=False),
        sa.Column("row_id", sa.String(128), nullable=False),
        sa.Column("line", sa.Integer, nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("outputs", sa.Integer, nullable=False),
        sa.Column("due_at", sa.Double, nullable=False),
        sa.Column("hinted", sa.Integer, nullable=False),
        sa.Column("cancel_requested", sa.Integer, nullable=False, server_default="0"),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("tries_left", sa.Integer, nullable=False),
        sa.Column("why", sa.String(32)),
        sa.Column("cause", sa.String(32)),
        sa.Column("error", sa.Text),
        sa.Column("error_key", sa.Text),
        sa.Column("finished_at", sa.Double),
        sa.UniqueConstraint("batch_id", "row_id", name="one_job_a_row"),
    )
    names = ", ".join(column.name for column in jobs.columns)
    op.execute(f"INSERT INTO jobs ({names}) SELECT {names} FROM wide_jobs ORDER BY id")  # noqa: S608 - our own names
    op.drop_table("wide_jobs")
    for name, where, columns in INDEXES:
        op.create_index(name, "jobs", list(columns), sqlite_where=sa.text(where))
