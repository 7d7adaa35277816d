"""Every prediction of the account, in the order made, and the journal that brings them back after a restart."""

from __future__ import annotations

import json
from bisect import bisect_left
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

from sandbox.predictions import Prediction


class Store:
    """Predictions in memory, each create and cancel appended to the journal before anybody is told of it.

    The journal is flushed to the system, not to the disk: it survives this process, not a power cut. Half a line at
    its end (a kill in mid-write) belongs to a create nobody was told of, and is dropped.
    """

    def __init__(self, journal: Path | None = None) -> None:
        self._predictions: list[Prediction] = []
        self._created_ns: list[int] = []
        self._positions: dict[str, int] = {}
        self._file_keys: dict[str, str] = {}
        self._path = journal
        self._journal: TextIO | None = None
        if journal is not None:
            self._replay(journal)
            self._journal = journal.open("a", encoding="utf-8")

    def __len__(self) -> int:
        return len(self._predictions)

    def all(self) -> list[Prediction]:
        """Oldest first."""
        return list(self._predictions)

    def add(self, prediction: Prediction) -> None:
        """Its `created_ns` must be later than that of every earlier one: `next_ns` gives such a time."""
        self._write({"create": prediction.to_json()})
        self._keep(prediction)

    def cancel(self, prediction: Prediction, at_ns: int) -> Prediction:
        """The record with the first cancel in it; a second cancel changes nothing."""
        if prediction.canceled_ns is not None:
            return prediction
        self._write({"cancel": prediction.id, "at_ns": at_ns})
        return self._mark_canceled(prediction.id, at_ns)

    def get(self, prediction_id: str) -> Prediction | None:
        position = self._positions.get(prediction_id)
        return None if position is None else self._predictions[position]

    def by_file_key(self, file_key: str) -> Prediction | None:
        return self.get(self._file_keys.get(file_key, ""))

    def next_ns(self, now_ns: int) -> int:
        """A creation time that no other prediction has, even where the clock stands still or goes back."""
        return max(now_ns, self._created_ns[-1] + 1) if self._created_ns else now_ns

    def position_at(self, created_ns: int) -> int:
        """How many predictions were created before this time: positions never change, so they serve as cursors."""
        return bisect_left(self._created_ns, created_ns)

    def slice(self, start: int, stop: int) -> list[Prediction]:
        """Newest first, positions `start` to `stop` - 1."""
        return self._predictions[start:stop][::-1]

    def clear(self) -> None:
        """Forgets everything, journal included."""
        for kept in (self._predictions, self._created_ns, self._positions, self._file_keys):
            kept.clear()
        if self._journal is not None:
            self._journal.truncate(0)

    def close(self) -> None:
        if self._journal is not None:
            self._journal.close()

    def _keep(self, prediction: Prediction) -> None:
        self._positions[prediction.id] = len(self._predictions)
        self._file_keys[prediction.file_key] = prediction.id
        self._predictions.append(prediction)
        self._created_ns.append(prediction.created_ns)

    def _mark_canceled(self, prediction_id: str, at_ns: int) -> Prediction:
        position = self._positions[prediction_id]
        self._predictions[position] = replace(self._predictions[position], canceled_ns=at_ns)
        return self._predictions[position]

    def _write(self, entry: dict[str, Any]) -> None:
        if self._journal is not None:
            self._journal.write(json.dumps(entry, ensure_ascii=False, separators=(",", ":")) + "\n")
            self._journal.flush()

    def _replay(self, journal: Path) -> None:
        if not journal.exists():
            return
        text = journal.read_bytes()
        whole = text[: text.rfind(b"\n") + 1]
        if len(whole) < len(text):
            journal.write_bytes(whole)
        for line in whole.splitlines():
            entry = json.loads(line)
            if "create" in entry:
                self._keep(Prediction.from_json(entry["create"]))
            else:
                self._mark_canceled(entry["cancel"], entry["at_ns"])
