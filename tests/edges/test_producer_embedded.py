"""The embedded server as it really runs: where it listens, what it keeps, that it is started again, and only once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagejobs.clock import SystemClock
from imagejobs.queues import Broker
from imagejobs.settings import Settings
from producer import embedded
from producer.children import Child
from producer.home import Home
from producer.household import Household
from tests.servers.waiting import eventually


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """One that is there."""
    return Home(tmp_path / "home").make()


@pytest.fixture
def said() -> list[str]:
    """What a person is told."""
    return []


@pytest.fixture
def server(home: Home, said: list[str]) -> Iterator[Child]:
    """The embedded server, started."""
    held = home.lock("server").take()
    assert held is not None
    child = embedded.valkey(home, lock=held, say=said.append, clock=SystemClock())
    child.start()
    eventually(lambda: embedded.answers(home.socket()), what="the server answers")
    yield child
    child.kill()


def test_it_keeps_what_it_is_told_and_throws_nothing_out(home: Home, server: Child) -> None:
    """As doctor wants it of any Redis."""
    broker = Broker(embedded.redis_url(home), account="a")
    facts = broker.check()
    broker.close()

    assert ("on", "noeviction") == (facts["aof"], facts["eviction"])


def test_only_we_may_speak_to_it(home: Home, server: Child) -> None:
    """A socket of ours, and no port."""
    assert 0 == home.socket().stat().st_mode & 0o077
    assert "port=0" in (home.logs / "valkey.log").read_text()


def test_killed_it_is_started_again_with_what_it_held(home: Home, server: Child, said: list[str]) -> None:
    """And a person is told."""
    broker = Broker(embedded.redis_url(home), account="a")
    broker.redis.set("k", "kept")
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    eventually(lambda: server.tend() or embedded.answers(home.socket()), what="the server is back")
    kept = broker.redis.get("k")
    broker.close()

    assert "kept" == kept
    assert ["killed by SIGKILL" in text for text in said] == [True]


def test_a_program_that_cannot_start_says_why_and_waits_longer_each_time(home: Home, said: list[str]) -> None:
    """The last line of its log is mostly the reason."""
    child = Child(
        "the dummy",
        ["/bin/sh", "-c", "echo no such luck; exit 7"],
        environment={},
        log=home.log("dummy"),
        say=said.append,
        clock=SystemClock(),
    )
    child.start()
    eventually(lambda: child.tend() or len(said) == 2, what="it was started again")
    child.kill()

    assert "the dummy ended (exit code 7), starts again in 1 s: no such luck" == said[0]
    assert "2 s" in said[1]


def test_a_worker_is_told_every_setting_and_nothing_twice(tmp_path: Path) -> None:
    """What it runs with is what was checked here, wherever it stands."""
    settings = Settings.read({"IMAGEJOBS_HOME": str(tmp_path), "REPLICATE_API_TOKEN": "r8_secret", "REDIS_URL": ""})
    told = embedded.worker_environment(settings.model_copy(update={"redis_url": "redis://here"}))
    again = Settings.read(told)

    assert ("redis://here", settings.database, "r8_secret") == (again.redis_url, again.database_url, told[TOKEN])
    assert (settings.store_url, settings.account_name) == (again.store, again.account)


TOKEN = "REPLICATE_API_TOKEN"


def test_a_second_household_starts_no_second_server(home: Home, server: Child) -> None:
    """It uses the one that is there."""
    settings = Settings.read({"IMAGEJOBS_HOME": str(home.folder), "REPLICATE_BASE_URL": "http://127.0.0.1:9"})
    facts = {"is_demo": False, "processes": 1, "is_quiet": True, "clock": SystemClock()}
    household = Household(settings, home, say=lambda _text: None, **facts)
    theirs = server.pid
    household.start()
    household.tend()
    is_working = household.is_working
    household.close()

    assert is_working  # nobody else worked
    assert theirs == server.pid
    assert 1 == (home.logs / "valkey.log").read_text().count("Ready to accept connections")


def test_the_stand_in_keeps_its_address(home: Home) -> None:
    """What an interrupted run left there is found again."""
    settings = Settings.read({"IMAGEJOBS_HOME": str(home.folder)})

    assert None is embedded.with_sandbox(settings, home, may_choose=False)
    chosen = embedded.with_sandbox(settings, home, may_choose=True)
    assert chosen == embedded.with_sandbox(settings, home, may_choose=True)
    assert chosen == embedded.with_sandbox(settings, home, may_choose=False)
    assert chosen is not None
    assert "sandbox" == chosen.account_name
