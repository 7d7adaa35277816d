"""Who asks: the rows of a run, and somebody at the command line at odd moments."""

from __future__ import annotations

from imagejobs.dispatch import Dispatch
from imagejobs.errors import Complaint, Permanent, Refused, Transient
from imagejobs.job import Batch, Spec
from imagejobs.ledger import LEDGER_ERRORS
from imagejobs.patience import Patience
from imagejobs.queues import BROKER_ERRORS
from producer import control
from tests.simulation.fleet import Fleet
from tests.simulation.world import Choices, Host

VERSION = "somebody/painter:0123456789abcdef"


class User:
    """Somebody at the command line, at odd moments."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._ledger = fleet.ledger

    def does(self, what: str) -> None:
        """One command, in a process of its own that may be killed half-way."""
        fleet = self._fleet
        fleet.expected -= 1
        batches = self._ledger.batches.all()
        batch = batches[fleet.choices.pick("batch", len(batches))]

        def act() -> None:
            try:
                getattr(self, f"_{what}")(batch)
            except (Complaint, Refused, Transient, Permanent, *LEDGER_ERRORS, *BROKER_ERRORS) as error:
                fleet.world.note(f"{what} failed: {type(error).__name__}")

        fleet.world.start(Host(f"u-{what}"), act, at=f"user: {what} {batch.key}")

    def _cancel(self, batch: Batch) -> None:
        control.cancel(self._ledger, batch, with_flying=False)

    def _cancel_flying(self, batch: Batch) -> None:
        control.cancel(self._ledger, batch, with_flying=True)

    def _pause(self, batch: Batch) -> None:
        control.pause(self._ledger, batch, reason="lunch")
        self._fleet.clock.sleep(self._fleet.choices.between("lunch", 0.0, 100.0))
        self._resume(batch)

    def _resume(self, batch: Batch) -> None:
        if self._ledger.batches.resume(batch.id):
            self._feed()

    def _retry(self, batch: Batch) -> None:
        fleet = self._fleet
        plan = control.plan_retry(self._ledger, batch, with_canceled=fleet.choices.chance("canceled too", 0.5))
        patience = Patience(fleet.clock.sleep)
        control.requeue(self._ledger, fleet.store, plan, max_tries=fleet.settings.max_tries, patience=patience)
        self._feed()

    def _second_batch(self, _: Batch) -> None:
        fleet = self._fleet
        fleet.add_batch("second", specs("second", fleet.choices))
        self._feed()

    def _feed(self) -> None:
        fleet = self._fleet
        dispatch = Dispatch(self._ledger, fleet.broker, account=fleet.settings.account_name)  # type: ignore[arg-type]
        dispatch.feed(creates_per_minute=fleet.settings.creates_per_minute, now=self._ledger.database.now())


def specs(batch: str, choices: Choices) -> list[Spec]:
    """A handful of rows, some with several outputs, at times with twins among them."""
    has_twins = choices.chance("twins", 0.2)
    rows = []
    for number in range(1, 3 + choices.pick("rows", 10)):
        outputs = 1 + choices.pick("outputs", 3) if choices.chance("several", 0.2) else 1
        seed = number // 2 if has_twins else number
        given = {"prompt": "a lighthouse", "seed": seed, "num_outputs": 1 if has_twins else outputs}
        given["prompt"] += "" if has_twins else f" {batch}"
        row = Spec(id=f"{batch}-{number}", line=number, version=VERSION, input=given, outputs=given["num_outputs"])
        rows.append(row)
    return rows
