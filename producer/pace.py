"""How fast a batch moves just now, from what was seen of it in the last minute."""

from __future__ import annotations

from collections import deque

WINDOW_SECONDS = 60.0
LEAST_SECONDS = 3.0  # a rate over less than that is noise


class Pace:
    """Counts seen at moments. Times are of a steady clock."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def saw(self, done: int, *, at: float) -> None:
        """So many were done at that moment. The measure starts with the first one, and anew when the count falls."""
        if not done or (self._seen and done < self._seen[-1][1]):
            self._seen.clear()
        self._seen.append((at, done))
        while len(self._seen) > 2 and self._seen[1][0] <= at - WINDOW_SECONDS:
            self._seen.popleft()

    @property
    def per_second(self) -> float | None:
        """None while too little was seen."""
        if not self._seen:
            return None
        (first_at, first), (last_at, last) = self._seen[0], self._seen[-1]
        return (last - first) / (last_at - first_at) if last_at - first_at >= LEAST_SECONDS else None

    def seconds_for(self, rest: int) -> float | None:
        """How long `rest` more take at this pace; None when it cannot be told."""
        return rest / self.per_second if self.per_second else None
