"""A batch as it moves: live bars on a terminal, a line every few seconds anywhere else. All of it on standard error."""

from __future__ import annotations

from collections import deque
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from imagejobs.clock import Clock
from imagejobs.job import Batch
from imagejobs.states import State
from producer.facts import final, in_flight
from producer.pace import Pace
from producer.screen import pause_lines, risk_lines, states_table
from producer.wording import counted, printable, spoken

LINE_SECONDS = 5.0
REDRAWS_PER_SECOND = 4
_NOTICES = 3


class Progress(Protocol):
    """What watches a batch for a person. A context manager: the screen is given back at its end."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, batch: Batch) -> None:
        """The batch as it is now."""

    def say(self, text: str) -> None:
        """Something happened beside it: a worker died, the ledger is away."""


class Bars:
    """For a terminal."""

    def __init__(self, console: Console, clock: Clock) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._clock = clock
        self._pace = Pace()
        self._notices: deque[str] = deque(maxlen=_NOTICES)
        self._drawn_at = float("-inf")

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, batch: Batch) -> None:
        """Draw it, a few times a second at most."""
        now = self._clock.monotonic()
        if now - self._drawn_at < 1 / REDRAWS_PER_SECOND:
            return
        self._drawn_at = now
        self._pace.saw(final(batch), at=now)
        self._live.update(self._view(batch), refresh=True)

    def say(self, text: str) -> None:
        """Under the bars, the last few."""
        if self._live.is_started:
            self._notices.append(printable(text))
        else:
            self._console.print(Text(printable(text)))

    def _view(self, batch: Batch) -> RenderableType:
        title = Text(batch.key, style="bold").append(f"  {figures(batch, self._pace)}", style="not bold default")
        notices = [Text(text, style="dim") for text in self._notices]
        return Group(title, states_table(batch), *risk_lines(batch), *pause_lines(batch), *notices)


class Lines:
    """For a log: one line now and then, and at once when something changes that a person must know."""

    def __init__(self, console: Console, clock: Clock) -> None:
        self._console = console
        self._clock = clock
        self._pace = Pace()
        self._said_at = float("-inf")
        self._paused: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def show(self, batch: Batch) -> None:
        """A line, if the last one is old enough."""
        now = self._clock.monotonic()
        self._pace.saw(final(batch), at=now)
        if batch.paused != self._paused:
            self._paused = batch.paused
            self._console.print(*(pause_lines(batch) or [Text("goes on")]), sep="\n")
        if now - self._said_at >= LINE_SECONDS:
            self._said_at = now
            self._console.print(Text(f"{batch.key}: {sentence(batch)} · {figures(batch, self._pace)}"))

    def say(self, text: str) -> None:
        """At once."""
        self._console.print(Text(printable(text)))


def progress(console: Console, clock: Clock) -> Progress:
    """The kind that suits where it is shown."""
    return Bars(console, clock) if console.is_terminal else Lines(console, clock)


def sentence(batch: Batch) -> str:
    """The counts, in a line."""
    failed = batch.counts[State.FAILED]
    parts = [f"{final(batch)} of {batch.total} done"]
    parts += [f"{failed} failed"] if failed else []
    return ", ".join([*parts, f"{in_flight(batch)} in flight", f"{batch.counts[State.QUEUED]} queued"])


def figures(batch: Batch, pace: Pace) -> str:
    """Images, rate and the time that is left, as far as they are known."""
    parts = [counted(batch.images, "image")]
    rate, left = pace.per_second, pace.seconds_for(batch.live)
    if rate and left and not batch.paused:
        parts.append(f"{rate:.1f} jobs/s" if rate >= 1 else f"{rate * 60:.1f} jobs/min")
        parts.append(f"about {spoken(max(1.0, left))} left")
    return " · ".join(parts)
