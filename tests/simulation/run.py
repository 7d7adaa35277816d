"""One seed is one run: a fleet of the real code in a world of its own, with troubles, then without, to its end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import structlog

from imagejobs.dispatch import Dispatch
from imagejobs.errors import Complaint, Permanent, Refused, Transient
from imagejobs.job import Batch, Spec
from imagejobs.ledger import LEDGER_ERRORS, Ledger
from imagejobs.patience import Patience
from imagejobs.queues import BROKER_ERRORS, IN_ORDER, POLL, TEND
from imagejobs.settings import Settings
from producer import control
from tests.simulation.books import Books
from tests.simulation.broker import SimulatedBroker, SimulatedLimiter
from tests.simulation.database import SimulatedDatabase
from tests.simulation.provider import SimulatedProvider
from tests.simulation.store import SimulatedDownloader, SimulatedStore
from tests.simulation.weather import Weather
from tests.simulation.world import Choices, Fiber, Host, Red, SimulatedClock, World
from worker.messages import Act, acts
from worker.pulse import UNHEARD_SECONDS
from worker.services import Services
from worker.settle import Policy
from worker.stages.record import Record
from worker.stages.store import Copier

VERSION = "somebody/painter:0123456789abcdef"
ENDS_WITHIN_SECONDS = 4000.0  # once the troubles are over
MOST_STEPS = 60_000
THREADS = 4


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


@cache
def database() -> SimulatedDatabase:
    """One for the process."""
    return SimulatedDatabase()


@dataclass
class Fleet:
    """Workers, users, and everything around them."""

    choices: Choices
    weather: Weather
    settings: Settings
    world: World = field(init=False)
    started: int = 0
    expected: int = 0  # events that are still to come
    hosts: list[Host] = field(default_factory=list)
    acts: dict[Host, dict[str, Act]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.world = world = World(self.choices)
        weather, settings = self.weather, self.settings
        database().begin(world, weather)
        self.ledger = Ledger(database())
        self.clock = SimulatedClock(world)
        self.broker = SimulatedBroker(world, weather)
        self.creates = SimulatedLimiter(self.broker, world, per_minute=settings.creates_per_minute)
        self.calls = SimulatedLimiter(self.broker, world, per_minute=settings.calls_per_minute)
        self.provider = SimulatedProvider(world, weather, settings)
        self.store = SimulatedStore(world, weather)
        self.downloader = SimulatedDownloader(world, weather, self.provider)
        self.books = Books(world, database(), self.provider, self.store)
        self.due: dict[str, int] = {POLL: 0, TEND: 0}
        world.strike, world.offers, world.check = self._strike, self._offers, self.books.check

    def add_batch(self, key: str, specs: Sequence[Spec]) -> None:
        """As `submit` does."""
        batches, now = self.ledger.batches, self.clock.now()
        facts = {"account": self.settings.account_name, "store": "file:///simulated", "rows_digest": key}
        batch = batches.create(key, facts=facts, now=now)
        if batch is not None:
            batches.add(batch.id, specs, max_tries=self.settings.max_tries, now=now)
            batches.open(batch.id, now=now)

    def start_worker(self) -> None:
        """A new process."""
        self.started += 1
        host = Host(f"w{self.started}")
        services = self._services()
        self.hosts.append(host)
        self.acts[host] = dict(acts(services, threads=THREADS, rested=self._rested))
        self.world.note(f"{host.name} starts")
        self.broker.has_memory = False  # whoever connects has all sent anew: the pulse's `wake`

    def _services(self) -> Services:
        ledger = Ledger(database())  # one a process: callers of one take turns
        settings, clock, dice = self.settings, self.clock, lambda: self.choices.between("dice", 0.0, 1.0)
        policy = Policy(
            max_tries=settings.max_tries, keep_seconds=settings.keep_seconds, settle_seconds=settings.settle_seconds
        )
        doors: dict[str, Any] = {
            "broker": self.broker,
            "provider": self.provider,
            "store": self.store,
            "creates": self.creates,
            "calls": self.calls,
            "dispatch": Dispatch(ledger, self.broker, account=settings.account_name),  # type: ignore[arg-type]
            "copier": Copier(
                downloader=self.downloader,  # type: ignore[arg-type]
                record=Record(provider=self.provider, calls=self.calls, clock=clock),  # type: ignore[arg-type]
                store=self.store,
                clock=clock,
                dice=dice,
                max_bytes=settings.max_image_bytes,
                max_pixels=settings.max_image_pixels,
            ),
        }
        return Services(
            settings=settings,
            ledger=ledger,
            policy=policy,
            clock=clock,
            dice=dice,
            side_by_side=lambda look, jobs: [look(job) for job in jobs],
            **doors,
        )

    def _rested(self, sweep: str, seconds: float) -> None:
        """As the pulse's `rest`; how late the pulse is with the next one is the seed's choice."""
        self.broker.call("rest")
        self._arm(sweep, min(seconds * 15.0 ** self.choices.between("pulse", 0.0, 1.0), UNHEARD_SECONDS))

    def _arm(self, sweep: str, seconds: float) -> None:
        self.due[sweep] += 1
        self.world.later(seconds, "", lambda turn=self.due[sweep]: self.pulse(sweep, turn))

    def pulse(self, sweep: str, turn: int) -> None:
        """Send for a sweep, unless another has run meanwhile; and again if it is not heard of."""
        if self.due[sweep] == turn:
            self.broker.put(sweep, [])
            self._arm(sweep, UNHEARD_SECONDS)

    def _offers(self) -> list[Any]:
        if not self.broker.has_any:
            return []
        now = self.world.now
        free = [one for one in self.hosts if one.frozen_until <= now and one.busy < THREADS]
        return [lambda host=one: self._hand_out(host) for one in free]

    def _hand_out(self, host: Host) -> None:
        message = self.broker.take()

        def act() -> None:
            self.acts[host][message.task](*message.args)
            message.is_done = True

        self.world.start(host, act, at=f"takes {message.task} {message.args}")

    def _strike(self, fiber: Fiber) -> None:
        """A fiber is about to go on from its door: its process may die or freeze here."""
        at_post = fiber.at.startswith("create (")
        if self.weather.strikes("crash"):
            self.crash(fiber.host)
        elif self.weather.strikes("freeze_post" if at_post else "freeze"):
            self.freeze(fiber.host, self.choices.between("frozen", 3.0, 400.0))

    def crash(self, host: Host) -> None:
        """SIGKILL; somebody starts another."""
        self.world.note(f"{host.name} is killed")
        self.world.kill(host)
        if host in self.acts:
            self.hosts.remove(host)
            del self.acts[host]
            self.world.later(self.choices.between("restart", 0.1, 20.0), "", self.start_worker)

    def freeze(self, host: Host, seconds: float) -> None:
        """SIGSTOP, and SIGCONT later."""
        self.world.note(f"{host.name} is frozen for {seconds:.0f} s")
        host.frozen_until = self.world.now + seconds


class User:
    """Somebody at the command line, at odd moments."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._ledger = fleet.ledger

    def does(self, what: str) -> None:
        """One command, in a process of its own that may be killed half-way."""
        fleet = self._fleet
        fleet.expected -= 1
        batches = self._ledger.batches.all()
        batch = batches[fleet.choices.pick("batch", len(batches))]

        def act() -> None:
            try:
                getattr(self, f"_{what}")(batch)
            except (Complaint, Refused, Transient, Permanent, *LEDGER_ERRORS, *BROKER_ERRORS) as error:
                fleet.world.note(f"{what} failed: {type(error).__name__}")

        fleet.world.start(Host(f"u-{what}"), act, at=f"user: {what} {batch.key}")

    def _cancel(self, batch: Batch) -> None:
        control.cancel(self._ledger, batch, with_flying=False)

    def _cancel_flying(self, batch: Batch) -> None:
        control.cancel(self._ledger, batch, with_flying=True)

    def _pause(self, batch: Batch) -> None:
        control.pause(self._ledger, batch, reason="lunch")
        self._fleet.clock.sleep(self._fleet.choices.between("lunch", 0.0, 100.0))
        self._resume(batch)

    def _resume(self, batch: Batch) -> None:
        if self._ledger.batches.resume(batch.id):
            self._feed()

    def _retry(self, batch: Batch) -> None:
        fleet = self._fleet
        plan = control.plan_retry(self._ledger, batch, with_canceled=fleet.choices.chance("canceled too", 0.5))
        patience = Patience(fleet.clock.sleep)
        control.requeue(self._ledger, fleet.store, plan, max_tries=fleet.settings.max_tries, patience=patience)
        self._feed()

    def _second_batch(self, _: Batch) -> None:
        fleet = self._fleet
        fleet.add_batch("second", specs("second", fleet.choices))
        self._feed()

    def _feed(self) -> None:
        fleet = self._fleet
        dispatch = Dispatch(self._ledger, fleet.broker, account=fleet.settings.account_name)  # type: ignore[arg-type]
        dispatch.feed(creates_per_minute=fleet.settings.creates_per_minute, now=self._ledger.database.now())


