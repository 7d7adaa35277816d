"""`imagejobs allowance`: a running fleet's limits, changed for every worker at once."""

from __future__ import annotations

from imagejobs.queues import Broker
from imagejobs.settings import Settings
from producer.allowance import limiters
from tests.commandline import CommandLine


def test_a_change_reaches_every_worker_and_can_be_taken_back(tmp_path, redis_url):
    """What workers reserve by is what the command has set."""
    command = CommandLine(tmp_path, REDIS_URL=redis_url)
    settings = Settings.read({"REDIS_URL": redis_url})
    broker = Broker(redis_url, account=settings.account_name)
    workers = limiters(broker, settings)["creates"]
    try:
        changed = command("allowance", "--creates-per-minute", "60", "--json").facts

        assert (60, 3000) == (changed["creates_per_minute"], changed["calls_per_minute"])
        assert 60 == round(workers.per_minute())
        assert "creates: 600 a minute" in command("allowance", "--creates-per-minute", "-1").out
        assert 600 == round(workers.per_minute())
    finally:
        broker.close()


def test_where_nothing_runs_it_says_so(tmp_path):
    """There is no limiter to change."""
    ended = CommandLine(tmp_path)("allowance")

    assert 2 == ended.code
    assert "REDIS_URL" in ended.err
