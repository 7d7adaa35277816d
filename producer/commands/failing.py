"""What went wrong, and trying it again: failures, retry."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imagejobs.errors import Cause, Complaint
from producer.commands.asking import WORK_BEGINS, AsJson, BatchKey, examples, print_json, verbs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imagejobs.job import Batch, FailureGroup
    from imagejobs.ledger import Ledger
    from producer.control import Retried, RetryPlan

commands = verbs()


@commands.command(epilog=examples("failures night", "failures night --json", "failures night --id r7"))
def failures(
    batch: BatchKey,
    *,
    row: Annotated[str | None, typer.Option("--id", metavar="ID", help="every attempt of this row instead")] = None,
    as_json: AsJson = False,
) -> None:
    """Say what failed and why.

    By cause: how many, what the provider said, what a retry would do, and the command for just those.
    """
    from imagejobs.job import Selection
    from producer import screen
    from producer.doors import existing_ledger, read_settings
    from producer.find import find_batch

    with existing_ledger(read_settings()) as ledger:
        found = find_batch(ledger, batch)
        if row is not None:
            _show_attempts(ledger, found, row, as_json=as_json)
            return
        groups = ledger.steering.groups(found.id, Selection(), now=ledger.database.now())
    if as_json:
        print_json({"batch": found.key, "failures": _facts(found, groups)})
    else:
        screen.out().print(screen.failures_view(found, groups))


def _show_attempts(ledger: Ledger, batch: Batch, row: str, *, as_json: bool) -> None:
    from producer import lineage, screen

    attempts = lineage.attempts_of(ledger, batch, row)
    if as_json:
        print_json({"batch": batch.key, "id": row, "attempts": attempts})
    else:
        screen.out().print(lineage.view(batch, row, attempts))


def _facts(batch: Batch, groups: Sequence[FailureGroup]) -> list[dict[str, Any]]:
    from producer.screen import retry_command

    return [
        {
            "cause": group.cause,
            "text": group.error_key,
            "count": group.count,
            "copyable": group.copyable,
            "sample_id": group.sample_id,
            "sample": group.sample_error,
            "advice": Cause(group.cause).retry_advice,
            "command": retry_command(batch, group.cause),
        }
        for group in groups
    ]


@commands.command(
    epilog=examples("retry night", "retry night --cause transient --yes", "retry night --id r7 --id r9 --dry-run")
)
def retry(
    batch: BatchKey,
    *,
    cause: Annotated[
        list[Cause] | None,
        typer.Option(metavar="CAUSE", help=f"only what failed for this ({', '.join(Cause)}); may be repeated"),
    ] = None,
    row: Annotated[list[str] | None, typer.Option("--id", metavar="ID", help="only this row; may be repeated")] = None,
    older_than: Annotated[str | None, typer.Option(metavar="SPAN", help="only what failed longer ago: 30m, 8h")] = None,
    canceled: Annotated[bool, typer.Option("--canceled", help="the canceled ones too")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only show what would be done")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask")] = False,
    as_json: AsJson = False,
) -> None:
    """Try failed jobs again, after showing which and at what cost.

    What is still at the provider is copied again, for free; the rest is generated again, and paid. What fails after
    the list was shown is not touched.
    """
    from producer import control
    from producer.doors import existing_ledger, read_settings
    from producer.find import find_batch
    from producer.wording import read_span

    settings = read_settings()
    with existing_ledger(settings) as ledger:
        found = find_batch(ledger, batch)
        plan = control.plan_retry(
            ledger,
            found,
            causes=cause or (),
            ids=row or (),
            older_than_seconds=read_span(older_than) if older_than else 0.0,
            with_canceled=canceled,
        )
        is_wanted = plan.count > 0 and not dry_run and _agreed(plan, yes=yes)
        done = control.retry(ledger, settings, plan) if is_wanted else None
    _report(plan, done, as_json=as_json)


def _agreed(plan: RetryPlan, *, yes: bool) -> bool:
    """Shows the plan on standard error and asks, unless told not to. Raises Complaint where nobody can be asked."""
    from producer import screen

    if yes:
        return True
    if not sys.stdin.isatty():
        raise Complaint(f"{_cost(plan)}: add --yes to do it, or --dry-run to see it")
    screen.err().print(screen.plan_view(plan.batch, plan.groups))
    return typer.confirm(f"{_cost(plan)}. Do it?", err=True)


def _cost(plan: RetryPlan) -> str:
    from producer.wording import counted

    return f"{counted(plan.count, 'job')}: {plan.free} copied again for free, {plan.paid} generated again and paid"


def _report(plan: RetryPlan, done: Retried | None, *, as_json: bool) -> None:
    if as_json:
        planned = {"count": plan.count, "free": plan.free, "paid": plan.paid}
        counts = {"copied_again": done.copied if done else 0, "generated_again": done.generated if done else 0}
        print_json({"batch": plan.batch.key, **planned, **counts, "groups": _facts(plan.batch, plan.groups)})
    elif not plan.count:
        typer.echo(f"{plan.batch.key}: nothing to retry")
    elif done is None:
        typer.echo(f"{_cost(plan)}; nothing was done")
    else:
        begins = "" if done.is_sent else f"; {WORK_BEGINS}"
        typer.echo(f"{plan.batch.key}: {done.copied} copied again for free, {done.generated} generated again{begins}")
