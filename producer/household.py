"""What runs for one home: server, stand-in provider and workers, each kept by one process at a time.

Whoever holds a duty's lock keeps its children; everybody else uses them, and takes the duty over when its keeper ends.
So a second `run` in the same home starts nothing twice, and any of them may be killed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from imagejobs.clock import Clock
from imagejobs.errors import BadSetting
from imagejobs.settings import Settings
from producer import embedded
from producer.children import Child, Say, stop
from producer.home import Home, Lock

START_SECONDS = 20.0  # a loaded machine; mostly a twentieth of a second
_LOOK_SECONDS = 0.05


class Duty:
    """Some children that one process keeps. Without a lock everybody keeps their own."""

    def __init__(self, lock: Lock | None, make: Callable[[int], Sequence[Child]]) -> None:
        self._lock = lock
        self._make = make
        self.children: Sequence[Child] = ()

    @property
    def is_ours(self) -> bool:
        """Whether it is we who keep it."""
        return bool(self.children)

    def tend(self) -> None:
        """Take it up if nobody else has it; see that the children live."""
        if self.is_ours:
            for child in self.children:
                child.tend()
            return
        held = self._lock.take() if self._lock else -1
        if held is not None:
            self.children = self._make(held)
            for child in self.children:
                child.start()

    def end(self, clock: Clock) -> None:
        """Stop the children, and let others have the duty."""
        stop(self.children, clock)
        self.children = ()
        if self._lock:
            self._lock.release()


class Household:
    """Starts and keeps what the settings leave to us. Use it from the main thread, and `close` it.

    With `is_demo` the stand-in provider takes the provider's place. `processes` is how many workers are kept; with
    `is_quiet` their log goes to the home's folder instead of ours.
    """

    def __init__(
        self, settings: Settings, home: Home, *, is_demo: bool, processes: int, say: Say, clock: Clock, is_quiet: bool
    ) -> None:
        self._given = settings
        self._home = home
        self._is_demo = is_demo
        self._processes = processes
        self._say = say
        self._clock = clock
        self._worker_log = home if is_quiet else None
        self._is_embedded = settings.redis_url is None
        account = embedded.SANDBOX_ACCOUNT if is_demo else settings.account_name
        shared = self._is_embedded or is_demo
        self._server = Duty(home.lock("server"), self._make_server)
        self._stand_in = Duty(home.lock("sandbox"), self._make_stand_in)
        self._work = Duty(home.lock(f"work for {account}") if shared else None, self._make_workers)

    @property
    def is_working(self) -> bool:
        """Whether the workers are ours; else somebody else keeps them, or a fleet works."""
        return self._work.is_ours

    def settings(self) -> Settings:
        """The settings with everything filled in that is started here; the stand-in is started if need be."""
        settings = self._stand_in_settings() if self._is_demo else self._given
        address = embedded.redis_url(self._home) if self._is_embedded else settings.redis_url
        return settings.model_copy(update={"redis_url": address})

    def start(self) -> None:
        """Start what nobody else keeps. Raises BadSetting when it does not come up, with the last line of its log."""
        if self._is_embedded:
            self._tend_until(self._server, lambda: embedded.answers(self._home.socket()), what="the embedded server")
        if self._is_demo:
            self._stand_in_settings()
        self._work.tend()

    def tend(self) -> None:
        """Called every moment: restarts what died, takes over what somebody else has left."""
        if self._is_embedded:
            self._server.tend()
        if self._is_demo:
            self._stand_in.tend()
        self._work.tend()

    def close(self) -> None:
        """Stop what is ours: workers first, while what they talk to is still there."""
        for duty in (self._work, self._stand_in, self._server):
            duty.end(self._clock)

    def _stand_in_settings(self) -> Settings:
        def ready() -> Settings | None:
            found = embedded.with_sandbox(self._given, self._home, may_choose=False)
            return found if found is not None and embedded.is_listening(found.base_url) else None

        self._tend_until(self._stand_in, lambda: ready() is not None, what="the stand-in provider")
        found = ready()
        if found is None:
            raise BadSetting(f"the stand-in provider has just ended; its log is {self._home.log('sandbox')}")
        return found

    def _tend_until(self, duty: Duty, is_ready: Callable[[], bool], *, what: str) -> None:
        until = self._clock.monotonic() + START_SECONDS
        while True:
            duty.tend()
            if is_ready():
                return
            if self._clock.monotonic() > until:
                lines = [line for child in duty.children if (line := child.last_line())]
                raise BadSetting(f"{what} does not start: {'; '.join(lines) or f'see {self._home.logs}'}")
            self._clock.sleep(_LOOK_SECONDS)

    def _make_server(self, lock: int) -> list[Child]:
        return [embedded.valkey(self._home, lock=lock, say=self._say, clock=self._clock)]

    def _make_stand_in(self, lock: int) -> list[Child]:
        settings = embedded.with_sandbox(self._given, self._home, may_choose=True)
        if settings is None:
            raise BadSetting("no port is free on 127.0.0.1 for the stand-in provider")
        return [embedded.sandbox(self._home, settings, lock=lock, say=self._say, clock=self._clock)]

    def _make_workers(self, _lock: int) -> list[Child]:
        settings = self.settings()
        return [
            embedded.worker(self._worker_log, settings, number=number, say=self._say, clock=self._clock)
            for number in range(1, self._processes + 1)
        ]
