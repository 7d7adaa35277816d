"""What the provider says, read without a provider: answers, objections, and junk."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagejobs.edges.dialects import (
    ImagesAnswer,
    Page,
    Prediction,
    are_numbered,
    indexes_of,
    read_created,
    read_page,
    read_prediction,
    read_schema,
)
from imagejobs.edges.fields import read_http_date, read_json, read_time, write_time
from imagejobs.edges.objections import read_objection

NATIVE = {
    "id": "gm3qorzdhgbfurvjtvhg6dckhu",
    "model": "stability-ai/stable-diffusion",
    "version": "ac732df83cea7fff18b8472768c88ad041fa750ff7682a21affe81863cbe77e4",
    "input": {"prompt": "an astronaut", "seed": 7},
    "output": ["https://replicate.delivery/a/out-0.png", "https://replicate.delivery/a/out-2.png"],
    "error": None,
    "status": "succeeded",
    "created_at": "2026-01-02T03:04:05.123Z",
    "completed_at": "2026-01-02T03:04:09.123456789Z",
    "deadline": None,
    "data_removed": False,
    "metrics": {"predict_time": 3.5},
    "urls": {"get": "https://api.replicate.com/v1/predictions/gm3qorzdhgbfurvjtvhg6dckhu"},
}


def test_a_prediction_object_becomes_a_record() -> None:
    """Every field a decision needs is taken, times as seconds."""
    expected = Prediction(
        id="gm3qorzdhgbfurvjtvhg6dckhu",
        status="succeeded",
        output=("https://replicate.delivery/a/out-0.png", "https://replicate.delivery/a/out-2.png"),
        input={"prompt": "an astronaut", "seed": 7},
        version="ac732df83cea7fff18b8472768c88ad041fa750ff7682a21affe81863cbe77e4",
        created_at=1767323045.123,
        completed_at=1767323049.123456,
        predict_time_s=3.5,
    )

    assert expected == read_prediction(NATIVE)


def test_a_fresh_object_lacks_most_fields() -> None:
    """Missing fields are None: Replicate leaves many out just after a create."""
    expected = Prediction(id="abc", status="starting")

    assert expected == read_created({"id": "abc", "status": "starting"})


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (None, None),
        ("https://h/a.png", ("https://h/a.png",)),
        (["https://h/a.png", None, 7], ("https://h/a.png",)),
        ([{"url": "https://h/a.png"}, {"other": 1}], ("https://h/a.png",)),
        ({"url": "https://h/a.png"}, ("https://h/a.png",)),
        (["data:image/png;base64,AAAA"], ("data:image/png;base64,AAAA",)),
        (["https://h/a\x00.png", "https://h/\ud800.png"], ()),
        ([], ()),
        (12, ()),
    ],
)
def test_an_output_may_be_any_json(output: Any, expected: Any) -> None:
    """Addresses are found in every shape seen; output without one is empty, which is not the same as no output."""
    prediction = read_prediction({"id": "a1", "status": "succeeded", "output": output})

    assert prediction is not None
    assert expected == prediction.output


@pytest.mark.parametrize("status", ["succeeded", "failed", "canceled", "aborted"])
def test_final_statuses(status: str) -> None:
    """`aborted` is final too, though half of the provider's own documents forget it."""
    assert Prediction(id="a1", status=status).is_final


@pytest.mark.parametrize("status", ["starting", "processing", "queued", "tomorrow"])
def test_an_unknown_status_is_not_final(status: str) -> None:
    """What nobody has seen before is looked at again."""
    assert not Prediction(id="a1", status=status).is_final


@pytest.mark.parametrize("given_id", [None, 7, "", ".", "..", "a b", "a\nb", "é", "x" * 201, "\ud800"])
def test_an_id_that_cannot_be_asked_for_is_none(given_id: Any) -> None:
    """Without a usable id there is no prediction: it could neither be polled nor canceled."""
    assert read_created({"id": given_id, "status": "starting"}) is None


def test_an_image_list_is_an_answer() -> None:
    """Addresses and base64 come in the order given; base64 becomes a data URI, unless it is one already."""
    expected = ImagesAnswer(
        outputs=("https://h/0.png", "data:image/png;base64,AAAA", "data:image/webp;base64,BBBB"),
        created_at=1589478378.0,
    )
    body = {
        "created": 1589478378,
        "data": [{"url": "https://h/0.png"}, {"b64_json": "AAAA"}, {"b64_json": "data:image/webp;base64,BBBB"}],
    }

    assert expected == read_created(body)


def test_an_empty_image_list_is_an_answer_without_images() -> None:
    """The proxy answered, and made nothing: that is known, not unknown."""
    assert ImagesAnswer(outputs=()) == read_created({"data": []})


def test_an_image_list_keeps_what_is_usable() -> None:
    """One withheld image does not cost its siblings."""
    assert ImagesAnswer(outputs=("https://h/1.png",)) == read_created({"data": [{}, {"url": "https://h/1.png"}]})


@pytest.mark.parametrize("body", [{"data": [{"revised_prompt": "x"}]}, {"data": "x"}, {}, [], None, "ok", 1])
def test_neither_dialect_is_none(body: Any) -> None:
    """What cannot be understood is not guessed at."""
    assert read_created(body) is None


