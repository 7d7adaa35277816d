"""The first schema.

Revision ID: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BigId = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make every table and index."""
    _batches()
    _jobs()
    _attempts()
    _images()


def _batches() -> None:
    op.create_table(
        "batches",
        sa.Column("id", BigId, primary_key=True),
        sa.Column("key", sa.String(128), nullable=False, unique=True),
        sa.Column("account", sa.String(200), nullable=False),
        sa.Column("store", sa.Text, nullable=False),
        sa.Column("rows_digest", sa.String(64), nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("opened_at", sa.Double),
        sa.Column("total", sa.Integer, nullable=False, server_default="0"),
        sa.Column("queued", sa.Integer, nullable=False, server_default="0"),
        sa.Column("submitting", sa.Integer, nullable=False, server_default="0"),
        sa.Column("running", sa.Integer, nullable=False, server_default="0"),
        sa.Column("storing", sa.Integer, nullable=False, server_default="0"),
        sa.Column("succeeded", sa.Integer, nullable=False, server_default="0"),
        sa.Column("failed", sa.Integer, nullable=False, server_default="0"),
        sa.Column("canceled", sa.Integer, nullable=False, server_default="0"),
        sa.Column("images", sa.Integer, nullable=False, server_default="0"),
        sa.Column("creates_sent", sa.Integer, nullable=False, server_default="0"),
        sa.Column("possible_double_payments", sa.Integer, nullable=False, server_default="0"),
        sa.Column("orphans", sa.Integer, nullable=False, server_default="0"),
        sa.Column("weight", sa.Double, nullable=False, server_default="1"),
        sa.Column("priority", sa.Integer, nullable=False, server_default="0"),
        sa.Column("not_before", sa.Double, nullable=False, server_default="0"),
        sa.Column("served", sa.Double, nullable=False, server_default="0"),
        sa.Column("paused", sa.Text),
        sa.Column("paused_kind", sa.String(20)),
        sa.Column("probe_at", sa.Double),
        sa.Column("probes", sa.Integer, nullable=False, server_default="0"),
        sa.Column("probe_job", sa.BigInteger),
        sa.Column("streak_key", sa.Text),
        sa.Column("streak", sa.Integer, nullable=False, server_default="0"),
        sa.Column("generation", sa.Integer, nullable=False, server_default="0"),
        sa.Column("closing_until", sa.Double, nullable=False, server_default="0"),
        sa.Column("first_submitted_at", sa.Double),
        sa.Column("last_moved_at", sa.Double),
        sa.Column("closed_at", sa.Double),
        sa.CheckConstraint(
            "queued + submitting + running + storing + succeeded + failed + canceled = total", name="counts_sum"
        ),
    )
    _partial("batches_open", "batches", "closed_at IS NULL", "account")


def _jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", BigId, primary_key=True),
        sa.Column("batch_id", sa.BigInteger, nullable=False),
        sa.Column("row_id", sa.String(128), nullable=False),
        sa.Column("line", sa.Integer, nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("input", sa.Text, nullable=False),
        sa.Column("tags", sa.Text),
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
    _partial("jobs_waiting", "jobs", "state = 'queued' AND hinted = 0", "batch_id", "due_at", "id")
    _partial("jobs_hinted", "jobs", "state = 'queued' AND hinted = 1", "due_at")
    _partial("jobs_in_flight", "jobs", "state IN ('submitting', 'running', 'storing')", "state", "due_at")
    _partial("jobs_failed", "jobs", "state = 'failed'", "batch_id", "cause", "error_key")


def _attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("job_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("why", sa.String(32)),
        sa.Column("intent_at", sa.Double, nullable=False),
        sa.Column("accepted_at", sa.Double),
        sa.Column("prediction_id", sa.String(200)),
        sa.Column("completed_at", sa.Double),
        sa.Column("expires_at", sa.Double),
        sa.Column("predict_time_s", sa.Double),
        sa.Column("output", sa.Text),
        sa.Column("copy_tries", sa.Integer, nullable=False, server_default="0"),
        sa.Column("possible_double_payment", sa.Integer, nullable=False, server_default="0"),
        sa.Column("outcome", sa.String(20), nullable=False),
        sa.Column("cause", sa.String(32)),
        sa.Column("error", sa.Text),
    )
    op.create_index("attempts_prediction", "attempts", ["prediction_id"], unique=True)
    _partial("attempts_absent", "attempts", "outcome IN ('absent', 'assumed_absent')", "intent_at")
    op.create_table(
        "orphans",
        sa.Column("prediction_id", sa.String(200), primary_key=True),
        sa.Column("job_id", sa.BigInteger, nullable=False),
        sa.Column("found_at", sa.Double, nullable=False),
    )


def _images() -> None:
    op.create_table(
        "images",
        sa.Column("job_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("index", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("uri", sa.Text, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("content_type", sa.String(40), nullable=False),
        sa.Column("stored_at", sa.Double, nullable=False),
    )
    op.create_table(
        "schemas",
        sa.Column("version", sa.String(300), primary_key=True),
        sa.Column("input_schema", sa.Text, nullable=False),
        sa.Column("fetched_at", sa.Double, nullable=False),
    )


def _partial(name: str, table: str, where: str, *columns: str) -> None:
    condition = sa.text(where)
    op.create_index(name, table, list(columns), sqlite_where=condition, postgresql_where=condition)
