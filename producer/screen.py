"""What people see: batches, their failures and what became of a run, as tables of rich.

Texts of others (errors, pause reasons) go in as plain text, never as markup.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import unquote

from rich import box
from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from imagejobs.errors import Cause
from imagejobs.job import Batch, FailureGroup
from imagejobs.states import State
from producer.facts import average, is_expiry_near, place, way_out
from producer.wording import counted, printable, spoken

if TYPE_CHECKING:
    from producer.checkup import Finding

COLOURS = {
    State.QUEUED: "bright_black",
    State.SUBMITTING: "cyan",
    State.RUNNING: "blue",
    State.STORING: "magenta",
    State.SUCCEEDED: "green",
    State.FAILED: "red",
    State.CANCELED: "yellow",
}
_BAR_WIDTH = 36


def out() -> Console:
    """Results, on standard output. Long lines (addresses, commands) are left whole, to be copied."""
    return Console(highlight=False, soft_wrap=True)


def err() -> Console:
    """Everything that is not a result."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def states_table(batch: Batch) -> Table:
    """A bar a state, and under them the sum, which is the total."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(min_width=10)
    table.add_column(width=_BAR_WIDTH)
    table.add_column(justify="right")
    for state in State:
        count, colour = batch.counts[state], COLOURS[state]
        bar = ProgressBar(total=max(1, batch.total), completed=count, complete_style=colour, finished_style=colour)
        table.add_row(Text(state.value, style=colour if count else "dim"), bar, _figure(count, colour))
    table.add_row(Text("total", style="bold"), Text(""), Text(_grouped(batch.total), style="bold"))
    return table


def _figure(count: int, colour: str) -> Text:
    return Text(_grouped(count), style=colour if count else "dim")


def _grouped(count: int) -> str:
    return f"{count:,}".replace(",", " ")


def _where(batch: Batch) -> str:
    """Where everything of the batch is; a folder as a path, to be copied."""
    where = place(batch)
    return unquote(where.removeprefix("file://")) if where.startswith("file://") else where


def pause_lines(batch: Batch) -> list[Text]:
    """Why it is paused and what to do about it; nothing when it is not."""
    if not batch.paused:
        return []
    return [Text(f"paused: {printable(batch.paused)}", style="bold yellow"), Text(f"  {way_out(batch)}")]


def status_view(batch: Batch, *, now: float, limited: str = "") -> RenderableType:
    """One batch; `limited` says what holds it up."""
    pace = average(batch, now=now)
    rate, left = pace["jobs_per_minute"], pace["eta_seconds"]
    title = Text(f"{batch.key}  {_phase(batch, now=now)}", style="bold")
    figures = [counted(batch.images, "image"), f"{counted(batch.creates_sent, 'create')} sent"]
    figures += [f"{rate:g} jobs/min"] if rate else []
    figures += [f"about {spoken(left)} left"] if left else []
    notes = [Text(" · ".join(figures)), *expiry_line(batch, now=now), *risk_lines(batch)]
    notes += [Text(limited)] * bool(limited)
    notes += [*pause_lines(batch), *failure_hint(batch)]
    return Group(title, states_table(batch), Text(""), *notes, Text(_where(batch), style="dim"))


def _phase(batch: Batch, *, now: float) -> str:
    if batch.is_done:
        return "finished"
    if batch.paused:
        return "paused"
    if batch.not_before > now:
        return f"starts in {spoken(batch.not_before - now)}"
    return "closing" if batch.live == 0 else "at work"


def expiry_line(batch: Batch, *, now: float) -> list[Text]:
    """When the first output that waits to be copied dies; loud when that is soon."""
    if batch.nearest_expiry is None:
        return []
    left = batch.nearest_expiry - now
    when = f"in {spoken(left)}" if left > 0 else f"{spoken(-left)} ago"
    style = "bold yellow" if is_expiry_near(batch, now=now) else ""
    return [Text(f"first output that waits to be copied expires: {when}", style=style)]


def risk_lines(batch: Batch) -> list[Text]:
    """Said only when there is something to say."""
    risks = ((batch.possible_double_payments, "possible double payment"), (batch.orphans, "orphan prediction"))
    return [Text(counted(risk, name), style="yellow") for risk, name in risks if risk]


def failure_hint(batch: Batch) -> list[Text]:
    """The command to see why, when jobs have failed."""
    failed = batch.counts[State.FAILED]
    return [Text(f"why {counted(failed, 'job')} failed: imagejobs failures {batch.key}")] if failed else []


def batches_table(batches: Sequence[Batch], *, now: float) -> RenderableType:
    """All batches, the newest first."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for name in ("batch", "", "total", "done", "failed", "in flight", "queued", "images"):
        table.add_column(name, justify="left" if name in ("batch", "") else "right", no_wrap=True)
    for batch in batches:
        counts = batch.counts
        flying = batch.live - counts[State.QUEUED]
        figures = (batch.total, counts[State.SUCCEEDED], counts[State.FAILED] + counts[State.CANCELED])
        cells = [_grouped(one) for one in (*figures, flying, counts[State.QUEUED], batch.images)]
        table.add_row(Text(batch.key, style="bold"), Text(_phase(batch, now=now), style="dim"), *cells)
    return table


