"""One seed is one run: a fleet of the real code in a world of its own, with troubles, then without, to its end."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import structlog

from imagejobs.queues import IN_ORDER, POLL, TEND
from imagejobs.settings import Settings
from tests.ledger_books import assert_books_balance
from tests.simulation.fleet import Fleet
from tests.simulation.people import User, specs
from tests.simulation.weather import Weather
from tests.simulation.world import Choices, Red, World

ENDS_WITHIN_SECONDS = 4000.0  # once the troubles are over
MOST_STEPS = 60_000


@dataclass(frozen=True, slots=True)
class Result:
    """`red` says what is broken; None where all held."""

    seed: int
    digest: str
    steps: int
    seconds: float
    accepted: int
    jobs: int
    hits: dict[str, int]
    red: str | None = None
    trace: tuple[str, ...] = ()


def simulate(seed: int, *, shown: int = 60) -> Result:
    """One run."""
    choices = Choices(seed)
    fleet = Fleet(choices, Weather.of(choices), _settings(choices))
    return judged(seed, fleet, lambda: _play(fleet), shown=shown)


def judged(seed: int, fleet: Fleet, play: Callable[[], None], *, shown: int) -> Result:
    """What came of it."""
    red = None
    with _log_into(fleet.world):
        try:
            play()
        except Red as broken:
            red = str(broken)
        trace, digest = tuple(fleet.world.trace)[-shown:], fleet.world.digest
        fleet.world.end()
    return Result(
        seed=seed,
        digest=digest,
        steps=fleet.world.steps,
        seconds=fleet.world.now,
        accepted=len(fleet.provider.made),
        jobs=fleet.books.jobs,
        hits=fleet.weather.hits,
        red=red,
        trace=trace if red else (),
    )


def _settings(choices: Choices) -> Settings:
    environ = {
        "REPLICATE_API_TOKEN": "r8_simulated",
        "IMAGEJOBS_READ_SECONDS": ("10", "30")[choices.pick("read", 2)],
        "IMAGEJOBS_SETTLE_SECONDS": ("3", "10")[choices.pick("settle", 2)],
        "IMAGEJOBS_KEEP_SECONDS": ("60", "300", "3600")[choices.pick("keep", 3)],
        "IMAGEJOBS_JOB_SECONDS": ("60", "300")[choices.pick("limit", 2)],
        "IMAGEJOBS_CREATES_PER_MINUTE": ("120", "600")[choices.pick("pace", 2)],
        "IMAGEJOBS_ON_UNKNOWN": ("hold", "resubmit")[choices.pick("on unknown", 2)],
    }
    if choices.chance("webhooks", 0.3):
        environ["IMAGEJOBS_WEBHOOK_URL"] = "https://hooks.example/in"
    return _read_settings(tuple(environ.items()))


@cache
def _read_settings(environ: tuple[tuple[str, str], ...]) -> Settings:
    return Settings.read(dict(environ))


def _play(fleet: Fleet) -> None:
    """Troubles for some minutes, then none, until all is done."""
    choices, world = fleet.choices, fleet.world
    fleet.provider.page = 2 + choices.pick("page", 12)
    fleet.provider.skew = choices.between("skew", -300.0, 300.0) if choices.chance("skewed", 0.3) else 0.0
    fleet.provider.shows_versions = not choices.chance("versionless", 0.2)
    fleet.provider.has_list = not choices.chance("listless", 0.1)
    fleet.add_batch("first", specs("first", choices))
    for _ in range(2 + choices.pick("workers", 3)):
        fleet.start_worker()
    for sweep in (TEND, POLL):
        fleet.pulse(sweep, fleet.due[sweep])
    troubles = choices.between("troubles", 20.0, 240.0)
    fleet.expected = _schedule(fleet, troubles)
    world.later(troubles, "calm", lambda: _calm(fleet))
    to_the_end(fleet, troubles + ENDS_WITHIN_SECONDS)


def to_the_end(fleet: Fleet, at_most: float) -> None:
    """Until all is done."""
    world = fleet.world
    while not (fleet.expected == 0 and not world.fibers and fleet.books.is_done()):
        world.step()
        if world.now > at_most or world.steps > MOST_STEPS:
            raise Red(f"not done after {world.now:.0f} s and {world.steps} steps: {fleet.books.left()}")
    fleet.books.check_end()
    try:
        assert_books_balance(fleet.ledger)
    except AssertionError as strange:
        raise Red(f"the books do not balance: {strange}") from None


def _schedule(fleet: Fleet, troubles: float) -> int:
    choices, user = fleet.choices, User(fleet)
    for what, count in sorted(fleet.weather.events.items()):
        for _ in range(count):
            when = choices.between(what, 0.0, troubles)
            happen = getattr(user, f"_{what}", None)
            act = (lambda what=what: user.does(what)) if happen else (lambda what=what: _happen(fleet, what))
            fleet.world.later(when, f"event: {what}", act)
    return sum(fleet.weather.events.values())


def _happen(fleet: Fleet, what: str) -> None:
    fleet.expected -= 1
    choices = fleet.choices
    seconds = choices.between(what, 1.0, 90.0)
    if what == "flush":
        fleet.broker.flush()
    elif what == "forgery":
        forged: list[Any] = [[choices.pick("id", 30)], "all", [-1], [], [1, 2, 3], None, [True]]
        fleet.broker.put(IN_ORDER[choices.pick("task", 4)], [forged[choices.pick("forged", len(forged))]])
    elif what == "false_402":
        fleet.provider.refuses_until = fleet.world.now + seconds
    else:
        fleet.store.refuses_until = fleet.world.now + seconds


def _calm(fleet: Fleet) -> None:
    """No more troubles. A person's own pause ends with the person coming back."""
    fleet.weather.is_calm = True
    for batch in fleet.ledger.batches.all():
        if batch.paused_kind == "user":
            fleet.ledger.batches.resume(batch.id)


@contextmanager
def _log_into(world: World) -> Iterator[None]:
    """Events of the log are steps of the trace; one that tells of a fault of our own is the end."""

    def take(_logger: object, method: str, event: dict[str, Any]) -> dict[str, Any]:
        facts = " ".join(
            f"{name}={value}" for name, value in sorted(event.items()) if name not in ("event", "exc_info")
        )
        world.note(f"  log {event['event']} {facts}")
        if event["event"] == "stage_broke":
            raise Red(f"a fault of our own: {traceback.format_exc()}")
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, take],
        wrapper_class=structlog.make_filtering_bound_logger(20),
        cache_logger_on_first_use=False,
    )
    try:
        yield
    finally:
        structlog.configure(**before)
