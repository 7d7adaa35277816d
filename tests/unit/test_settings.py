"""A setting that cannot be used is told at once, by its variable's name, and without what it holds."""

from __future__ import annotations

import pytest

from imagejobs.errors import BadSetting
from imagejobs.settings import Settings


def complaint(**environ: str) -> str:
    with pytest.raises(BadSetting) as error:
        Settings.read(environ)
    return str(error.value)


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("REDIS_URL", "redis://:hunter2℀@host/0"),
        ("REDIS_URL", "redis://:pass@[hunter2]/0"),
        ("REDIS_URL", "redis://host:hunter2/0"),
        ("REPLICATE_BASE_URL", "https://user:[hunter2]@host"),
        ("IMAGEJOBS_STORE", "s3://key:hunter2℀@bucket/prefix"),
    ],
)
def test_a_url_that_is_none_is_not_repeated(name: str, url: str) -> None:
    """Python's own complaint shows it, password and all."""
    said = complaint(**{name: url})

    assert said.startswith(f"bad setting: {name}")
    assert "hunter2" not in said


@pytest.mark.parametrize(
    "url",
    [
        "https://h:99999",
        "https://h:port",
        "https://a..b",
        "https://*",
        "https://\uff11",
        "https://" + "a" * 64,
        "https://[::1",
    ],
)
def test_a_base_url_that_no_call_could_use_is_refused(url: str) -> None:
    """Otherwise each create would end as unknown, at a provider that does not exist."""
    assert "REPLICATE_BASE_URL" in complaint(REPLICATE_BASE_URL=url)


@pytest.mark.parametrize("url", ["https://api.replicate.com", "https://my_proxy:8443/replicate/", "http://[::1]:8000"])
def test_a_usable_base_url_is_taken(url: str) -> None:
    """Without the slash at its end."""
    assert url.rstrip("/") == Settings.read({"REPLICATE_BASE_URL": url}).base_url


def test_no_time_is_endless() -> None:
    """A time limit that never comes would be sent as no number at all."""
    assert "IMAGEJOBS_JOB_SECONDS" in complaint(IMAGEJOBS_JOB_SECONDS="inf")


def test_an_accounts_name_fits_into_the_ledger() -> None:
    """PostgreSQL would refuse the first batch with an error of its own."""
    assert "IMAGEJOBS_ACCOUNT" in complaint(IMAGEJOBS_ACCOUNT="a" * 201)
    assert "REPLICATE_BASE_URL" in complaint(REPLICATE_BASE_URL="https://h/" + "a" * 201)
