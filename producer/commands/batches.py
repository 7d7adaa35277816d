"""Batches as a whole: submit, status, watch, pause, resume, cancel."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from producer.commands.asking import WORK_BEGINS, AsJson, BatchKey, examples, print_json, verbs

commands = verbs()


@commands.command(
    epilog=examples("submit specs.jsonl", "submit specs.jsonl --not-before 22:30", "submit - < specs.jsonl")
)
def submit(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="rows: .jsonl, .csv, .parquet; - for standard input")],
    *,
    batch: Annotated[str | None, typer.Option(metavar="KEY", help="the batch's key (default: from the file)")] = None,
    version: Annotated[str | None, typer.Option(help="model version of rows that name none")] = None,
    weight: Annotated[float, typer.Option(min=0.01, help="share beside other batches")] = 1.0,
    priority: Annotated[int, typer.Option(help="higher goes first")] = 0,
    not_before: Annotated[
        str | None, typer.Option(metavar="TIME", help="send nothing before: 22:30 or ISO 8601")
    ] = None,
    unchecked: Annotated[bool, typer.Option("--unchecked", help="accept models without a schema")] = False,
    as_json: AsJson = False,
) -> None:
    """Record a file as a batch, for workers to do, and print its key.

    Every row is checked first. The same file twice is the same batch.
    """
    from producer.doors import read_settings
    from producer.enqueue import submit as submit_rows
    from producer.facts import facts
    from producer.wording import counted, read_moment

    settings = read_settings(IMAGEJOBS_VERSION=version, IMAGEJOBS_UNCHECKED="1" if unchecked else None)
    now = datetime.now().astimezone()
    moment = read_moment(not_before, now=now) if not_before else 0.0
    rows = sys.stdin.buffer if file == "-" else Path(file)
    done = submit_rows(rows, settings, batch=batch, weight=weight, priority=priority, not_before=moment)
    if as_json:
        print_json({**facts(done.batch, now=now.timestamp()), "is_new": done.is_new})
        return
    typer.echo(done.batch.key)
    said = counted(done.batch.total, "row") + (" recorded" if done.is_new else ": the batch was there already")
    if not done.is_sent and not done.batch.is_done:
        said += f"; {WORK_BEGINS}"
    typer.echo(said, err=True)


@commands.command(epilog=examples("status", "status night", "status night --json"))
def status(
    batch: Annotated[str | None, typer.Argument(metavar="[BATCH]", help="its key, or the beginning of it")] = None,
    as_json: AsJson = False,
) -> None:
    """Show how a batch stands, or all of them, and what limits the work just now."""
    from producer.doors import existing_ledger, has_ledger, read_settings

    settings = read_settings()
    if batch is None and not has_ledger(settings):
        _show_all([], now=0.0, as_json=as_json)
        return
    with existing_ledger(settings) as ledger:
        now = ledger.database.now()
        if batch is None:
            _show_all(ledger.batches.all(), now=now, as_json=as_json, limits=partial(_limits, settings, ledger, now))
            return
        from producer.find import find_batch

        found = find_batch(ledger, batch)
        _show(found, now=now, as_json=as_json, limits=_limits(settings, ledger, now, [found]))


def _limits(settings: Any, ledger: Any, now: float, batches: list[Any]) -> tuple[str, dict[str, Any]]:
    """What limits these batches, or those of them that are of our account: in a line, and for scripts."""
    from producer import limits

    account = batches[0].account if len(batches) == 1 else settings.account_name
    facts = limits.look(settings, ledger, [one for one in batches if one.account == account], account=account, now=now)
    limited = limits.limit(facts)
    is_told = any(batch.live for batch in facts.batches)
    return limits.said(limited) if is_told else "", limits.shown(limited, facts.standing)


def _show(batch: Any, *, now: float, as_json: bool, limits: tuple[str, dict[str, Any]] = ("", {})) -> None:
    from producer import screen
    from producer.facts import facts

    if as_json:
        print_json({**facts(batch, now=now), **limits[1]})
    else:
        screen.out().print(screen.status_view(batch, now=now, limited=limits[0]))


def _show_all(
    batches: list[Any],
    *,
    now: float,
    as_json: bool,
    limits: Callable[[list[Any]], tuple[str, dict[str, Any]]] = lambda _: ("", {}),
) -> None:
    from producer import screen
    from producer.facts import facts

    if not batches and not as_json:
        typer.echo("no batches yet: imagejobs run FILE, or imagejobs submit FILE", err=True)
        return
    line, figures = limits(batches)
    if as_json:
        print_json({"batches": [facts(batch, now=now) for batch in batches], **figures})
        return
    screen.out().print(screen.batches_table(batches, now=now))
    if line:
        screen.out().print(line)


@commands.command(epilog=examples("watch night", "watch night --patience 30m"))
def watch(
    batch: BatchKey,
    *,
    patience: Annotated[str, typer.Option(metavar="SPAN", help="how long to wait for a pause to end")] = "8h",
    as_json: AsJson = False,
) -> int:
    """Follow a batch until it is finished, wherever it is worked on.

    Exit code: 0 all succeeded, 3 some failed, 4 paused for longer than the patience, 130 interrupted (it goes on).
    """
    from imagejobs.clock import SystemClock
    from producer import screen
    from producer.doors import existing_ledger, read_settings
    from producer.find import find_batch
    from producer.progress import progress
    from producer.vigil import Vigil
    from producer.watch import watch as watch_batch
    from producer.wording import read_span

    clock = SystemClock()
    vigil = Vigil(patience_seconds=read_span(patience))
    with existing_ledger(read_settings()) as ledger:
        found = find_batch(ledger, batch)
        code = watch_batch(ledger, found, progress=progress(screen.err(), clock), vigil=vigil, clock=clock)
        _show(find_batch(ledger, found.key), now=ledger.database.now(), as_json=as_json)
    return code


@commands.command(epilog=examples("pause night", 'pause night --reason "prices go down at midnight"'))
def pause(
    batch: BatchKey,
    *,
    reason: Annotated[str, typer.Option(help="shown to whoever looks at it")] = "by hand",
    as_json: AsJson = False,
) -> None:
    """Send nothing more of a batch. What is in flight is finished; `resume` goes on."""
    from producer import control
    from producer.doors import existing_ledger, read_settings
    from producer.find import find_batch

    with existing_ledger(read_settings()) as ledger:
        found = find_batch(ledger, batch)
        control.pause(ledger, found, reason=reason)
        _show(find_batch(ledger, found.key), now=ledger.database.now(), as_json=as_json)


@commands.command(epilog=examples("resume night"))
def resume(batch: BatchKey, as_json: AsJson = False) -> None:
    """Go on with a paused batch, whatever it was paused for."""
    from producer import control
    from producer.doors import existing_ledger, read_settings
    from producer.find import find_batch

    settings = read_settings()
    with existing_ledger(settings) as ledger:
        found = find_batch(ledger, batch)
        is_sent = control.resume(ledger, settings, found)
        _show(find_batch(ledger, found.key), now=ledger.database.now(), as_json=as_json)
    if not is_sent:
        typer.echo(WORK_BEGINS, err=True)


@commands.command(epilog=examples("cancel night", "cancel night --in-flight"))
def cancel(
    batch: BatchKey,
    *,
    in_flight: Annotated[bool, typer.Option("--in-flight", help="also end what the provider has begun")] = False,
    as_json: AsJson = False,
) -> None:
    """Cancel what is queued of a batch; nothing was paid for it. `retry --canceled` takes it up again."""
    from producer import control
    from producer.doors import existing_ledger, read_settings
    from producer.facts import facts
    from producer.find import find_batch
    from producer.wording import counted

    with existing_ledger(read_settings()) as ledger:
        found = find_batch(ledger, batch)
        canceled = control.cancel(ledger, found, with_flying=in_flight)
        now = ledger.database.now()
        after = find_batch(ledger, found.key)
    if as_json:
        done = {"canceled_now": canceled.queued, "asked_to_end": canceled.in_flight}
        print_json({**facts(after, now=now), **done})
        return
    typer.echo(f"{after.key}: {counted(canceled.queued, 'job')} canceled before anything was paid")
    if canceled.in_flight:
        typer.echo(f"{counted(canceled.in_flight, 'job')} in flight asked to end; a worker sees to it")
