"""Watching a batch until it is over."""

from __future__ import annotations

from collections.abc import Callable

from imagejobs.clock import Clock
from imagejobs.job import Batch
from imagejobs.ledger import LEDGER_ERRORS, Ledger
from producer.progress import Progress
from producer.vigil import Vigil

LOOK_SECONDS = 0.25  # one small read of the batch's own row


def watch(
    ledger: Ledger,
    batch: Batch,
    *,
    progress: Progress,
    vigil: Vigil,
    clock: Clock,
    meanwhile: Callable[[], None] = lambda: None,
) -> int:
    """Show the batch until the vigil is over; returns its exit code. `meanwhile` is called at every look.

    A ledger that is away for a while is said and waited for: workers do the same.
    """
    is_away = False
    with progress:
        while True:
            meanwhile()
            try:
                batch = ledger.batches.get(batch.key) or batch
            except LEDGER_ERRORS as error:
                if not is_away:
                    progress.say(f"the ledger does not answer ({type(error).__name__}); waiting for it")
                is_away = True
            else:
                is_away = False
                progress.show(batch)
                code = vigil.verdict(batch, now=clock.monotonic())
                if code is not None:
                    return code
            clock.sleep(LOOK_SECONDS)
