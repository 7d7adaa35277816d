"""How rows are asked for and read: the values of an `IN`, in lists of few lengths, and a job by its columns."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from imagejobs.job import Job
from imagejobs.ledger.rows import KEPT_PARAMETERS, alike, job_query


def test_nothing_is_no_list():
    """So that a loop over them sends no statement."""
    assert [] == list(alike([]))


@given(st.lists(st.integers(), min_size=1, max_size=3 * KEPT_PARAMETERS))
def test_lists_name_all_values_in_order_and_nothing_else(values: list[int]):
    """What is repeated says nothing new."""
    lists = list(alike(values))

    assert set(values) == {one for some in lists for one in some}
    assert values[:: 2 * KEPT_PARAMETERS] == [some[0] for some in lists[::2]]


def test_a_thousand_numbers_of_values_are_nine_lengths():
    """Each length is a statement that a connection keeps."""
    lengths = {len(some) for count in range(1, 1000) for some in alike(range(count))}

    assert {1, 2, 4, 8, 16, 32, 64, 128, 256} == lengths


def test_a_jobs_columns_are_its_fields_in_their_order():
    """A job is read by place: two columns changed over would be taken for each other without a word."""
    assert [*Job.__dataclass_fields__] == [column.name for column in job_query().selected_columns]
