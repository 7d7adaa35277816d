"""What this server was asked, and what it accepted: the provider's side of every proof of `paid once`."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from sandbox.predictions import NS, Look, Prediction
from sandbox.shapes import stamp


class Stats:
    """Counts of calls since the start or the last reset. Operations are those of `faults.OPERATIONS`."""

    def __init__(self) -> None:
        self.arrived: Counter[str] = Counter()  # by operation, whatever became of them
        self.answered: Counter[str] = Counter()  # by operation: handled and answered 2xx
        self.limited: Counter[str] = Counter()  # by operation: refused by a rate bucket
        self.refused_creates: Counter[int] = Counter()  # by status; includes those limited and those by fault
        self.refused_files: Counter[int] = Counter()  # by status
        self.replies_lost = 0  # creates accepted whose caller was not told so
        self.file_bytes = 0  # of pictures that went out whole
        self.files_with_token = 0  # downloads that carried a bearer: a client that gives its token away
        self.webhooks_delivered = 0
        self.webhooks_failed = 0  # attempts, not webhooks

    def to_json(self) -> dict[str, Any]:
        return {
            "creates_refused": _by_name(self.refused_creates),
            "creates_limited": self.limited["create"],
            "calls_limited": self.limited.total() - self.limited["create"],
            "replies_lost": self.replies_lost,
            "gets": self.answered["get"],
            "lists": self.answered["list"],
            "cancels": self.answered["cancel"],
            "versions": self.answered["version"],
            "accounts": self.answered["account"],
            "files": self.answered["file"],
            "file_bytes": self.file_bytes,
            "files_refused": _by_name(self.refused_files),
            "files_with_token": self.files_with_token,
            "webhooks_delivered": self.webhooks_delivered,
            "webhooks_failed": self.webhooks_failed,
            "arrived": _by_name(self.arrived),
        }


class Census:
    """Counts of accepted predictions, kept up as they are made so that asking costs little at any size."""

    def __init__(self, predictions: Iterable[Prediction]) -> None:
        self._accepted: Counter[bytes] = Counter()  # by version and input
        self._per_second: Counter[int] = Counter()
        self._open: list[str] = []
        self._ended: Counter[str] = Counter()
        self._first_ns = self._last_ns = 0
        for prediction in predictions:
            self.add(prediction)

    def add(self, prediction: Prediction) -> None:
        asked = json.dumps([prediction.model, prediction.version, prediction.input], sort_keys=True)
        self._accepted[hashlib.blake2b(asked.encode(), digest_size=16).digest()] += 1
        self._per_second[prediction.created_ns // NS] += 1
        self._open.append(prediction.id)
        self._first_ns = self._first_ns or prediction.created_ns
        self._last_ns = prediction.created_ns

    def to_json(self, look_at: Callable[[str], Look]) -> dict[str, Any]:
        """`look_at` tells the present state of a prediction by its id. One seen ended never changes: it is counted
        for good and not looked at again."""
        running: Counter[str] = Counter()
        looks = [(prediction_id, look_at(prediction_id)) for prediction_id in self._open]
        for _, seen in looks:
            (self._ended if seen.ended else running)[seen.status] += 1
        self._open = [prediction_id for prediction_id, seen in looks if not seen.ended]
        total = self._accepted.total()
        repeated = sum(1 for count in self._accepted.values() if count > 1)
        return {
            "creates_accepted": total,
            "duplicates": total - len(self._accepted),
            "inputs_paid_twice": repeated,
            "accepted_per_input": _by_name(Counter(self._accepted.values())),
            "predictions": _by_name(running + self._ended),
            "first_create": stamp(self._first_ns, 6) if total else None,
            "last_create": stamp(self._last_ns, 6) if total else None,
            "peak_creates_per_second": max(self._per_second.values(), default=0),
        }


def _by_name(counts: Counter[Any]) -> dict[str, int]:
    return {str(key): counts[key] for key in sorted(counts)}