def specs(batch: str, choices: Choices) -> list[Spec]:
    """A handful of rows, some with several outputs, at times with twins among them."""
    has_twins = choices.chance("twins", 0.2)
    rows = []
    for number in range(1, 3 + choices.pick("rows", 10)):
        outputs = 1 + choices.pick("outputs", 3) if choices.chance("several", 0.2) else 1
        seed = number // 2 if has_twins else number
        given = {"prompt": "a lighthouse", "seed": seed, "num_outputs": 1 if has_twins else outputs}
        given["prompt"] += "" if has_twins else f" {batch}"
        row = Spec(id=f"{batch}-{number}", line=number, version=VERSION, input=given, outputs=given["num_outputs"])
        rows.append(row)
    return rows


def simulate(seed: int, *, shown: int = 60) -> Result:
    """One run."""
    choices = Choices(seed)
    weather = Weather.of(choices)
    fleet = Fleet(choices, weather, _settings(choices))
    red = None
    with _log_into(fleet.world):
        try:
            _play(fleet)
        except Red as broken:
            red = str(broken)
    database().begin(World(choices), weather)  # lets go of the fibers of this run
    return Result(
        seed=seed,
        digest=fleet.world.digest,
        steps=fleet.world.steps,
        seconds=fleet.world.now,
        accepted=len(fleet.provider.made),
        jobs=len(fleet.books._states),
        hits=weather.hits,
        red=red,
        trace=tuple(fleet.world.trace)[-shown:] if red else (),
    )


