"""Child processes that never outlive us: started, looked after, restarted when they die, stopped.

Start them from the main thread: the kernel's tie is to the thread that starts them (see `imagejobs.tied`).
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from imagejobs.clock import Clock
from imagejobs.tied import tied

STOP_SECONDS = 30.0  # a worker gives itself 25 to finish what it has in hand
FIRST_RESTART_SECONDS, LAST_RESTART_SECONDS = 0.5, 30.0
STABLE_SECONDS = 60.0  # one that lived that long starts afresh when it dies
_TAIL_BYTES = 4000

Say = Callable[[str], None]


def restart_after(deaths: int) -> float:
    """Seconds to wait before the next start: doubling, capped, for it never pays to give up a night's work."""
    return min(LAST_RESTART_SECONDS, FIRST_RESTART_SECONDS * 2.0 ** min(deaths, 10))


class Child:
    """One process. What it writes goes to `log`, or where our own goes.

    `environment` is all that it gets. `death_signal` is what it is sent when we are killed; of `kept` (open file
    descriptors) it keeps its own copies.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        log: Path | None,
        say: Say,
        clock: Clock,
        death_signal: signal.Signals = signal.SIGTERM,
        kept: Sequence[int] = (),
    ) -> None:
        self.name = name
        self._command = command
        self._environment = environment
        self._log = log
        self._say = say
        self._clock = clock
        self._death_signal = death_signal
        self._kept = kept
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._restart_at: float | None = None
        self._deaths = 0

    @property
    def pid(self) -> int | None:
        """Of the process that runs; none while it does not."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> None:
        """Start it, tied to us. It gets a session of its own: Ctrl-C is for us to hear, and to pass on in order."""
        with ExitStack() as stack:
            log = stack.enter_context(self._log.open("ab")) if self._log else None
            self._process = subprocess.Popen(
                tied(self._command, death_signal=self._death_signal),
                env=dict(self._environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT if log else None,
                pass_fds=self._kept,
                start_new_session=True,
            )
        self._started_at = self._clock.monotonic()

    def tend(self) -> None:
        """See that it runs: one that has died is started again, after a while that grows, and it is said."""
        code = self._process.poll() if self._process is not None else None
        if code is None:
            return
        now = self._clock.monotonic()
        if self._restart_at is None:
            self._restart_at = now + self._mourn(code, now)
        if now >= self._restart_at:
            self._restart_at = None
            self.start()

    def _mourn(self, code: int, now: float) -> float:
        self._deaths = 0 if now - self._started_at >= STABLE_SECONDS else self._deaths + 1
        seconds = restart_after(self._deaths)
        self._say(f"{self.name} ended ({_reason(code)}), starts again in {seconds:g} s{self._why()}")
        return seconds

    def _why(self) -> str:
        line = self.last_line()
        return f": {line}" if line else ""

    def last_line(self) -> str:
        """The last line of its log, for messages; empty when there is none."""
        try:
            lines = self._log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace").split("\n") if self._log else []
        except OSError:
            return ""
        return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")

    def ask_to_stop(self) -> None:
        """SIGTERM; `wait` sees to the rest."""
        if self._process is not None and self.pid is not None:
            self._process.terminate()

    def wait(self, seconds: float) -> None:
        """Until it has ended; after `seconds` it is killed."""
        if self._process is None:
            return
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def kill(self) -> None:
        """At once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def stop(children: Sequence[Child], clock: Clock) -> None:
    """Ask all of them to stop, and wait for them together. Interrupted (a second Ctrl-C), it kills them."""
    until = clock.monotonic() + STOP_SECONDS
    try:
        for child in children:
            child.ask_to_stop()
        for child in children:
            child.wait(max(0.0, until - clock.monotonic()))
    except KeyboardInterrupt:
        for child in children:
            child.kill()


def _reason(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
