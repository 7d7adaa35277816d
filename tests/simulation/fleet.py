"""Simulated workers: the real acts on doors that the scheduler owns; they are killed, frozen and replaced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

from imagejobs.dispatch import Dispatch
from imagejobs.edges.dialects import Prediction
from imagejobs.edges.webhooks import AttemptTag
from imagejobs.job import Spec, SpecText
from imagejobs.ledger import LEDGER_ERRORS, Ledger
from imagejobs.queues import POLL, TEND
from imagejobs.settings import Settings
from tests.simulation.books import Books
from tests.simulation.broker import SimulatedBroker, SimulatedLimiter
from tests.simulation.database import SimulatedDatabase
from tests.simulation.provider import SimulatedProvider
from tests.simulation.store import SimulatedDownloader, SimulatedStore
from tests.simulation.weather import Weather
from tests.simulation.world import Choices, Fiber, Host, InTurn, SimulatedClock, World
from worker.listener import Listener
from worker.messages import Act, acts
from worker.pulse import UNHEARD_SECONDS
from worker.services import Services
from worker.settle import Policy
from worker.stages.record import Record
from worker.stages.store import Copier

THREADS = 4
_WHERE = {
    "create": "freeze_post",
    "fetched": "freeze_copy",
    "put": "freeze_copy",
}  # freezes that hurt most, by the door


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
        self.provider.tell = self._hear
        self.books = Books(world, database(), self.provider, self.store)
        self.due: dict[str, int] = {POLL: 0, TEND: 0}
        world.strike, world.offers, world.check = self._strike, self._offers, self.books.check

    def add_batch(self, key: str, specs: Sequence[Spec]) -> None:
        """As `submit` does."""
        batches, now = self.ledger.batches, self.clock.now()
        facts = {"account": self.settings.account_name, "store": "file:///simulated", "rows_digest": key}
        batch = batches.create(key, facts=facts, now=now)
        if batch is not None:
            batches.add(batch.id, [SpecText.of(spec) for spec in specs], max_tries=self.settings.max_tries)
            batches.open(batch.id, now=now)

    def start_worker(self) -> None:
        """A new process."""
        self.started += 1
        host = Host(f"w{self.started}")
        services = self._services()
        self.hosts.append(host)
        self.acts[host] = dict(acts(services, threads=THREADS, rested=self._rested, is_leaving=lambda: False))
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
            creating=InTurn(),
            copying=InTurn(),
            looking=InTurn(),
            **doors,
        )

    def _hear(self, tag: AttemptTag, prediction: Prediction) -> None:
        """A webhook comes in. While the ledger is away the provider is told to come again."""
        listener = Listener(self._services())

        def act() -> None:
            try:
                listener.hear(tag, prediction)
            except LEDGER_ERRORS:
                self.world.later(20.0, f"again: webhook of {prediction.id}", partial(self._hear, tag, prediction))

        self.world.start(Host("hook"), act, at=f"hears of {prediction.id}, {prediction.status}")

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
        act = partial(self.acts[host][message.task], *message.args)
        self.world.start(host, act, at=f"takes {message.task} {message.args}")

    def _strike(self, fiber: Fiber) -> None:
        """A fiber is about to go on from its door: its process may die or freeze here."""
        kind = _WHERE.get(fiber.at.partition(" ")[0], "freeze")
        if self.weather.strikes("crash"):
            self.crash(fiber.host)
        elif self.weather.strikes(kind):
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
