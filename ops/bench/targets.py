"""What this system must reach, as ratios and counts that hold on any machine, and the commands that measure it."""

from __future__ import annotations

from dataclasses import dataclass

from ops.bench.findings import (
    BULK,
    OURS,
    Finding,
    Values,
    both,
    growth_with_workers,
    lossless,
    named,
    queues,
    rates_to_submit,
    sheet,
    steady,
    table,
    to,
    yardstick,
)
from ops.bench.scenarios import ALL_SIZES

SAFE = (OURS, "imagejobs-postgres-2")
RUN = "python -m ops.bench"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One line: a value between the bounds is reached."""

    what: str
    command: str
    values: Finding
    at_least: float | None = None
    at_most: float | None = None

    @property
    def bound(self) -> str:
        """As one writes it."""
        if self.at_most == 0:
            return "0"
        bounds = (("≥", self.at_least), ("≤", self.at_most))
        return ", ".join(f"{sign} {value:g}" for sign, value in bounds if value is not None)

    def verdict(self, values: Values) -> str:
        """One that fails decides; without one, whatever is missing is said."""
        known = [value for value in values.values() if value is not None]
        if not known:
            return "not measured"
        if not all(map(self._is_reached, known)):
            return "**not reached**"
        return "reached" if len(known) == len(values) else "reached where measured"

    def _is_reached(self, value: float) -> bool:
        is_enough = self.at_least is None or value >= self.at_least
        return is_enough and (self.at_most is None or value <= self.at_most)


_LONG = f"{RUN} table --scenario S2-long"
_S4 = f"{RUN} table --scenario S4"
TARGETS: tuple[Target, ...] = (
    Target(what="allowance used, S2, by workers", command=_LONG, values=steady("allowance_used"), at_least=0.99),
    Target(what="429s, S2", command=_LONG, values=steady("replies_429"), at_most=0),
    Target(what="allowance used, S4", command=_S4, values=table("S4", "allowance_used", ALL_SIZES), at_least=0.99),
    Target(what="429s, S4", command=_S4, values=table("S4", "replies_429", ALL_SIZES), at_most=0),
    Target(
        what="allowance used from ten seconds after a change of the limit",
        command=f"{RUN} changes",
        values=sheet("changes", "allowance_used_from_ten_seconds_on"),
        at_least=0.95,
    ),
    Target(what="other calls an image, S2", command=_LONG, values=steady("other_calls_per_image"), at_most=0.2),
    Target(
        what="other calls an image, S4",
        command=_S4,
        values=table("S4", "other_calls_per_image", ALL_SIZES),
        at_most=0.2,
    ),
    Target(
        what="other calls an image, cold starts of minutes",
        command=f"{RUN} table --scenario S4-cold",
        values=table("S4-cold", "other_calls_per_image"),
        at_most=0.4,
    ),
    Target(
        what="other calls an image: the most workers to one",
        command=_LONG,
        values=both(growth_with_workers("S2"), growth_with_workers("S4")),
        at_most=1.1,
    ),
    Target(
        what="finished → safe, S4, median s", command=_S4, values=table("S4", "safe_after_median_s", SAFE), at_most=2
    ),
    Target(what="finished → safe, S4, p99 s", command=_S4, values=table("S4", "safe_after_p99_s", SAFE), at_most=6),
    Target(
        what="a minute without the store: caught up after s",
        command=f"{RUN} outage",
        values=sheet("outage", "caught_up_after_s"),
        at_most=60,
    ),
    Target(
        what="CPU an image, to the asyncio script",
        command=f"{RUN} table",
        values=both(*(to(name, "cpu_ms_per_image", yardstick, max) for name in ("S1", "S2"))),
        at_most=1.8,
    ),
    Target(
        what="CPU an image, to the best queue",
        command=f"{RUN} table",
        values=both(*(to(name, "cpu_ms_per_image", queues, max) for name in ("S1", "S2"))),
        at_most=1.0,
    ),
    Target(
        what="images a second, two workers, to the asyncio script",
        command=f"{RUN} table",
        values=to("S1", "images_per_second", yardstick, min),
        at_least=1.0,
    ),
    Target(
        what="images a second, two workers, to the best queue that loses nothing in S3",
        command=f"{RUN} table",
        values=to("S1", "images_per_second", lossless, min),
        at_least=1.5,
    ),
    Target(
        what="memory of the largest worker, MB",
        command=f"{RUN} table",
        values=both(
            named("S1", "lasting_process_pss_mb"),
            named("S2", "lasting_process_pss_mb"),
        ),
        at_most=100,
    ),
    Target(
        what="growth of one process over 15,000 images, MB (a look is exact to about one)",
        command=f"{RUN} table --scenario S1-long --rounds 1",
        values=table("S1-long", "process_pss_growth_mb"),
        at_most=2,
    ),
    Target(what="S3: lost", command=f"{RUN} table --scenario S3", values=table("S3", "lost", SAFE), at_most=0),
    Target(
        what="S3: paid twice", command=f"{RUN} table --scenario S3", values=table("S3", "paid_twice", SAFE), at_most=0
    ),
    Target(
        what="submit, rows a second to naive Celery's `.delay`",
        command=f"{RUN} million",
        values=sheet("million", "submit_to_celery_delay"),
        at_least=15,
    ),
    Target(
        what="submit, peak memory MB",
        command=f"{RUN} million",
        values=sheet("million", "submit_peak_mb"),
        at_most=250,
    ),
    Target(
        what="Redis memory after a submit, MB",
        command=f"{RUN} million",
        values=sheet("million", "redis_memory_after_submit_mb"),
        at_most=20,
    ),
    Target(
        what="status, feed turn, claim, transition: with a million finished and queued to a thousand",
        command=f"{RUN} million",
        values=sheet(
            "million", *(f"{name}_ms_to_1000_rows" for name in ("status", "feed_turn", "claim", "transition"))
        ),
        at_most=1.5,
    ),
    Target(
        what="export, failures, retry, cancel: rows a second to submit's",
        command=f"{RUN} million",
        values=rates_to_submit,
        at_least=1,
    ),
    Target(
        what="export, failures, retry, cancel: peak memory MB",
        command=f"{RUN} million",
        values=sheet("million", *(f"{name}_peak_mb" for name in BULK)),
        at_most=250,
    ),
    Target(
        what="a batch of one row beside a large one: seconds to its POST",
        command=f"{RUN} fairness --beside 1000000",
        values=sheet("fairness", "one_row_command_to_post_median_s"),
        at_most=2,
    ),
    Target(
        what="ten batches: largest deviation of a share from its weight",
        command=f"{RUN} fairness",
        values=sheet("fairness", "largest_deviation_from_weight"),
        at_most=0.1,
    ),
    Target(
        what="`imagejobs --help` to `import typer`",
        command=f"{RUN} idle",
        values=sheet("idle", "help_to_import_typer"),
        at_most=1.5,
    ),
    Target(
        what="worker start to first claim, s",
        command=f"{RUN} idle",
        values=sheet("idle", "worker_start_to_claim_seconds"),
        at_most=2,
    ),
    Target(
        what="idle worker: percent of a core",
        command=f"{RUN} idle",
        values=sheet("idle", "idle_cpu_percent_of_a_core"),
        at_most=0.5,
    ),
    Target(
        what="idle worker: Redis commands a second",
        command=f"{RUN} idle",
        values=sheet("idle", "idle_redis_commands_per_second"),
        at_most=3,
    ),
    Target(
        what="idle worker: database statements a second",
        command=f"{RUN} idle",
        values=sheet("idle", "idle_database_statements_per_second"),
        at_most=2,
    ),
)
