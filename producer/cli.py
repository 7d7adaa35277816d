"""The `imagejobs` command: its verbs, and how it ends.

Exit codes are a contract with scripts: 0 all succeeded · 1 internal error · 2 bad usage or input, nothing was spent ·
3 finished with failures · 4 paused · 130 interrupted, work goes on later.
"""

from __future__ import annotations

import os
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from imagejobs.errors import Complaint
from producer.commands import batches, failing, results, running
from producer.commands.asking import examples

INTERNAL_ERROR, INTERRUPTED = 1, 130

app = typer.Typer(
    name="imagejobs",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples("run examples/night.jsonl --sandbox", "status", "failures night-3f2a91c0"),
)
for group in (running, batches, failing, results):
    app.add_typer(group.commands)


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        from importlib.metadata import version

        typer.echo(f"imagejobs {version('imagejobs')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def imagejobs(
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="print the version")
    ] = False,
) -> None:
    """A file of image specs becomes a bucket of verified images: every spec paid once, every failure explained."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> NoReturn:
    """Run the command line and end the process."""
    try:
        code = app(prog_name="imagejobs", standalone_mode=False)
        sys.stdout.flush()
    except Complaint as complaint:
        code = complaint.exit_code
        _tell(str(complaint))
    except TyperException as usage:
        code = usage.exit_code
        _tell(f"{usage.format_message()} ({_help_for(usage)})")
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except BrokenPipeError:
        code = INTERNAL_ERROR
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has gone; so do we, quietly
    except Exception as error:  # noqa: BLE001 - the outermost wall: nobody above could say it better
        code = INTERNAL_ERROR
        _tell(_confess(error))
    sys.exit(code or 0)


def _tell(text: str) -> None:
    typer.echo(f"imagejobs: {text}", err=True)


def _help_for(usage: TyperException) -> str:
    context = getattr(usage, "ctx", None)
    return f"see: {context.command_path if context else 'imagejobs'} --help"


def _confess(error: Exception) -> str:
    """One line about an error of ours, or a ledger that went away, and where its traceback is for whoever mends it."""
    first = (str(error).splitlines() or [""])[0][:300]
    line = f"{type(error).__name__}: {first}"
    if os.environ.get("IMAGEJOBS_DEBUG"):
        return f"{line}\n{traceback.format_exc()}"
    log = Path(os.environ.get("IMAGEJOBS_HOME") or "imagejobs-data") / "logs" / "errors.log"
    try:
        with log.open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now(UTC).isoformat()} {' '.join(sys.argv[1:2])}\n{traceback.format_exc()}\n")
    except OSError:
        return f"{line} (IMAGEJOBS_DEBUG=1 shows where)"
    return f"{line} (its traceback is in {log})"
