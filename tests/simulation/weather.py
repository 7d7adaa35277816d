"""What goes wrong in a run, and how often: drawn from the seed, so that each run has troubles of its own.

Most seeds have some kinds of fault and not the others ("swarm testing"): a run in which everything fails at once
hides what one fault alone would do to the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.simulation.world import Choices

# Probabilities: of the process's faults at each door that a fiber passes, of all others at each call.
WORST = {
    "crash": 0.01,
    "freeze": 0.006,
    "freeze_post": 0.15,  # between the look at the clock and the POST's leaving
    "freeze_copy": 0.05,  # while it copies
    "message_lost": 0.15,
    "message_doubled": 0.25,
    "message_delayed": 0.15,
    "message_disordered": 0.3,
    "redis_away": 0.04,
    "ledger_away": 0.01,
    "commit_unheard": 0.01,  # the commit was made, and its confirmation lost
    "create_refused": 0.1,
    "create_lost": 0.15,
    "create_5xx": 0.08,
    "create_429": 0.1,
    "create_slow": 0.15,
    "create_invalid": 0.05,
    "prediction_fails": 0.2,
    "prediction_aborts": 0.08,
    "prediction_slow": 0.1,
    "list_fails": 0.15,
    "list_slow": 0.2,
    "list_lags": 0.3,  # for longer than promised
    "look_fails": 0.2,
    "webhook_lost": 0.3,
    "webhook_doubled": 0.3,
    "webhook_late": 0.3,
    "download_fails": 0.15,
    "download_cut": 0.15,
    "output_gone": 0.1,
    "store_fails": 0.15,
    "store_unheard": 0.05,  # written, and the confirmation lost
    "store_slow": 0.1,
}
# How many of these may happen in a run.
MOST = {"flush": 2, "forgery": 6, "false_402": 1, "store_refuses": 1, "cancel": 1, "cancel_flying": 1, "pause": 2}
MOST |= {"retry": 3, "second_batch": 1}


@dataclass
class Weather:
    """The faults of one run; `is_calm` ends them."""

    choices: Choices
    odds: dict[str, float]
    events: dict[str, int]
    is_calm: bool = False
    hits: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, choices: Choices) -> Weather:
        """Some kinds of fault, each at some strength."""
        share = choices.between("share", 0.0, 0.6)
        odds = {
            name: worst * choices.between(name, 0.1, 1.0)
            for name, worst in WORST.items()
            if choices.chance(name, share)
        }
        events = {name: choices.pick(name, most + 1) for name, most in MOST.items() if choices.chance(name, share)}
        return cls(choices, odds, {name: count for name, count in events.items() if count})

    def strikes(self, name: str) -> bool:
        """Whether this happens here and now."""
        if self.is_calm or not self.choices.chance(name, self.odds.get(name, 0.0)):
            return False
        self.hits[name] = self.hits.get(name, 0) + 1
        return True
