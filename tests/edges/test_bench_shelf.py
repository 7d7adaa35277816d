"""The benchmarks' ledger of any size has a past that the ledger's own moves made, and its steps do something."""

from __future__ import annotations

import os
from pathlib import Path

from imagejobs.ledger import Ledger
from imagejobs.settings import Settings
from imagejobs.states import State
from ops.bench.million import SMALL, TIMES, Steps, bare_updates, write_rows
from ops.bench.shelf import FAILED_EVERY, Shelf
from producer import submit_batch
from tests.ledger_books import assert_books_balance


def test_a_shelf_is_filled_and_its_steps_are_timed(tmp_path: Path, database_url: str, redis_url: str) -> None:
    """One batch has ended in every way, the other waits; the steps take their jobs from that one."""
    environ = {"IMAGEJOBS_HOME": str(tmp_path), "DATABASE_URL": database_url, "REDIS_URL": redis_url}
    settings = Settings.read({**os.environ, **environ, "REPLICATE_BASE_URL": "http://127.0.0.1:9"})
    submit_batch(write_rows(tmp_path / "done.jsonl", 100, "done"), batch="done", settings=settings)
    with Ledger(database_url) as ledger:
        finished = Shelf(ledger, account=settings.account_name).finish()
        submit_batch(write_rows(tmp_path / "waiting.jsonl", SMALL, "waiting"), batch="waiting", settings=settings)
        steps = Steps(ledger, account=settings.account_name)
        for _ in range(TIMES):
            steps.once()
        done, waiting = ledger.batches.get("done"), ledger.batches.get("waiting")
        assert_books_balance(ledger)
        bare = bare_updates(ledger, 5)
        failed = [job for job in ledger.views.jobs(range(1, 100 + SMALL + 1)) if job.state is State.FAILED]

    assert done is not None
    assert waiting is not None
    assert (100, 100 // FAILED_EVERY) == (finished, done.counts[State.FAILED])
    assert 100 == done.images + done.counts[State.FAILED]
    assert 0 < waiting.counts[State.RUNNING] < SMALL
    assert 100 // FAILED_EVERY + 5 == len(failed)
    assert all((figure or 0) > 0 for figure in {**steps.figures(), **bare}.values())
