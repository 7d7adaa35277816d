"""What runs for a while: run, worker, sandbox."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from producer.commands.asking import AsJson, examples, print_json, verbs

if TYPE_CHECKING:
    from producer.runner import Ending

commands = verbs()
Processes = Annotated[int, typer.Option("--processes", "-p", min=1, max=64, help="worker processes to start")]


@commands.command(
    epilog=examples("run specs.jsonl", "run examples/night.jsonl --sandbox", "run specs.csv --batch night --json")
)
def run(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="rows: .jsonl, .csv, .parquet", show_default=False)],
    *,
    batch: Annotated[str | None, typer.Option(metavar="KEY", help="the batch's key (default: from the file)")] = None,
    version: Annotated[str | None, typer.Option(help="model version of rows that name none")] = None,
    sandbox: Annotated[bool, typer.Option("--sandbox", help="use the stand-in provider: no token, no cost")] = False,
    processes: Processes = 1,
    weight: Annotated[float, typer.Option(min=0.01, help="share beside other batches")] = 1.0,
    priority: Annotated[int, typer.Option(help="higher goes first")] = 0,
    unchecked: Annotated[bool, typer.Option("--unchecked", help="accept models without a schema")] = False,
    patience: Annotated[str, typer.Option(metavar="SPAN", help="how long to wait for a pause to end")] = "8h",
    as_json: AsJson = False,
) -> int:
    """Do it all: check, record, work, watch, report.

    Starts what is not configured (server, worker), and stops it at the end. The same file again goes on where it was,
    or finds that all is done and pays for nothing.

    Exit code: 0 all succeeded, 3 some failed, 4 paused, 2 bad input (nothing was spent), 130 interrupted.
    """
    from imagejobs.clock import SystemClock
    from producer import screen
    from producer.doors import read_settings
    from producer.progress import progress
    from producer.runner import Errand
    from producer.runner import run as run_errand
    from producer.wording import read_span

    errand = Errand(
        file=file,
        key=batch,
        is_demo=sandbox,
        processes=processes,
        patience_seconds=read_span(patience),
        weight=weight,
        priority=priority,
    )
    settings = read_settings(IMAGEJOBS_VERSION=version, IMAGEJOBS_UNCHECKED="1" if unchecked else None)
    _hear_all_stops()
    clock = SystemClock()
    ending = run_errand(errand, settings, progress=progress(screen.err(), clock), clock=clock)
    _report(ending, now=clock.now(), as_json=as_json)
    return ending.code


def _report(ending: Ending, *, now: float, as_json: bool) -> None:
    from producer import screen
    from producer.facts import INTERRUPTED, facts
    from producer.progress import sentence

    batch = ending.batch
    if ending.code == INTERRUPTED:
        goes_on = "the same command goes on from here, and within the hour no output is lost"
        typer.echo(f"interrupted: {sentence(batch)}; {goes_on}", err=True)
    elif ending.was_complete:
        images = f"{batch.images} images"
        typer.echo(f"{batch.key} was complete already: {images}, 0 creates sent by this run", err=True)
    if as_json:
        print_json(facts(batch, now=now))
    elif ending.code != INTERRUPTED:
        screen.out().print(
            screen.summary(batch, creates_before=ending.creates_before, took_seconds=ending.took_seconds)
        )


@commands.command(epilog=examples("worker", "worker --processes 4"))
def worker(processes: Processes = 1) -> int:
    """Work until told to stop: submit, poll and store what is queued.

    With REDIS_URL set it joins a fleet; without, it starts the home folder's own server, or waits for its turn where
    somebody else works already. Ends on SIGTERM or Ctrl-C, within half a minute.
    """
    from producer.doors import check_provider_settings, read_settings
    from producer.embedded import worker_command, worker_environment

    settings = read_settings()
    check_provider_settings(settings)
    if settings.redis_url is not None and processes == 1:
        # Become it: nobody stands between the worker and whoever supervises this process.
        command = worker_command()
        os.execve(command[0], command, worker_environment(settings))  # noqa: S606 - a fixed argument list, no shell
    from imagejobs.clock import SystemClock
    from producer.home import Home
    from producer.serve import serve

    _hear_all_stops()
    serve(settings, Home(settings.home).make(), processes=processes, say=_say, clock=SystemClock())
    return 0


@commands.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
    epilog=examples("sandbox --port 8600"),
)
def sandbox(context: typer.Context) -> None:
    """Run the stand-in provider alone.

    Its options are its own: `imagejobs sandbox --help` shows them.
    """
    command = [sys.executable, "-P", "-m", "sandbox", *context.args]
    os.execv(command[0], command)  # noqa: S606 - a fixed program, no shell


@commands.command(epilog=examples("webhooks", "webhooks --host 0.0.0.0 --port 8700"))
def webhooks(
    *,
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="port to listen on")] = 8700,
) -> None:
    """Receive what the provider tells of predictions: what was lost is known sooner, what is finished is copied sooner.

    Plain HTTP, for something in front that ends TLS. IMAGEJOBS_WEBHOOK_URL is where the provider reaches it. Polling
    goes on beside it: nothing depends on webhooks.
    """
    from imagejobs.errors import BadSetting
    from producer.doors import check_provider_settings, read_settings
    from producer.embedded import webhooks_command, worker_environment

    settings = read_settings()
    check_provider_settings(settings)
    if settings.redis_url is None:
        raise BadSetting("webhooks belong to a fleet: set REDIS_URL, as for its workers")
    command = webhooks_command(host=host, port=port)
    os.execve(command[0], command, worker_environment(settings))  # noqa: S606 - a fixed argument list, no shell


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _hear_all_stops() -> None:
    """A polite end for whoever asks for one: a supervisor's SIGTERM and a closed terminal end it like Ctrl-C."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)


@commands.command(
    epilog=examples("allowance", "allowance --creates-per-minute 300", "allowance --creates-per-minute -1")
)
def allowance(
    *,
    creates_per_minute: Annotated[
        float | None, typer.Option(min=-1, help="0: unlimited, -1: back to the setting")
    ] = None,
    calls_per_minute: Annotated[
        float | None, typer.Option(min=-1, help="of all other calls; 0: unlimited, -1: back to the setting")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show or change what a running fleet may send, at once and without a restart."""
    from imagejobs.errors import BadSetting
    from producer.allowance import change
    from producer.doors import reachable_broker, read_settings

    settings = read_settings()
    wanted = {"creates": creates_per_minute, "calls": calls_per_minute}
    changes = {name: None if rate == -1 else rate for name, rate in wanted.items() if rate is not None}
    with reachable_broker(settings, account=settings.account_name) as broker:
        if broker is None:
            raise BadSetting("nothing runs here: set REDIS_URL, or start a worker first")
        in_force = change(broker, settings, changes)
    if as_json:
        print_json(
            {"account": settings.account_name, **{f"{name}_per_minute": rate for name, rate in in_force.items()}}
        )
    else:
        for name, rate in in_force.items():
            typer.echo(f"{name}: {rate:g} a minute" if rate else f"{name}: unlimited")
