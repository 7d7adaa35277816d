"""One account's night on simulated time: feed, pacing, creates, sweeps and copies as the workers do them.

What is decided is decided by the product's own arithmetic where it can be called (`imagejobs/feed.py`,
`worker/planning.py`), and with its own constants elsewhere; how long predictions run is drawn as the sandbox draws it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from math import ceil

from imagejobs.dispatch import COPIES_PER_MESSAGE, groups
from imagejobs.edges.dialects import Prediction
from imagejobs.feed import places_ahead, specs_per_message
from imagejobs.limiter import CATCH_UP_SECONDS
from imagejobs.queues import IN_ORDER, POLL, STORE, SUBMIT, TEND
from imagejobs.settings import Settings
from ops.bench.scenarios import Scenario
from ops.bench.simulation.company import Picture, Together, Write
from ops.bench.simulation.events import Lock, Task
from ops.bench.simulation.hosts import Hosts, Worker
from ops.bench.simulation.pacer import Pacer
from sandbox.fate import run_seconds
from sandbox.listing import PAGE
from sandbox.provider import QUEUE_SHARE
from worker.planning import FEW, Limits, next_sweep
from worker.submitter import AHEAD_SECONDS, LATE_SECONDS
from worker.sweeper import FIRST_LOOK_SECONDS, SOON_SECONDS
from worker.tender import BUSY_SECONDS
from worker.tender import CALM_SECONDS as TEND_CALM_SECONDS

VERSION = "the one model of a benchmark"
SETTINGS = Settings()


class Account:
    """A batch of the scenario's rows, worked through. `finished` is called when the last image is safe."""

    def __init__(self, hosts: Hosts, scenario: Scenario, *, finished: Callable[[], None]) -> None:
        self._hosts, self._loop, self._scenario = hosts, hosts.loop, scenario
        self._finished = finished
        self._per_minute = scenario.creates_per_second * 60
        self._pacer = Pacer(per_second=scenario.creates_per_second, catch_up_seconds=CATCH_UP_SECONDS)
        self._batch = Lock(hosts.loop)
        self.pictures = [Picture(number) for number in range(scenario.jobs)]
        self._waiting = deque(self.pictures)
        self._hinted = 0
        self._running: dict[int, Picture] = {}
        self._ready_at: float | None = None if scenario.cold_start_seconds else 0.0
        self._made = 0
        self._safe = 0
        self.other_calls = 0
        self._lists: dict[str, deque[Sequence[Picture]]] = {name: deque() for name in IN_ORDER}
        self._free = deque(worker for _ in range(SETTINGS.threads) for worker in hosts.workers)

    def begin(self, *, first_sweep_seconds: float = 0.0) -> None:
        """The rows are in the ledger, and the workers have heard of them. A sweep is due by chance."""
        self._send(TEND, [])
        self._loop.at(self._loop.now + first_sweep_seconds, lambda: self._send(POLL, []))

    def _send(self, name: str, pictures: Sequence[Picture]) -> None:
        self._lists[name].append(pictures)
        self._deal()

    def _deal(self) -> None:
        """Messages to free threads, of any process: the first queue in order that has one."""
        while self._free and (name := next((one for one in IN_ORDER if self._lists[one]), None)):
            self._loop.start(self._handle(self._free.popleft(), name, self._lists[name].popleft()))

    def _handle(self, worker: Worker, name: str, pictures: Sequence[Picture]) -> Task:
        acts = {STORE: self._copy_all, POLL: self._sweep, TEND: self._tend, SUBMIT: self._submit}
        yield self._hosts.redis.work(self._hosts.costs.redis * len(pictures) / 2)
        yield from acts[name](worker, pictures)
        self._free.append(worker)
        self._deal()

    def _write(self, worker: Worker, pictures: Sequence[Picture]) -> Task:
        yield from self._hosts.ledger.write(worker, len(pictures), self._batch)

    def _writing(self, worker: Worker) -> Write:
        return lambda pictures: self._write(worker, pictures)

    def _tend(self, worker: Worker, _: Sequence[Picture]) -> Task:
        """Top the submit queue up."""
        ahead = places_ahead(self._per_minute, booked_seconds=self._pacer.booked_seconds(self._loop.now))
        places = min(ceil(ahead) - self._hinted, len(self._waiting))
        taken = [self._waiting.popleft() for _ in range(places)]
        yield worker.backend.work(self._hosts.read_seconds)
        self._hinted += len(taken)
        if taken:
            yield from self._write(worker, taken)
            for group in groups(range(len(taken)), specs_per_message(self._per_minute)):
                self._send(SUBMIT, [taken[one] for one in group])
        rest = BUSY_SECONDS if taken or self._waiting else TEND_CALM_SECONDS
        self._loop.at(self._loop.now + rest, lambda: self._send(TEND, []))

    def _give_back(self, pictures: Sequence[Picture]) -> None:
        self._hinted -= len(pictures)
        self._waiting.extendleft(reversed(pictures))

    def _submit(self, worker: Worker, pictures: Sequence[Picture]) -> Task:
        if worker.submitting >= max(1, SETTINGS.threads * 3 // 4):
            self._give_back(pictures)
            return
        worker.submitting += 1
        grant = self._pacer.reserve(len(pictures), ahead_seconds=AHEAD_SECONDS, now=self._loop.now)
        first = self._loop.now + grant.after_seconds
        self._give_back(pictures[grant.places :])
        if claimed := pictures[: grant.places]:
            yield from self._write(worker, claimed)
            self._hinted -= len(claimed)
            yield from self._create_all(worker, claimed, first, grant.spacing_seconds)
        worker.submitting -= 1

    def _create_all(self, worker: Worker, claimed: Sequence[Picture], first: float, spacing: float) -> Task:
        answers = Together(self._loop, self._writing(worker), expected=len(claimed), done=self._accepted)
        for position, picture in enumerate(claimed):
            picture.intent_at = self._loop.now
            slot = first + position * spacing
            if spacing and self._loop.now - slot > LATE_SECONDS + spacing:
                again = self._pacer.reserve(1, ahead_seconds=AHEAD_SECONDS, now=self._loop.now)
                slot = self._loop.now + again.after_seconds
            yield self._loop.sleep(max(0.0, slot - self._loop.now))
            self._loop.start(self._create(worker, picture, answers))
        yield answers.all_written()

    def _create(self, worker: Worker, picture: Picture, answers: Together) -> Task:
        hosts, costs = self._hosts, self._hosts.costs
        yield worker.cpu.work(costs.create / 2)
        yield self._loop.sleep(hosts.network_seconds)
        yield hosts.provider.work(costs.provider / 3)
        self._run(picture)
        yield worker.cpu.work(costs.create / 2)
        answers.add(picture)

    def _run(self, picture: Picture) -> None:
        """As `sandbox/provider.py` has it: wait for the model's boot, then a little, then run."""
        now, scenario = self._loop.now, self._scenario
        if self._ready_at is None:
            self._ready_at = now + scenario.cold_start_seconds
        median, prompt = scenario.run_seconds, f"picture {picture.number:06}"
        run = run_seconds(median, prompt=prompt, seed=picture.number)
        picture.created_at = now
        picture.completed_at = max(now, self._ready_at) + QUEUE_SHARE * median + run
        picture.place = self._made
        self._made += 1

    def _accepted(self, pictures: Sequence[Picture]) -> None:
        self._running |= {picture.number: picture for picture in pictures}

    def _sweep(self, worker: Worker, _: Sequence[Picture]) -> Task:
        yield worker.backend.work(self._hosts.read_seconds)
        flights = sorted(self._running.values(), key=lambda picture: picture.place)
        seconds = SOON_SECONDS
        if flights:
            calls, shown, looked_at = 0, list[Picture](), list[Picture]()
            pages, singles = self._reach(worker, flights)
            for page in pages:
                calls += 1
                yield from self._call(worker, self._hosts.costs.page, self._hosts.costs.provider_page)
                shown += [picture for picture in page if picture.completed_at <= self._loop.now]
            for picture in singles:
                calls += 1
                yield from self._call(worker, self._hosts.costs.page / 5, self._hosts.costs.provider / 3)
                looked_at += [picture] if picture.completed_at <= self._loop.now else []
            yield from self._conclude(worker, [*shown, *looked_at])
            seconds = self._rest(worker, flights, shown, calls)
        self._loop.at(self._loop.now + seconds, lambda: self._send(POLL, []))

    def _reach(self, worker: Worker, flights: Sequence[Picture]) -> tuple[list[list[Picture]], list[Picture]]:
        """Those that each page of the list shows, the newest page first; and those to be asked for singly."""
        pages: list[list[Picture]] = []
        left = list(flights)
        while not pages or (len(left) > FEW and self._made > PAGE * len(pages)):
            oldest = self._made - PAGE * (len(pages) + 1)
            pages.append([picture for picture in left if picture.place >= oldest])
            left = [picture for picture in left if picture.place < oldest]
        now, earliest = self._loop.now, worker.run_times.earliest(VERSION, unseen=FIRST_LOOK_SECONDS)
        settled_before = now - (SETTINGS.settle_seconds if len(left) > FEW else 0.0)
        settled = [picture for picture in left if picture.intent_at <= settled_before]
        return pages, [one for one in settled if one.created_at is not None and one.created_at + earliest <= now]

    def _call(self, worker: Worker, own: float, theirs: float) -> Task:
        self.other_calls += 1
        yield worker.cpu.work(own)
        yield self._loop.sleep(self._hosts.network_seconds)
        yield self._hosts.provider.work(theirs)

    def _conclude(self, worker: Worker, over: Sequence[Picture]) -> Task:
        """Write that these have ended, and send for their copies."""
        if over:
            yield from self._write(worker, over)
            for picture in over:
                del self._running[picture.number]
                seen = Prediction(
                    id=str(picture.number),
                    status="succeeded",
                    created_at=picture.created_at,
                    completed_at=picture.completed_at,
                )
                worker.run_times.learn(VERSION, seen)
            for group in groups(range(len(over)), COPIES_PER_MESSAGE):
                self._send(STORE, [over[one] for one in group])

    def _rest(self, worker: Worker, flights: Sequence[Picture], over: Sequence[Picture], calls: int) -> float:
        now, ended = self._loop.now, {picture.number for picture in over}
        earliest = worker.run_times.earliest(VERSION)
        waits = [picture.intent_at + earliest - now for picture in flights if picture.number not in ended]
        return next_sweep(
            calls=calls,
            flying=len(waits),
            ended_at=[picture.completed_at for picture in over],
            soonest_seconds=min(waits, default=0.0),
            limits=Limits(calls_per_minute=self._scenario.calls_per_second * 60, keep_seconds=SETTINGS.keep_seconds),
        )

    def _copy_all(self, worker: Worker, pictures: Sequence[Picture]) -> Task:
        yield from self._write(worker, pictures)
        answers = Together(self._loop, self._writing(worker), expected=len(pictures), done=self._stored)
        for picture in pictures:
            self._loop.start(self._copy(worker, picture, answers))
        yield answers.all_written()

    def _copy(self, worker: Worker, picture: Picture, answers: Together) -> Task:
        hosts, costs = self._hosts, self._hosts.costs
        yield worker.cpu.work(costs.copy / 2)
        yield self._loop.sleep(hosts.network_seconds)
        yield hosts.provider.work(costs.provider * 2 / 3)
        yield worker.cpu.work(costs.copy / 2)
        yield self._loop.sleep(hosts.network_seconds)
        yield hosts.sink.work(costs.sink / 2)
        picture.safe_at = self._loop.now
        yield hosts.sink.work(costs.sink / 2)
        answers.add(picture)

    def _stored(self, pictures: Sequence[Picture]) -> None:
        self._safe += len(pictures)
        if self._safe == len(self.pictures):
            self._finished()
