"""`status` names what limits real workers just now."""

from __future__ import annotations

import json
from typing import Any

from tests.servers.ports import free_port
from tests.servers.waiting import eventually
from tests.system.fleet import Fleet, rows


def told(fleet: Fleet, **environ: str) -> dict[str, Any]:
    """What `status --json` says of the batch."""
    said = fleet.command("status", "night", "--json", **environ)
    assert 0 == said.returncode, said.stderr
    facts: dict[str, Any] = json.loads(said.stdout)
    return facts


def names(fleet: Fleet, what: str) -> dict[str, Any]:
    """What it says once it names this limit."""

    def named() -> dict[str, Any] | None:
        facts = told(fleet)
        return facts if facts["limited_by"] == what else None

    facts = eventually(named, timeout_seconds=60, every_seconds=0.3, what=lambda: f"{what} is the limit; {told(fleet)}")
    assert facts is not None
    return facts


def test_the_allowance(tmp_path, redis_url, sandbox):
    """Every place of it is used; and nothing limits before a worker runs, nor when all is done."""
    with Fleet(tmp_path, sandbox=sandbox, redis_url=redis_url, IMAGEJOBS_CREATES_PER_MINUTE="300") as fleet:
        fleet.submit(rows(40))
        unasked = told(fleet)
        fleet.start(1)
        facts = names(fleet, "allowance")
        fleet.closed()
        done = told(fleet)

        assert ("nothing", True) == (unasked["limited_by"], "worker" in unasked["limited_by_figure"])
        assert ("300 creates a minute", 300.0, None) == (
            facts["limited_by_figure"],
            facts["creates_per_minute"],
            facts["learnt_creates_per_minute"],
        )
        assert "nothing" == done["limited_by"]


def test_the_provider(tmp_path, redis_url, sandbox):
    """It allows 60 a minute where 600 are set: what its 429s have taught is shown, for all batches too."""
    sandbox.limits(creates_per_minute=60, burst=1)
    with Fleet(tmp_path, sandbox=sandbox, redis_url=redis_url, IMAGEJOBS_CREATES_PER_MINUTE="600") as fleet:
        fleet.submit(rows(60))
        fleet.start(1)
        eventually(lambda: 55 < (told(fleet)["learnt_creates_per_minute"] or 0) < 65, timeout_seconds=60, what="60")
        facts, line = told(fleet), fleet.told("status")

        assert ("provider", 600.0) == (facts["limited_by"], facts["creates_per_minute"])
        assert "limited by: the provider (its 429s allow about" in line
        assert "600 are set" in line


def test_the_store(tmp_path, redis_url, sandbox):
    """A file stands where its folder should be: no copy works."""
    with Fleet(tmp_path, sandbox=sandbox, redis_url=redis_url, IMAGEJOBS_CREATES_PER_MINUTE="300") as fleet:
        fleet.submit(rows(60))
        fleet.start(1)
        fleet.reached(lambda batch: batch.images)
        store = tmp_path / "store"
        store.rename(tmp_path / "elsewhere")
        store.write_text("no folder")
        facts = names(fleet, "store")

        assert str(store) in facts["limited_by_figure"]


def test_redis_that_is_away_is_said_and_costs_no_patience(tmp_path, redis_url, sandbox):
    """The ledger is shown all the same."""
    with Fleet(tmp_path, sandbox=sandbox, redis_url=redis_url) as fleet:
        fleet.submit(rows(8))
        facts = told(fleet, REDIS_URL=f"redis://127.0.0.1:{free_port()}")

        assert ("redis", 8, None) == (facts["limited_by"], facts["queued"], facts["creates_per_minute"])