def failures_view(batch: Batch, groups: Sequence[FailureGroup]) -> RenderableType:
    """By cause: how many, what they say, what a retry would do, and the command for just those."""
    if not groups:
        return Text(f"{batch.key}: nothing has failed")
    lines: list[RenderableType] = []
    for cause in dict.fromkeys(group.cause for group in groups):
        own = [group for group in groups if group.cause == cause]
        lines += [_cause_line(cause, own), *map(_group_line, own), *_retry_lines(batch, cause, own), Text("")]
    total = sum(group.count for group in groups)
    return Group(*lines, Text(f"{counted(total, 'failed job')} in all; retry them all: imagejobs retry {batch.key}"))


def _cause_line(cause: str, groups: Sequence[FailureGroup]) -> Text:
    line = Text(cause, style="bold red")
    return line.append(f"  {counted(sum(group.count for group in groups), 'job')}", style="not bold default")


def _group_line(group: FailureGroup) -> Text:
    return Text(f"  {group.count:>6}  {printable(group.sample_error)[:200]}  (e.g. {group.sample_id})")


def _retry_lines(batch: Batch, cause: str, groups: Sequence[FailureGroup]) -> list[Text]:
    free = sum(group.copyable for group in groups)
    advice = Cause(cause).retry_advice + (f"; {free} of them can be copied again for free now" if free else "")
    return [Text(f"          retrying: {advice}", style="dim"), Text(f"          {retry_command(batch, cause)}")]


def plan_view(batch: Batch, groups: Sequence[FailureGroup]) -> RenderableType:
    """What a retry would do, by group."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=f"retry of {batch.key}", title_justify="left")
    for name in ("cause", "free", "paid", "what they say"):
        table.add_column(name, justify="right" if name in ("free", "paid") else "left")
    for group in groups:
        cells = (group.cause, str(group.copyable), str(group.count - group.copyable))
        table.add_row(*cells, Text(printable(group.sample_error)[:80]))
    return table


def findings_table(findings: Sequence[Finding]) -> RenderableType:
    """What `doctor` found, with the way out under whatever is not well."""
    lines = []
    for finding in findings:
        mark, style = _MARKS[finding.verdict]
        lines.append(Text(f"{mark:<6}", style=style).append(f"{finding.door:<20}{printable(finding.found)}", "default"))
        if finding.advice:
            lines.append(Text(f"{'':<26}→ {printable(finding.advice)}", style="dim"))
    return Group(*lines)


_MARKS = {"ok": ("ok", "green"), "warning": ("look", "yellow"), "bad": ("bad", "bold red")}


def retry_command(batch: Batch, cause: str) -> str:
    """The command that retries the jobs that failed for this cause, and no others."""
    return f"imagejobs retry {batch.key} --cause {cause}"


def summary(batch: Batch, *, creates_before: int, took_seconds: float) -> RenderableType:
    """What a run came to, and where it is."""
    sent = batch.creates_sent - creates_before
    facts: list[tuple[str, str]] = [
        (state.value, _grouped(batch.counts[state]))
        for state in (State.SUCCEEDED, State.FAILED, State.CANCELED)
        if batch.counts[state] or state is State.SUCCEEDED
    ]
    facts += [
        ("images", f"{_grouped(batch.images)}  in {_where(batch)}/images"),
        ("manifest", f"{_where(batch)}/manifest"),
        ("creates sent", f"{_grouped(batch.creates_sent)}, by this run {_grouped(sent)}"),
        ("took", spoken(took_seconds)),
    ]
    title = Text(f"{batch.key}: {'finished' if batch.is_done else 'paused'}", style="bold")
    lines = [Text(f"  {name:<14}{value}") for name, value in facts]
    return Group(title, *lines, *risk_lines(batch), *pause_lines(batch), *failure_hint(batch))
