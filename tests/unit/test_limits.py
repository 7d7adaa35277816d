"""What limits the work, told by name from facts."""

from __future__ import annotations

from typing import Any

import pytest

from imagejobs.job import Batch
from imagejobs.limiter import Standing
from imagejobs.states import State
from producer.limits import Facts, Limit, limit, said, shown

NOW = 1_000_000.0
BUSY = Standing(allowed=600.0, unused_seconds=0.0, unasked_seconds=0.1)
SPARE = Standing(allowed=600.0, unused_seconds=30.0, unasked_seconds=0.2)


def batch(**changes: Any) -> Batch:
    """With 100 jobs, most of them queued."""
    counts = dict.fromkeys(State, 0) | changes.pop("counts", {State.QUEUED: 90, State.RUNNING: 10})
    return Batch(id=1, key="night", account="a", store="s3://b/p", total=100, counts=counts, **changes)


def facts(*batches: Batch, standing: Standing | None = BUSY, **changes: Any) -> Facts:
    """Of one busy batch, unless others are given."""
    return Facts(batches=batches or (batch(),), now=NOW, standing=standing, **changes)


@pytest.mark.parametrize(
    ("seen", "line"),
    [
        (facts(), "allowance (600 creates a minute)"),
        (
            facts(standing=Standing(allowed=600.0, learnt=6.0)),
            "the provider (its 429s allow about 6 a minute; 600 are set)",
        ),
        (
            facts(standing=Standing(allowed=0.0, learnt=598.7)),
            "the provider (its 429s allow about 599 a minute; no limit is set)",
        ),
        (facts(standing=Standing(allowed=600.0, closed_seconds=29.6)), "the provider (it asks to wait for 30 s)"),
        (
            facts(batch(paused="402: credit", paused_kind="auth_billing")),
            "the provider (it refuses: 402: credit)",
        ),
        (
            facts(batch(paused="bucket b: AccessDenied", paused_kind="storage")),
            "the store (it refuses: bucket b: AccessDenied)",
        ),
        (
            facts(copies=4, failing_copies=2, copy_error="bucket b: SlowDown", is_store_error=True),
            "the store (2 copies failed and will be tried again: bucket b: SlowDown)",
        ),
        (
            facts(copies=4, failing_copies=4, copy_error="out.example answered 503", share=0.7, lag_seconds=210),
            "copying (4 copies failed and will be tried again; submitting is slowed to 70%: out.example answered 503)",
        ),
        (
            facts(copies=900, failing_copies=1, share=0.7, lag_seconds=210),
            "copying (the oldest finished output waits for 3 min; submitting is slowed to 70%)",
        ),
        (
            facts(standing=Standing(allowed=600.0, unused_seconds=3.0, unasked_seconds=0.1, ledger_waits=2.0)),
            "the database (2.0 threads of the workers wait for it)",
        ),
        (facts(standing=None), "Redis (it does not answer, and nothing is sent without it)"),
        (facts(standing=None, has_redis=False), "nothing (no worker is running: imagejobs worker)"),
        (facts(standing=Standing(allowed=600.0)), "nothing (no worker has asked for a place yet: is one running?)"),
        (
            facts(standing=Standing(allowed=600.0, unused_seconds=50.0, unasked_seconds=50.0)),
            "nothing (no worker has asked for a place for 50 s: is one running?)",
        ),
        (facts(standing=SPARE), "nothing (the workers send as fast as they can)"),
        (facts(batch(counts={State.RUNNING: 100})), "nothing (all that is left is on its way)"),
        (facts(batch(counts={State.SUCCEEDED: 100})), "nothing (no job is waiting or on its way)"),
        (facts(batch(paused="by hand", paused_kind="user")), "nothing (paused by hand)"),
        (facts(batch(not_before=NOW + 60)), "nothing (it starts in 60 s)"),
    ],
)
def test_the_limit_has_a_name_and_a_figure(seen, line):
    """One of a closed list; what a person must mend comes before what passes."""
    assert f"limited by: {line}" == said(limit(seen))


def test_a_paused_batch_beside_one_that_goes_on_is_not_the_limit():
    """It says so itself."""
    paused = batch(paused="402: credit", paused_kind="auth_billing")

    assert "allowance" == limit(facts(paused, batch())).what


def test_what_was_learnt_is_told_to_scripts():
    """Beside what is set; null where nothing was, or nobody could be asked."""
    limited = Limit(what="provider", figure="…")
    asked = shown(limited, Standing(allowed=600.0, learnt=6.04))
    unasked = shown(limited, None)

    assert (600.0, 6.0) == (asked["creates_per_minute"], asked["learnt_creates_per_minute"])
    assert (None, None) == (unasked["creates_per_minute"], unasked["learnt_creates_per_minute"])
    assert ("provider", "…") == (asked["limited_by"], asked["limited_by_figure"])
