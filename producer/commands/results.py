"""What came of a batch: export, verify; and how the doors are: doctor."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from producer.commands.asking import AsJson, BatchKey, examples, print_json, verbs

commands = verbs()
FLAWED = 3  # verify found images missing or wrong


@commands.command(
    epilog=examples("export night --format csv --to night.csv", "export night | jq .uri", "export night --folder out/")
)
def export(
    batch: BatchKey,
    *,
    form: Annotated[Literal["jsonl", "parquet", "csv"], typer.Option("--format", help="of the table")] = "jsonl",
    to: Annotated[Path | None, typer.Option("--to", metavar="FILE", help="default: standard output")] = None,
    folder: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="copy the images too, as Hugging Face's ImageFolder")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a batch's table, one row an image.

    Finished or not: what is stored by now. With --folder the images are copied too.
    """
    from imagejobs.errors import Complaint
    from producer.doors import existing_ledger, open_store_of, read_settings
    from producer.export import export as export_table
    from producer.export import export_imagefolder
    from producer.find import find_batch
    from producer.wording import counted

    if folder is not None and to is not None:
        raise Complaint("either --to or --folder")
    if as_json and to is None and folder is None:
        raise Complaint("--json says what was written, and --to or --folder where: one of them is missing")
    with existing_ledger(read_settings()) as ledger:
        found = find_batch(ledger, batch)
        if folder is not None:
            with open_store_of(found.store) as store:
                written = export_imagefolder(ledger, store, found, folder)
        else:
            written = export_table(ledger, found, to or sys.stdout.buffer, form=form)
    place = str(folder or to or "standard output")
    if as_json:
        print_json({"batch": found.key, "images": written, "to": place})
    else:
        typer.echo(f"{found.key}: {counted(written, 'image')} to {place}", err=True)


@commands.command(epilog=examples("verify night", "verify night --mend", "verify night --deep --rows again.jsonl"))
def verify(
    batch: BatchKey,
    *,
    deep: Annotated[bool, typer.Option("--deep", help="read and decode every image")] = False,
    mend: Annotated[
        bool, typer.Option("--mend", help="put back what the provider still keeps: within its hour, for free")
    ] = False,
    rows: Annotated[
        Path | None, typer.Option(metavar="FILE", help="write the rows of what is missing or wrong, to submit again")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Look at every stored image again.

    Is it there, and still what was stored? What --mend puts back has the very bytes that were stored first.

    Exit code: 0 every image is sound, 3 some are missing or wrong.
    """
    from producer.doors import existing_ledger, open_store_of, read_settings
    from producer.find import find_batch
    from producer.mend import open_mender
    from producer.verify import verify as verify_batch
    from producer.verify import write_rows

    settings = read_settings()
    with existing_ledger(settings) as ledger:
        found = find_batch(ledger, batch)
        with open_store_of(found.store) as store:
            result = verify_batch(ledger, store, found, deep=deep)
            if mend and not result.is_sound:
                with open_mender(settings, found) as mender:
                    result = mender.mend(ledger, store, found, result)
        if rows is not None:
            with rows.open("wb") as file:
                write_rows(ledger, found, result, file)
    if as_json:
        facts = {"batch": found.key, "checked": result.checked, "sound": result.is_sound, "mended": len(result.mended)}
        print_json({**facts, "flaws": [asdict(flaw) for flaw in result.flaws]})
    else:
        mended = f", {len(result.mended)} put back" if mend else ""
        typer.echo(f"{found.key}: {result.checked} images looked at{mended}, {len(result.flaws)} missing or wrong")
        for flaw in result.flaws:
            typer.echo(f"  {flaw.id}-{flaw.index} {flaw.problem}")
        typer.echo("" if result.is_sound else result.advice)
    return 0 if result.is_sound else FLAWED


@commands.command(epilog=examples("doctor", "doctor --json"))
def doctor(as_json: AsJson = False) -> int:
    """Look at every door, and say what to mend.

    Redis, ledger, store, provider, clocks. Spends nothing, leaves nothing behind.

    Exit code: 0 all doors open, 2 something must be mended.
    """
    from producer import screen
    from producer.checkup import examine
    from producer.doors import read_settings

    findings = list(examine(read_settings()))
    is_well = all(finding.verdict != "bad" for finding in findings)
    if as_json:
        print_json({"ok": is_well, "findings": [asdict(finding) for finding in findings]})
    else:
        screen.out().print(screen.findings_table(findings))
    return 0 if is_well else 2
