"""`doctor`, against real doors: what it finds, and what it advises."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from imagejobs.ledger import Ledger
from imagejobs.settings import Settings
from producer.checkup import Finding, examine
from tests.servers.ports import free_port
from tests.servers.sandbox import SandboxServer


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Everything embedded, and a provider on loopback that nobody runs."""
    return {"IMAGEJOBS_HOME": str(tmp_path / "home"), "REPLICATE_BASE_URL": f"http://127.0.0.1:{free_port()}"}


def findings(environ: dict[str, str], **more: str) -> dict[str, Finding]:
    """By door."""
    return {found.door: found for found in examine(Settings.read({**environ, **more}))}


def test_nothing_set_is_well_but_for_the_provider(environ: dict[str, str]) -> None:
    """The embedded default needs nothing."""
    seen = findings(environ)

    assert {"home": "ok", "redis": "ok", "ledger": "ok", "store": "ok", "provider": "bad"} == {
        door: found.verdict for door, found in seen.items()
    }


def test_the_checkup_leaves_no_ledger_behind(environ: dict[str, str], tmp_path: Path) -> None:
    """Looking makes nothing."""
    findings(environ)

    assert not (tmp_path / "home" / "ledger.sqlite").exists()


def test_a_provider_that_accepts_the_token_is_well(environ: dict[str, str], sandbox: SandboxServer) -> None:
    """Asked at no cost, its clock read on the way."""
    seen = findings(environ, **sandbox.settings)

    assert ("ok", "ok") == (seen["provider"].verdict, seen["provider clock"].verdict)
    assert 0 == sandbox.stats()["creates_accepted"]


def test_a_wrong_token_is_bad_and_never_shown(environ: dict[str, str], sandbox: SandboxServer) -> None:
    """With the variable to set."""
    seen = findings(environ, **{**sandbox.settings, "REPLICATE_API_TOKEN": "wrong-token"})["provider"]

    assert ("bad", True, False) == (seen.verdict, "REPLICATE_API_TOKEN" in seen.found, "wrong-token" in seen.found)


def test_no_token_is_bad_where_one_is_needed(environ: dict[str, str]) -> None:
    """And the stand-in is named as what works without."""
    seen = findings(environ, REPLICATE_BASE_URL="https://api.replicate.com")["provider"]

    assert ("bad", True) == (seen.verdict, "--sandbox" in seen.found)


@pytest.fixture
def tuned(redis_url: str) -> Iterator[tuple[str, redis.Redis]]:
    """A Redis whose settings are put back afterwards."""
    with redis.Redis.from_url(redis_url) as client:
        yield redis_url, client
        client.config_set("maxmemory-policy", "noeviction")


@pytest.mark.parametrize(
    ("policy", "verdict"), [("noeviction", "ok"), ("volatile-lru", "warning"), ("allkeys-lru", "bad")]
)
def test_a_redis_that_throws_things_out_is_named(
    environ: dict[str, str], tuned: tuple[str, redis.Redis], policy: str, verdict: str
) -> None:
    """The more it may throw out, the worse."""
    url, client = tuned
    client.config_set("maxmemory-policy", policy)
    seen = findings(environ, REDIS_URL=url)

    assert (verdict, policy) == (seen["redis eviction"].verdict, seen["redis eviction"].found)
    assert "ok" == seen["redis persistence"].verdict


def test_redis_that_does_not_answer_is_bad_and_its_password_is_not_shown(environ: dict[str, str]) -> None:
    """The other doors are looked at all the same."""
    seen = findings(environ, REDIS_URL=f"redis://:hush@127.0.0.1:{free_port()}/0")

    assert ("bad", False) == (seen["redis"].verdict, "hush" in seen["redis"].found)
    assert "ok" == seen["store"].verdict


def test_the_ledgers_schema_and_clock_are_told(environ: dict[str, str], database_url: str) -> None:
    """A file has no clock of its own; a server has."""
    empty = findings(environ, DATABASE_URL=database_url)["ledger"]
    with Ledger(database_url):
        seen = findings(environ, DATABASE_URL=database_url)

    assert ("ok", True) == (empty.verdict, "none yet" in empty.found)
    assert ("ok", "") == (seen["ledger"].verdict, seen["ledger"].advice)
    assert database_url.startswith("postgresql") == ("ledger clock" in seen)


def test_a_database_that_does_not_answer_is_bad(environ: dict[str, str]) -> None:
    """Without a traceback."""
    url = f"postgresql+psycopg://nobody:hush@127.0.0.1:{free_port()}/none"
    seen = findings(environ, DATABASE_URL=url)["ledger"]

    assert ("bad", False) == (seen.verdict, "hush" in seen.found)


def test_a_store_that_cannot_be_written_to_is_bad(environ: dict[str, str], tmp_path: Path) -> None:
    """Here a file is in the folder's place."""
    (tmp_path / "store").write_text("")

    assert "bad" == findings(environ, IMAGEJOBS_STORE=(tmp_path / "store").as_uri())["store"].verdict
