"""How figures and other people's texts are shown, and how spans and moments are read."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from imagejobs.errors import Complaint

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd])")


def printable(text: str) -> str:
    """The text without anything that steers a terminal: it may be a provider's, and the provider is not trusted."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def spoken(seconds: float) -> str:
    """A span for people: `45 s`, `12 min`, `3 h 05 min`."""
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def read_span(text: str) -> float:
    """Seconds from `90s`, `30m`, `8h`, `2d`, `1h30m`. Raises Complaint."""
    plain = text.strip().lower()
    parts = _SPAN.findall(plain)
    if not parts or _SPAN.sub("", plain).strip():
        raise Complaint(f"{printable(text)[:40]!r} is no span of time: write 90s, 30m, 8h or 2d")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def read_moment(text: str, *, now: datetime) -> float:
    """Seconds since the epoch from `22:30` (the next time the clock shows it) or `2026-01-31T22:30`. Raises Complaint.

    Without a zone it is local time, as `now` is.
    """
    try:
        if re.fullmatch(r"\d{1,2}:\d{2}", text.strip()):
            hour, minute = map(int, text.split(":"))
            moment = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
            return (moment if moment > now else moment + timedelta(days=1)).timestamp()
        return datetime.fromisoformat(text.strip()).timestamp()
    except ValueError:
        raise Complaint(f"{printable(text)[:40]!r} is no moment: write 22:30 or 2026-01-31T22:30") from None


def counted(count: int, one: str, many: str | None = None) -> str:
    """`1 image`, `2 images`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}".replace(",", " ")
