"""The README's one picture: of what an account is allowed and pays for, how much becomes a safe image, paid once."""

from __future__ import annotations

from dataclasses import dataclass

from ops.bench.book import Book
from ops.bench.contestants import CONTESTANTS
from ops.bench.measures import medians
from ops.bench.plot import block, picture, text

NAMES = {
    "imagejobs-sqlite-2": "imagejobs, SQLite",
    "imagejobs-postgres-2": "imagejobs, PostgreSQL",
    "asyncio": "asyncio script",
    "threads": "script of threads",
    "replicate": "official client",
    "celery-prefork": "Celery, prefork",
    "celery-threads": "Celery, threads",
    "celery-gevent": "Celery, gevent",
}  # of all others, their own; other sizes of ours are not shown
TITLE = "Images paid for and safe, per create allowed"
WIDTH, EDGE, HEAD, ROW, BAR, FOOT = 980, 24, 104, 34, 18, 44  # pixels
LEFT, MIDDLE, LENGTH = 212, 572, 230  # where the two fields begin, and how long a whole bar is


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One contestant. Shares of the creates allowed that became images; of rows, those safe and those lost."""

    name: str
    title: str
    used: float
    jobs: float
    lost: float
    paid_twice: float

    @property
    def kept(self) -> float:
        """Of all rows, and all that was paid for beyond them, the share that is safe."""
        return (self.jobs - self.lost) / (self.jobs + self.paid_twice)


def portrait(book: Book) -> str | None:
    """As SVG; None until somebody has run both S2 and S3."""
    lines = sorted(lines_of(book), key=lambda line: (-line.kept * line.used, line.name))
    if not lines:
        return None
    height = HEAD + len(lines) * ROW + FOOT
    drawn = [*_head(), *_foot(height - 20)]
    for number, line in enumerate(lines):
        drawn += _drawn(line, HEAD + number * ROW)
    return picture(TITLE, drawn, width=WIDTH, height=height)


def lines_of(book: Book) -> list[Line]:
    """Everybody who was measured in both."""
    found = []
    for name, contestant in CONTESTANTS.items():
        limited, faulty = (medians(list(book.rounds(scenario, name).values())) for scenario in ("S2", "S3"))
        used, made, images = (limited.get(figure) for figure in ("allowance_used", "creates_accepted", "images"))
        lost, twice = faulty.get("lost"), faulty.get("paid_twice")
        is_shown = name in NAMES or not contestant.is_ours
        if is_shown and used is not None and made and images is not None and lost is not None and twice is not None:
            share = min(1.0, used) * images / made
            jobs = float(book.scenarios["S3"]["jobs"])
            title = NAMES.get(name, name)
            found.append(Line(name=name, title=title, used=share, jobs=jobs, lost=lost, paid_twice=twice))
    return found


def _head() -> list[str]:
    return [
        text(EDGE, 34, TITLE, size=18, is_bold=True),
        text(LEFT, 68, "At the rate limit", is_bold=True, size=14),
        text(LEFT, 86, "share of the allowed creates that became safe images", colour="faint", size=12),
        text(MIDDLE, 68, "Through faults, all workers killed once", is_bold=True, size=14),
        text(MIDDLE, 86, "of the images asked for, and those paid for again", colour="faint", size=12),
    ]


def _foot(line: int) -> list[str]:
    """What the colours of the second field mean."""
    drawn, left = [block(MIDDLE - 16, line - 10, 12, 12, "theirs")], float(MIDDLE)
    for colour, words in (("ours", "safe, paid once"), ("bad", "lost"), ("poor", "paid twice")):
        drawn += [block(left, line - 10, 12, 12, colour), text(left + 18, line, words, colour="faint", size=12)]
        left += 44 + 6.6 * len(words)
    return drawn


def _drawn(line: Line, top: int) -> list[str]:
    is_ours = CONTESTANTS[line.name].is_ours
    colour = "ours" if is_ours else "theirs"
    foot = top + BAR - 4
    whole = line.jobs + line.paid_twice
    parts = [((line.jobs - line.lost) / whole, colour), (line.lost / whole, "bad"), (line.paid_twice / whole, "poor")]
    drawn = [
        text(LEFT - 12, foot, line.title, anchor="end", is_bold=is_ours, size=14),
        block(LEFT, top, LENGTH, BAR, "track"),
        block(LEFT, top, LENGTH * line.used, BAR, colour),
        text(LEFT + LENGTH + 10, foot, f"{line.used:.1%}", is_bold=is_ours),
        text(MIDDLE + LENGTH + 10, foot, _said(line), is_bold=is_ours),
    ]
    left = float(MIDDLE)
    for share, of in parts:
        drawn += [block(left, top, LENGTH * share, BAR, of)] if share else []
        left += LENGTH * share
    return drawn


def _said(line: Line) -> str:
    said = [f"{count:,.0f} {words}" for count, words in ((line.lost, "lost"), (line.paid_twice, "twice")) if count]
    return ", ".join(said) or "all safe, none twice"
