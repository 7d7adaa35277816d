"""The tables of the ledger. Live indexes cover unfinished jobs only, so speed does not depend on history.

The migrations are what really builds a database; a test proves that they and this module give the same schema.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TextClause,
    UniqueConstraint,
    text,
)

from imagejobs.states import State

metadata = MetaData()

# SQLite gives out row ids for INTEGER keys only; PostgreSQL wants eight bytes.
BigId = BigInteger().with_variant(Integer, "sqlite")


def _partial(name: str, where: str, *columns: Column[object]) -> None:
    """An index on the rows of which `where` holds; `postgres` takes the condition over from SQLite."""
    Index(name, *columns, sqlite_where=text(where))


COUNTS_SUM = "queued + submitting + running + storing + succeeded + failed + canceled = total"

batches = Table(
    "batches",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("key", String(128), nullable=False, unique=True),
    Column("account", String(200), nullable=False),
    Column("store", Text, nullable=False),
    Column("rows_digest", String(64), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("opened_at", Double),  # none: rows are still being written, or a submit died: nothing is sent
    Column("total", Integer, nullable=False, server_default="0"),
    Column("queued", Integer, nullable=False, server_default="0"),
    Column("submitting", Integer, nullable=False, server_default="0"),
    Column("running", Integer, nullable=False, server_default="0"),
    Column("storing", Integer, nullable=False, server_default="0"),
    Column("succeeded", Integer, nullable=False, server_default="0"),
    Column("failed", Integer, nullable=False, server_default="0"),
    Column("canceled", Integer, nullable=False, server_default="0"),
    Column("images", Integer, nullable=False, server_default="0"),
    Column("creates_sent", Integer, nullable=False, server_default="0"),
    Column("possible_double_payments", Integer, nullable=False, server_default="0"),
    Column("orphans", Integer, nullable=False, server_default="0"),  # predictions paid for beside the one a job has
    Column("weight", Double, nullable=False, server_default="1"),
    Column("priority", Integer, nullable=False, server_default="0"),
    Column("not_before", Double, nullable=False, server_default="0"),
    Column("served", Double, nullable=False, server_default="0"),  # turns taken, over weight: the fair clock
    Column("paused", Text),
    Column("paused_kind", String(20)),
    Column("probe_at", Double),
    Column("probes", Integer, nullable=False, server_default="0"),
    Column("probe_job", BigInteger),  # the one job that a paused batch may send to see whether it is over
    Column("streak_key", Text),
    Column("streak", Integer, nullable=False, server_default="0"),
    Column("generation", Integer, nullable=False, server_default="0"),  # counts reopenings: a late closer loses
    Column("closing_until", Double, nullable=False, server_default="0"),
    Column("first_submitted_at", Double),
    Column("last_moved_at", Double),
    Column("closed_at", Double),
    CheckConstraint(COUNTS_SUM, name="counts_sum"),
)
_partial("batches_open", "closed_at IS NULL", batches.c.account)

jobs = Table(
    "jobs",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("batch_id", BigInteger, nullable=False),
    Column("row_id", String(128), nullable=False),
    Column("line", Integer, nullable=False),
    Column("state", String(10), nullable=False),
    Column("outputs", Integer, nullable=False),
    Column("due_at", Double, nullable=False),  # when the ledger next acts on it if nobody is heard of
    Column("hinted", Integer, nullable=False),  # 1: a message that names it is on its way, until due_at
    Column("cancel_requested", Integer, nullable=False, server_default="0"),  # 0, NOT_AGAIN or END_IT
    Column("attempt", Integer, nullable=False),
    Column("tries_left", Integer, nullable=False),
    Column("why", String(32)),  # why the next attempt is made: a cause, or `retry`
    Column("cause", String(32)),
    Column("error", Text),
    Column("error_key", Text),
    Column("finished_at", Double),
    UniqueConstraint("batch_id", "row_id", name="one_job_a_row"),
)

# What was asked never changes, and is most of a job. Beside its state it would be written again with every transition.
specs = Table(
    "specs",
    metadata,
    Column("job_id", BigId, primary_key=True, autoincrement=False),
    Column("version", Text, nullable=False),
    Column("input", Text, nullable=False),
    Column("tags", Text),
)

NOT_AGAIN = 1  # a cancel leaves what is in flight alone, but pays for nothing more
END_IT = 2  # a cancel that reaches for the prediction too
AT_ONCE = 0.0  # due: a queued job that waits for its turn only; they go in the order of their rows, before any put off
WAITING = "state = 'queued' AND hinted = 0"
HINTED = "state = 'queued' AND hinted = 1"
IN_FLIGHT = "state IN ('submitting', 'running', 'storing')"
FAILED = "state = 'failed'"


_partial("jobs_waiting", WAITING, jobs.c.batch_id, jobs.c.due_at, jobs.c.id)
_partial("jobs_hinted", HINTED, jobs.c.due_at)
_partial("jobs_in_flight", IN_FLIGHT, jobs.c.state, jobs.c.due_at)
_partial("jobs_failed", FAILED, jobs.c.batch_id, jobs.c.cause, jobs.c.error_key)


def in_flight(state: State) -> TextClause:
    """Jobs in one of the states in flight, said so that the index on those serves the query.

    Written out, not bound: a partial index serves a query only if the text of its condition is there to see, and SQLite
    does not conclude from the one state that it is among the three.
    """
    return text(f"jobs.state = '{state.value}' AND jobs.{IN_FLIGHT}")


attempts = Table(
    "attempts",
    metadata,
    Column("job_id", BigInteger, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("why", String(32)),  # what it repeats: none for the first, else the cause of the one before, or `retry`
    Column("intent_at", Double, nullable=False),
    Column("accepted_at", Double),
    Column("prediction_id", String(200)),
    Column("completed_at", Double),
    Column("expires_at", Double),
    Column("predict_time_s", Double),
    Column("output", Text),  # JSON list of addresses; forgotten once stored
    Column("copy_tries", Integer, nullable=False, server_default="0"),
    Column("possible_double_payment", Integer, nullable=False, server_default="0"),
    Column("outcome", String(20), nullable=False),
    Column("cause", String(32)),
    Column("error", Text),
)
Index("attempts_prediction", attempts.c.prediction_id, unique=True)
ABSENT = "outcome IN ('absent', 'assumed_absent')"
_partial("attempts_absent", ABSENT, attempts.c.intent_at)

orphans = Table(
    "orphans",
    metadata,
    Column("prediction_id", String(200), primary_key=True),
    Column("job_id", BigInteger, nullable=False),
    Column("found_at", Double, nullable=False),
)

images = Table(
    "images",
    metadata,
    Column("job_id", BigInteger, primary_key=True, autoincrement=False),
    Column("index", Integer, primary_key=True, autoincrement=False),
    Column("attempt", Integer, nullable=False),
    Column("uri", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("content_type", String(40), nullable=False),
    Column("stored_at", Double, nullable=False),
)

schemas = Table(
    "schemas",
    metadata,
    Column("version", String(300), primary_key=True),
    Column("input_schema", Text, nullable=False),
    Column("fetched_at", Double, nullable=False),
)
