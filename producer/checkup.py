"""`doctor`: one look at each door, and what to do about what is found. Nothing is spent, nothing is left behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from imagejobs.clock import SystemClock
from imagejobs.edges.provider import AccountCheck, Provider
from imagejobs.errors import BadSetting, Complaint, Permanent, Refused, Throttled, Transient
from imagejobs.ledger import LEDGER_ERRORS
from imagejobs.ledger.engine import Database
from imagejobs.ledger.schema import SCHEMA
from imagejobs.settings import Settings
from producer.doors import check_provider_settings, has_ledger, open_store_of, reachable_broker
from producer.home import Home

SKEW_SECONDS, BAD_SKEW_SECONDS = 5.0, 30.0  # a look-up in the provider's list allows for a minute at the most


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found at one door. `advice` says what to do, when there is something to do."""

    door: str
    verdict: Literal["ok", "warning", "bad"]
    found: str
    advice: str = ""


def examine(settings: Settings) -> Iterator[Finding]:
    """Every door in turn; each look has a time limit of its own."""
    looks: dict[str, Callable[[Settings], Iterator[Finding]]] = {
        "home": _home,
        "redis": _redis,
        "ledger": _ledger,
        "store": _store,
        "provider": _provider,
    }
    for door, look in looks.items():
        try:
            yield from look(settings)
        except Complaint as complaint:
            yield Finding(door=door, verdict="bad", found=str(complaint))


def _home(settings: Settings) -> Iterator[Finding]:
    home = Home(settings.home).make()
    yield Finding(door="home", verdict="ok", found=f"{home.folder} can be written to")


def _redis(settings: Settings) -> Iterator[Finding]:
    with reachable_broker(settings, account=settings.account_name) as broker:
        if broker is None:
            yield Finding(door="redis", verdict="ok", found="embedded: `imagejobs run` and `worker` start it")
            return
        facts = broker.check()
        where = f"{broker.shown}, version {facts['version']}"
    yield Finding(door="redis", verdict="ok", found=where)
    yield _persistence(facts["aof"])
    yield _eviction(facts["eviction"])


def _persistence(aof: str) -> Finding:
    if aof == "on":
        return Finding(door="redis persistence", verdict="ok", found="append-only file on")
    advice = "set appendonly yes; without it, a restart of Redis delays what is queued by a minute, and loses no job"
    return Finding(door="redis persistence", verdict="warning", found="append-only file off", advice=advice)


def _eviction(policy: str) -> Finding:
    if policy == "noeviction":
        return Finding(door="redis eviction", verdict="ok", found=policy)
    advice = "set maxmemory-policy noeviction: a full Redis would forget queues and the limiter's state"
    is_bad = policy.startswith("allkeys")
    return Finding(door="redis eviction", verdict="bad" if is_bad else "warning", found=policy, advice=advice)


def _ledger(settings: Settings) -> Iterator[Finding]:
    if not has_ledger(settings):
        yield Finding(door="ledger", verdict="ok", found=f"{settings.database} is made by the first submit")
        return
    database = Database(settings.database)
    try:
        yield _schema(database)
        if not database.is_sqlite:
            before = time.time()
            theirs = database.now()
            yield _skew("ledger clock", theirs - (before + time.time()) / 2)
    except LEDGER_ERRORS as error:
        silent = f"{database.shown} does not answer ({type(error).__name__})"
        raise BadSetting(f"{silent}; {database.way_out}") from None
    finally:
        database.close()


def _schema(database: Database) -> Finding:
    found = database.schema()
    shown = f"{database.shown}, schema {found or 'none yet'}"
    if found is not None and found > SCHEMA:
        advice = f"this imagejobs knows schema {SCHEMA}: install the version that made it here too"
        return Finding(door="ledger", verdict="bad", found=shown, advice=advice)
    advice = "" if found == SCHEMA else f"the next command brings it to {SCHEMA}"
    return Finding(door="ledger", verdict="ok", found=shown, advice=advice)


def _store(settings: Settings) -> Iterator[Finding]:
    with open_store_of(settings.store_url) as store:
        store.check()
    yield Finding(door="store", verdict="ok", found=f"{settings.store_url}: written to, read, deleted from")


def _provider(settings: Settings) -> Iterator[Finding]:
    check_provider_settings(settings)
    before = time.time()
    account = _ask(settings)
    ours = (before + time.time()) / 2
    if account.checked:
        name = f" as {account.name}" if account.name else ""
        yield Finding(door="provider", verdict="ok", found=f"{settings.base_url} accepts the token{name}")
    else:
        found = f"{settings.base_url} answers, but nothing free tells whether it accepts the token"
        yield Finding(door="provider", verdict="warning", found=found, advice="submit a batch of one row")
    if account.server_time is not None:
        yield _skew("provider clock", account.server_time - ours)


def _ask(settings: Settings) -> AccountCheck:
    provider = Provider(settings, clock=SystemClock())
    try:
        return provider.check_account()
    except Refused as error:
        raise BadSetting(f"{error}: set REPLICATE_API_TOKEN right") from None
    except (Transient, Permanent) as error:
        raise BadSetting(f"{error}: is REPLICATE_BASE_URL right, and may this machine reach it?") from None
    except Throttled as error:
        raise BadSetting(f"{error}: the account's allowance is used up just now; look again later") from None
    finally:
        provider.close()


def _skew(door: str, seconds: float) -> Finding:
    """Their clock against ours."""
    found = f"{abs(seconds):.1f} s {'ahead of' if seconds > 0 else 'behind'} this machine's"
    if abs(seconds) <= SKEW_SECONDS:
        return Finding(door=door, verdict="ok", found=found)
    advice = "let this machine keep time by NTP: a lost create is looked up by its time"
    is_bad = abs(seconds) > BAD_SKEW_SECONDS
    return Finding(door=door, verdict="bad" if is_bad else "warning", found=found, advice=advice)
