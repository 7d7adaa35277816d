"""Everything beside the table that has a section on the page, in the page's order: a line each."""

from __future__ import annotations

from ops.bench import changes, idle, million
from ops.bench.verbs import Measurement

MEASUREMENTS: tuple[Measurement, ...] = (
    million.MEASUREMENT,
    idle.MEASUREMENT,
    changes.MEASUREMENT,
)
