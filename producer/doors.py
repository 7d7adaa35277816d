"""Opening what a command needs, by the settings. Whatever does not open is a Complaint that names the way out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagejobs.errors import BadSetting, Complaint, Permanent, Refused, Throttled, Transient
from imagejobs.settings import LOOPBACK, Settings
from producer.home import Home

if TYPE_CHECKING:  # slow to import, and not needed by every command
    from imagejobs.edges.store import Store
    from imagejobs.ledger import Ledger
    from imagejobs.queues import Broker


def read_settings(**overrides: Any) -> Settings:
    """The settings of this process's environment; `overrides` by variable name, None where there is none."""
    return Settings.read(os.environ, **{name: value for name, value in overrides.items() if value is not None})


def has_ledger(settings: Settings) -> bool:
    """Whether anything can have been submitted: a ledger of the home folder is made by the first submit."""
    return settings.database_url is not None or Path(settings.database.removeprefix("sqlite:///")).exists()


def open_ledger(settings: Settings) -> Ledger:
    """The ledger. Raises BadSetting."""
    from imagejobs.ledger import Ledger

    if settings.database_url is None:
        Home(settings.home).make()
    return Ledger(settings.database)


@contextmanager
def existing_ledger(settings: Settings) -> Iterator[Ledger]:
    """The ledger, for commands about batches that are there already: none is made."""
    if not has_ledger(settings):
        raise Complaint(f"nothing was submitted yet in {settings.home.resolve()}: IMAGEJOBS_HOME says where to look")
    with open_ledger(settings) as ledger:
        yield ledger


@contextmanager
def reachable_broker(settings: Settings, *, account: str) -> Iterator[Broker | None]:
    """Redis: the one that is set, else the home's embedded server if somebody runs it, else none.

    Raises BadSetting when REDIS_URL is set and does not answer.
    """
    address = redis_address(settings)
    if address is None:
        yield None
        return
    from imagejobs.queues import Broker

    broker = Broker(address, account=account)
    try:
        broker.check()
        yield broker
    finally:
        broker.close()


def redis_address(settings: Settings) -> str | None:
    """Where Redis is: as set, else the home's embedded server if somebody runs it."""
    if settings.redis_url:
        return settings.redis_url
    from producer import embedded

    home = Home(settings.home)
    return embedded.redis_url(home) if embedded.answers(home.socket()) else None


def feed(ledger: Ledger, broker: Broker | None, settings: Settings, *, account: str) -> bool:
    """Send for what is queued, and wake workers that rest. False when there is no Redis to send to.

    A Redis that goes away just now is no failure: what the ledger says is queued, workers will send for.
    """
    if broker is None:
        return False
    from imagejobs.dispatch import Dispatch
    from imagejobs.queues import BROKER_ERRORS, TEND

    try:
        dispatch = Dispatch(ledger, broker, account=account)
        dispatch.feed(creates_per_minute=settings.creates_per_minute, now=ledger.database.now())
        broker.nudge(TEND)
    except BROKER_ERRORS:
        return False
    return True


@contextmanager
def open_store_of(url: str) -> Iterator[Store]:
    """The store at this address. What it refuses inside the block becomes a Complaint."""
    from imagejobs.edges.bucket import open_store

    store = open_store(url)
    try:
        yield store
    except (Refused, Transient, Permanent, Throttled) as error:
        raise BadSetting(f"the store: {error}") from None
    finally:
        store.close()


def check_provider_settings(settings: Settings) -> None:
    """A token where one is needed, and one that a header can carry. Nothing is sent. Raises BadSetting."""
    from imagejobs.clock import SystemClock
    from imagejobs.edges.provider import Provider

    if settings.token is None and not is_loopback(settings):
        raise BadSetting(
            "no token: set REPLICATE_API_TOKEN, or try it without one, at no cost, against the stand-in provider: "
            "imagejobs run FILE --sandbox"
        )
    Provider(settings, clock=SystemClock()).close()


def is_loopback(settings: Settings) -> bool:
    """Whether the provider is on this machine: a stand-in or a local proxy, which need no token."""
    from urllib.parse import urlsplit

    return urlsplit(settings.base_url).hostname in LOOPBACK
