"""Everything beside the table that has a section on the page, in the page's order: a line each."""

from __future__ import annotations

from ops.bench import anatomy, changes, crowd, doors, fairness, idle, million, outage
from ops.bench.verbs import Measurement

MEASUREMENTS: tuple[Measurement, ...] = (
    million.MEASUREMENT,
    changes.MEASUREMENT,
    fairness.MEASUREMENT,
    crowd.MEASUREMENT,
    outage.MEASUREMENT,
    idle.MEASUREMENT,
    anatomy.MEASUREMENT,
    doors.MEASUREMENT,
)