def test_only_the_cursor_is_taken_out_of_next() -> None:
    """`next` is a whole address, which behind a proxy points at somebody else's host."""
    address = "https://api.replicate.com/v1/predictions?cursor=cD0yMDI%2B%3D&created_after=x"
    expected = Page(predictions=(Prediction(id="a1", status="starting"),), next_cursor="cD0yMDI+=")

    assert expected == read_page({"next": address, "results": [{"id": "a1", "status": "starting"}]})


@pytest.mark.parametrize("last", [{"next": None}, {"next": ""}, {}])
def test_the_last_page_has_no_cursor(last: dict[str, Any]) -> None:
    """No `next`, no more pages."""
    assert Page(predictions=()) == read_page({**last, "results": []})


@pytest.mark.parametrize(
    "page",
    [
        {"results": [{"id": "a1", "status": "starting"}, {"id": None}]},
        {"results": [], "next": "https://h/v1/predictions?page=2"},
        {"results": [], "next": "https://[h/"},
        {"results": [], "next": 7},
        {"results": {}},
        {"data": []},
        None,
    ],
)
def test_a_page_is_understood_in_full_or_not_at_all(page: Any) -> None:
    """A prediction overlooked would be taken for absent, and paid for again."""
    assert read_page(page) is None


def test_a_schema_keeps_what_it_refers_to() -> None:
    """The `$ref`s of an input schema point into the document it came from."""
    schemas = {
        "Input": {"type": "object", "properties": {"scheduler": {"$ref": "#/components/schemas/scheduler"}}},
        "scheduler": {"enum": ["DDIM"]},
    }
    schema = read_schema({"openapi_schema": {"components": {"schemas": schemas}}})

    assert schema is not None
    assert ["DDIM"] == schema["components"]["schemas"]["scheduler"]["enum"]


@pytest.mark.parametrize("value", [None, {}, {"openapi_schema": None}, {"openapi_schema": {"components": []}}])
def test_a_reply_without_a_schema_has_none(value: Any) -> None:
    """A proxy may know the version and not its schema."""
    assert read_schema(value) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-02T03:04:05Z", 1767323045.0),
        ("2026-01-02T03:04:05.123Z", 1767323045.123),
        ("2026-01-02T03:04:05.123456789Z", 1767323045.123456),
        ("2026-01-02T05:04:05.5+02:00", 1767323045.5),
        ("2026-01-02T03:04:05", 1767323045.0),
        (1767323045, 1767323045.0),
        ("soon", None),
        ("", None),
        (True, None),
        (float("nan"), None),
        (10**400, None),
    ],
)
def test_times_come_in_many_shapes(text: Any, expected: float | None) -> None:
    """Three to nine digits of a second, Z or an offset; anything else is None."""
    assert expected == read_time(text)


def test_a_written_time_reads_back() -> None:
    """`created_after` is in UTC and says so."""
    assert write_time(1767323045.25) == "2026-01-02T03:04:05.250000Z"
    assert read_time(write_time(1767323045.25)) == 1767323045.25


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
ANSWER_KEYS = [
    "id",
    "status",
    "output",
    "input",
    "version",
    "error",
    "created_at",
    "metrics",
    "predict_time",
    "results",
]
OTHER_KEYS = ["data", "url", "b64_json", "created", "next", "openapi_schema", "components", "schemas", "Input"]
ERROR_KEYS = ["title", "detail", "invalid_fields", "field", "description", "message", "code", "type", "retry_after"]
KEYS = st.sampled_from([*ANSWER_KEYS, *OTHER_KEYS, *ERROR_KEYS])
LIKELY = st.recursive(
    JUNK, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6), max_leaves=12
)
RECORDS = (Prediction, ImagesAnswer, Page, dict, type(None))


@given(LIKELY)
def test_junk_json_is_none_or_a_record(value: Any) -> None:
    """Nothing that JSON can hold makes a reader raise, and every record can be written to a database."""
    for read in (read_prediction, read_created, read_page, read_schema):
        assert isinstance(read(value), RECORDS)
    if isinstance(created := read_created(value), Prediction):
        "".join([created.id, created.status, created.version or "", created.error or ""]).encode()


@given(st.binary(max_size=200) | LIKELY.map(lambda value: json.dumps(value).encode()), st.text(), st.text())
def test_a_junk_error_is_still_an_objection(body: bytes, retry_after: str, date: str) -> None:
    """Whatever comes with an error status, there is a text of bounded length and a sane wait."""
    found = read_objection(body, {"Retry-After": retry_after, "Date": date})

    assert len(found.text) <= 500
    assert found.after_seconds is None or found.after_seconds >= 0
    found.text.encode()


@given(st.text() | st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?", fullmatch=True))
def test_no_date_is_too_odd(text: str) -> None:
    """A date nobody can read is no date, and no error."""
    assert isinstance(read_time(text), float | None)
    assert isinstance(read_http_date(text), float | None)


@pytest.mark.parametrize("body", [b"", b"\xff", b"[" * 100_000, b"1" * 10_000, b"{"])
def test_what_is_no_json_is_none(body: bytes) -> None:
    """Nested too deep, too long a number, half a body: all the same."""
    assert read_json(body) is None


def test_an_address_that_is_none_has_no_number() -> None:
    """Whoever fetches it says what is wrong with it; taking its index must not be what breaks."""
    assert [0, 1] == indexes_of(["https://[h/out-1.png", "https://h/out-0.png"])
    assert not are_numbered(["https://[h/out-1.png"])
