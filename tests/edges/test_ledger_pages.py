"""Reading a whole batch costs time in proportion to its rows, however many there are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import event

from imagejobs.filing import rows_of
from imagejobs.job import SpecText
from imagejobs.ledger import Ledger
from imagejobs.ledger.views import FIRST_PAGE, PAGE, PAGE_CHARACTERS, SMALL_PAGE
from imagejobs.states import State
from tests.night import Night, a_spec


def statements(ledger: Ledger, read: Any) -> list[tuple[str, Any]]:
    """What reading sends, with its parameters."""
    seen: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        seen.append((statement, parameters))

    event.listen(ledger.database.engine, "before_cursor_execute", note)
    list(read())
    event.remove(ledger.database.engine, "before_cursor_execute", note)
    return [one for one in seen if "FROM" in one[0]]


def plans(ledger: Ledger, read: Any) -> str:
    """How SQLite means to go about the statements that reading sends."""
    reads = statements(ledger, read)
    with ledger.database.read() as connection:
        return str([connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {one}", how).all() for one, how in reads])


def test_no_page_sorts_the_batch(tmp_path: Path):
    """A sort a page would make a million rows a matter of hours."""
    night = Night(tmp_path, [a_spec(f"r{number}") for number in range(3)])
    night.succeed("r0", "r1", images=2)
    views, batch_id = night.ledger.views, night.batch.id

    for read in (
        lambda: views.image_rows(batch_id),
        lambda: views.job_rows(batch_id),
        lambda: views.job_rows(batch_id, State.FAILED),
    ):
        assert "TEMP B-TREE" not in plans(night.ledger, read)


def test_pages_join_without_a_gap(tmp_path: Path, database_url: str):
    """Every row once, in the order of the input, also beside other batches and across the pages' edges."""
    with Ledger(database_url) as ledger:
        facts = {"account": "other", "store": "x", "rows_digest": "0" * 64}
        names = [f"r{number}" for number in reversed(range(PAGE + 7))]
        for key in ("before", "night", "after"):
            batch = ledger.batches.create(key, facts=facts, now=1.0)
            assert batch is not None
            ledger.batches.add(batch.id, [SpecText.of(a_spec(name)) for name in names], max_tries=1)
        batch = ledger.batches.get("night")
        assert batch is not None

        assert names == [row["row_id"] for row in ledger.views.job_rows(batch.id)]


def test_who_lives_on_reads_small_pages(tmp_path: Path):
    """A worker that closes a batch would keep room for large ones."""
    night = Night(tmp_path, [a_spec(f"r{number}") for number in range(SMALL_PAGE + FIRST_PAGE + 1)])
    night.succeed(*[f"r{number}" for number in range(SMALL_PAGE + FIRST_PAGE + 1)])
    pages = [
        how
        for one, how in statements(night.ledger, lambda: rows_of(night.ledger, night.batch).images)
        if "LIMIT" in one
    ]

    assert [FIRST_PAGE, SMALL_PAGE, SMALL_PAGE] == [how[-2] for how in pages]


def test_an_unknown_batch_has_no_rows(tmp_path: Path):
    """Nor does one that is still being written."""
    with Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as ledger:
        assert [] == list(ledger.views.job_rows(1))


def test_pages_of_large_inputs_are_short(tmp_path: Path):
    """A page is held in memory, by a worker too, and an input may be a megabyte."""
    with Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as ledger:
        batch = ledger.batches.create("night", facts={"account": "a", "store": "x", "rows_digest": "0"}, now=1.0)
        assert batch is not None
        large = a_spec("r", input={"prompt": "x" * (PAGE_CHARACTERS // 10)})
        rows = [SpecText.of(replace(large, id=f"r{number}")) for number in range(50)]
        ledger.batches.add(batch.id, rows, max_tries=1)
        pages = [how for one, how in statements(ledger, lambda: ledger.views.job_rows(batch.id)) if "LIMIT" in one]

    limits = [how[-2] for how in pages]
    assert [FIRST_PAGE, 9, 9, 9, 9] == limits
