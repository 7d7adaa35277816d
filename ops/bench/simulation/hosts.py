"""Where a simulated fleet runs: processes, their machines, and the ledger that they share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ops.bench.simulation.events import Lock, Loop, Machine, Process, Task
from worker.planning import RunTimes

STEPS = 6  # of the ledger for each image: fed, claimed, accepted, finished, its copy claimed, stored
COMMIT_SECONDS = (
    0.0002  # a commit's wait for the disk on a machine like the measured one; SQLite's FULL less its NORMAL
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Seconds of processor time that an image takes of each part; of a page of the list, what is counted apart."""

    worker: float
    provider: float
    sink: float
    redis: float
    page: float
    provider_page: float
    database: float = 0.0

    @property
    def create(self) -> float:
        """Of the worker's, its POST."""
        return self.worker * 0.30

    @property
    def copy(self) -> float:
        """Of the worker's, download, checks and put."""
        return self.worker * 0.40

    @property
    def step(self) -> float:
        """Of the worker's, a sixth of what the ledger and the messages take."""
        return self.worker * 0.30 / STEPS


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What is assumed of a larger fleet's machines. Seconds are of one commit, one call's way, one sweep's reading."""

    workers: int = 2
    worker_cores: float = 2
    database_cores: float = 8
    commit_seconds: float = COMMIT_SECONDS
    network_seconds: float = 0.1
    read_seconds: float = 0.0


@dataclass(slots=True)
class Worker:
    """A process of ours. `submitting` is how many of its threads hold a submit message."""

    cpu: Process
    backend: Process
    run_times: RunTimes = field(default_factory=RunTimes)
    submitting: int = 0


class Ledger:
    """SQLite: one writer at a time, whoever it is. PostgreSQL: a batch's row is what its writers wait for.

    `commits` counts transactions, `disk` is held by whoever waits for a commit on SQLite.
    """

    def __init__(self, loop: Loop, *, is_sqlite: bool, costs: Costs, commit_seconds: float) -> None:
        self._loop = loop
        self._is_sqlite = is_sqlite
        self._costs = costs
        self._commit_seconds = commit_seconds
        self.disk = Lock(loop)
        self.commits = 0

    def write(self, worker: Worker, jobs: int, batch: Lock) -> Task:
        """One transaction over so many jobs of a batch."""
        self.commits += 1
        turn = self.disk if self._is_sqlite else batch
        if self._is_sqlite:
            yield turn.acquire()
            yield worker.cpu.work(jobs * self._costs.step)
        else:
            yield worker.cpu.work(jobs * self._costs.step)
            yield worker.backend.work(jobs * self._costs.database / STEPS)
            yield turn.acquire()
        yield self._loop.sleep(self._commit_seconds)
        turn.release()


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosts:
    """What accounts share, and what one has to itself (`workers`)."""

    loop: Loop
    costs: Costs
    workers: list[Worker]
    provider: Process
    sink: Process
    redis: Process
    ledger: Ledger
    network_seconds: float = 0.0
    """What a call to the provider or the store takes beside processor time."""

    read_seconds: float = 0.0
    """What a sweep's and a feed's reading takes of the database, which grows with all accounts' jobs."""


def bench(
    loop: Loop, *, costs: Costs, workers: int, cores: float, is_sqlite: bool, commit_seconds: float = COMMIT_SECONDS
) -> Hosts:
    """One account as in a benchmark: everybody shares the cores of one machine."""
    machine = Machine(loop, cores=cores)
    return Hosts(
        loop=loop,
        costs=costs,
        workers=[Worker(Process(machine), Process(machine)) for _ in range(workers)],
        provider=Process(machine),
        sink=Process(machine),
        redis=Process(machine),
        ledger=Ledger(loop, is_sqlite=is_sqlite, costs=costs, commit_seconds=commit_seconds),
    )


def fleet(loop: Loop, *, accounts: int, costs: Costs, setting: Setting, is_sqlite: bool) -> list[Hosts]:
    """Accounts with workers, provider and store of their own; one Redis and one ledger for all."""
    redis, database = Machine(loop, cores=1), Machine(loop, cores=setting.database_cores)
    shared_redis = Process(redis)
    ledger = Ledger(loop, is_sqlite=is_sqlite, costs=costs, commit_seconds=setting.commit_seconds)
    found = []
    for _ in range(accounts):
        own, elsewhere = Machine(loop, cores=setting.worker_cores), Machine(loop, cores=2)
        found.append(
            Hosts(
                loop=loop,
                costs=costs,
                workers=[Worker(Process(own), Process(database)) for _ in range(setting.workers)],
                provider=Process(elsewhere),
                sink=Process(elsewhere),
                redis=shared_redis,
                ledger=ledger,
                network_seconds=setting.network_seconds,
                read_seconds=setting.read_seconds,
            )
        )
    return found


def busy_share(processes: Iterable[Process], seconds: float) -> float:
    """How much of a core they used, together, over this time."""
    return sum(process.used for process in processes) / seconds if seconds else 0.0
