"""What can go wrong in a night, as acts of one hand: each does one thing to a running fleet, and some undo it later."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import psycopg
import redis

from imagejobs.ledger import LEDGER_ERRORS
from tests.servers.postgres import PostgresServer
from tests.servers.redis_server import RedisLike
from tests.servers.s3 import S3Server
from tests.system.fleet import Fleet

ALWAYS: list[dict[str, Any]] = [
    {"on": "create", "kind": "status", "status": 503, "rate": 0.02},
    {"on": "create", "kind": "reset", "rate": 0.01},
    {"on": "create", "kind": "reset_after", "rate": 0.01},
    {"on": "create", "kind": "status_after", "status": 502, "rate": 0.01},
    {"on": "create", "kind": "fail", "rate": 0.03},
    {"on": "create", "kind": "delay_after", "seconds": 0.5, "rate": 0.05},
    {"on": "list", "kind": "status", "status": 500, "rate": 0.03},
    {"on": "file", "kind": "truncate", "rate": 0.03},
    {"on": "file", "kind": "corrupt", "rate": 0.02},
    {"on": "file", "kind": "status", "status": 503, "rate": 0.03},
]
"""What the provider does wrong all the time."""

FALSE_402 = {"on": "create", "kind": "status", "status": 402, "for_seconds": 10}


class Mischief:
    """One act after another, chosen by dice. `done` counts them; `settle` undoes what is still to be undone."""

    def __init__(
        self, fleet: Fleet, *, servers: tuple[RedisLike, PostgresServer, S3Server], allowance: int, seed: int
    ) -> None:
        self._fleet = fleet
        self._redis, self._postgres, self._s3 = servers
        self._allowance = allowance
        self._dice = random.Random(seed)
        self._later: list[tuple[float, Callable[[], object]]] = []
        self._acts: tuple[Callable[[], object], ...] = (
            self.kill_a_worker,
            self.kill_a_worker,
            self.freeze_a_worker,
            self.terminate_a_worker,
            self.kill_redis,
            self.flush_redis,
            self.cut_redis,
            self.kill_postgres,
            self.cut_postgres,
            self.kill_store,
            self.kill_provider,
            self.refuse_payment,
            self.lower_the_limit,
            self.pause_all,
        )
        self.done: Counter[str] = Counter()

    def strike(self) -> None:
        """One act, and the undoing of those whose time is over."""
        self.undo(before=time.monotonic())
        act = self._dice.choice(self._acts)
        self.done[act.__name__] += 1
        act()

    def undo(self, *, before: float = float("inf")) -> None:
        """Undo what was to be undone before a moment; without one, all of it."""
        due = [what for at, what in self._later if at <= before]
        self._later = [(at, what) for at, what in self._later if at > before]
        for what in due:
            what()

    def _in(self, seconds: float, what: Callable[[], object]) -> None:
        self._later.append((time.monotonic() + seconds, what))

    def kill_a_worker(self) -> None:
        """SIGKILL, and another in its place."""
        self._fleet.kill(self._dice.choice(self._fleet.workers))
        self._fleet.start(1)

    def terminate_a_worker(self) -> None:
        """SIGTERM, and another in its place before it has ended."""
        worker = self._dice.choice(self._fleet.workers)
        self._fleet.workers.remove(worker)
        worker.send_signal(signal.SIGCONT)
        worker.terminate()
        self._fleet.start(1)
        self._in(40, worker.wait)

    def freeze_a_worker(self) -> None:
        """SIGSTOP for up to a minute: longer than anybody waits for it."""
        worker = self._dice.choice(self._fleet.workers)
        worker.send_signal(signal.SIGSTOP)
        self._in(self._dice.uniform(2, 60), lambda: worker.send_signal(signal.SIGCONT))

    def kill_redis(self) -> None:
        """SIGKILL, and back after a while."""
        self._redis.kill()
        time.sleep(self._dice.uniform(0, 5))
        self._redis.start()

    def flush_redis(self) -> None:
        """Its memory is lost."""
        with redis.Redis.from_url(self._redis.url) as client:
            client.flushall()

    def cut_redis(self) -> None:
        """Every connection."""
        with redis.Redis.from_url(self._redis.url) as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    def kill_postgres(self) -> None:
        """SIGKILL, and back after a while."""
        self._postgres.kill()
        time.sleep(self._dice.uniform(0, 5))
        self._postgres.start()

    def cut_postgres(self) -> None:
        """Every connection of ours."""
        conninfo = self._postgres.url_of("postgres").replace("+psycopg", "")
        with psycopg.connect(conninfo, autocommit=True) as connection:
            ours = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'imagejobs'"
            connection.execute(ours)

    def kill_store(self) -> None:
        """SIGKILL, and back after a while."""
        self._s3.kill()
        time.sleep(self._dice.uniform(0, 10))
        self._s3.start()

    def kill_provider(self) -> None:
        """It is back at once, with the predictions it had."""
        self._fleet.sandbox.restart()
        self._fleet.sandbox.faults(ALWAYS)

    def refuse_payment(self) -> None:
        """A false 402 for ten seconds."""
        self._fleet.sandbox.faults([FALSE_402, *ALWAYS])

    def lower_the_limit(self) -> None:
        """The provider allows a quarter for a while, without saying so."""
        self._fleet.sandbox.limits(creates_per_minute=self._allowance / 4)
        self._in(15, lambda: self._fleet.sandbox.limits(creates_per_minute=self._allowance))

    def pause_all(self) -> None:
        """A person pauses every batch, and goes on."""
        ledger, now = self._fleet.ledger, time.time()
        try:
            for batch in ledger.batches.all():
                ledger.batches.pause(batch.id, kind="user", reason="mischief", now=now)
                ledger.batches.resume(batch.id)
        except LEDGER_ERRORS:
            self.done["pause_all"] -= 1  # the database was away: nothing was done
