"""What the commands ask for alike: arguments, options, examples, and how facts are printed."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer


def _keys(incomplete: str) -> list[str]:
    """For the shell's completion, which must never show an error."""
    from imagejobs.errors import Complaint
    from producer.doors import existing_ledger, read_settings

    try:
        with existing_ledger(read_settings()) as ledger:
            return [batch.key for batch in ledger.batches.all() if batch.key.startswith(incomplete)]
    except Complaint:
        return []


BatchKey = Annotated[
    str, typer.Argument(metavar="BATCH", help="the batch's key, or its beginning", autocompletion=_keys)
]
WORK_BEGINS = "work begins when a worker runs: imagejobs worker, or imagejobs run with the same file"
AsJson = Annotated[bool, typer.Option("--json", help="print facts as JSON on standard output")]


def examples(*lines: str) -> str:
    """Shown under a command's help as they stand."""
    return "\b\nexample:\n" + "\n".join(f"  imagejobs {line}" for line in lines)


def print_json(facts: Any) -> None:
    """Facts for scripts: one JSON document."""
    typer.echo(json.dumps(facts, ensure_ascii=False, indent=2))


def verbs() -> typer.Typer:
    """A group of commands, to be added to the one command line."""
    return typer.Typer(rich_markup_mode=None)