def _settings(choices: Choices) -> Settings:
    environ = {
        "REPLICATE_API_TOKEN": "r8_simulated",
        "IMAGEJOBS_READ_SECONDS": ("10", "30")[choices.pick("read", 2)],
        "IMAGEJOBS_SETTLE_SECONDS": ("3", "10")[choices.pick("settle", 2)],
        "IMAGEJOBS_KEEP_SECONDS": ("300", "3600")[choices.pick("keep", 2)],
        "IMAGEJOBS_JOB_SECONDS": ("60", "300")[choices.pick("limit", 2)],
        "IMAGEJOBS_CREATES_PER_MINUTE": ("120", "600")[choices.pick("pace", 2)],
    }
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
    fleet.add_batch("first", specs("first", choices))
    for _ in range(2 + choices.pick("workers", 3)):
        fleet.start_worker()
    for sweep in (TEND, POLL):
        fleet.pulse(sweep, fleet.due[sweep])
    troubles = choices.between("troubles", 20.0, 240.0)
    fleet.expected = _schedule(fleet, troubles)
    world.later(troubles, "calm", lambda: _calm(fleet))
    while not (fleet.expected == 0 and not world.fibers and fleet.books.is_done()):
        world.step()
        if world.now > troubles + ENDS_WITHIN_SECONDS or world.steps > MOST_STEPS:
            raise Red(f"not done {world.now - troubles:.0f} s after the last trouble")
    fleet.books.check_end()


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
            import traceback

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
