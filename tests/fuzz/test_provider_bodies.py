"""What a provider or a proxy may answer, mutated: read or refused, judged, settled and written, without surprise."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagejobs.clock import SystemClock
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
from imagejobs.edges.fields import read_json
from imagejobs.edges.objections import LONGEST_WAIT_SECONDS, read_objection
from imagejobs.edges.provider import Provider
from imagejobs.errors import OutcomeUnknown, Permanent, Refused, Throttled, Transient
from imagejobs.ledger import Ledger
from imagejobs.settings import Settings
from imagejobs.states import State
from tests.desk import NOW, Desk
from tests.edges.scripted_host import ScriptedHost
from tests.fuzz.budget import examples
from tests.fuzz.mutants import TEXTS, bodies
from tests.fuzz.replies import last_answer
from tests.ledger_books import assert_books_balance
from tests.making import a_job
from worker.lookup import resolve
from worker.outcomes import Accepted, Answered
from worker.settle import Policy, settle
from worker.stages.poll import judge

FRESH = {
    "id": "gm3qorzdhgbfurvjtvhg6dckhu",
    "model": "stability-ai/stable-diffusion",
    "version": "ac732df83cea7fff18b8472768c88ad041fa750ff7682a21affe81863cbe77e4",
    "input": {"prompt": "a lighthouse", "seed": 5, "width": 512},
    "logs": "",
    "error": None,
    "status": "starting",
    "created_at": "2026-01-02T03:04:05.123Z",
    "webhook": "https://hooks.example.com/in?attempt=7.1.0123456789ab",
    "urls": {"get": "https://api.replicate.com/v1/predictions/gm3qorzdhgbfurvjtvhg6dckhu"},
}
DONE = {
    **FRESH,
    "status": "succeeded",
    "output": ["https://replicate.delivery/a/out-0.png", "https://replicate.delivery/a/out-2.png"],
    "completed_at": "2026-01-02T03:04:09.123456789Z",
    "deadline": "2026-01-02T03:34:05Z",
    "data_removed": False,
    "metrics": {"predict_time": 3.5},
}
FAILED = {**FRESH, "status": "failed", "error": "Prediction interrupted; please retry (code: PA)"}
PROXY = {"created": 1589478378, "data": [{"url": "https://h/0.png"}, {"b64_json": "iVBORw0KGgo="}]}
PAGE = {
    "next": "https://api.replicate.com/v1/predictions?cursor=cD0yMDI%2B",
    "previous": None,
    "results": [DONE, FRESH, FAILED],
}
COMPLAINTS = (
    {"title": "Unauthenticated", "detail": "You did not pass a valid authentication token", "status": 401},
    {
        "detail": "- input.num_inference_steps: Must be less than or equal to 4\n",
        "title": "Input validation failed",
        "invalid_fields": [{"type": "number_lte", "field": "input.steps", "description": "Must be at most 4"}],
    },
    {"detail": "limited to 6 requests per minute. Your rate limit resets in ~5s.", "retry_after": 5},
    {"error": {"message": "quota used up", "type": "new_api_error", "code": "insufficient_user_quota"}},
    {"error": "no such model", "message": "try again in 2 minutes", "code": "x"},
)
ANSWERS = (FRESH, DONE, FAILED, PROXY)
POLICY = Policy(max_tries=4, keep_seconds=3600, settle_seconds=10)
TOKEN = "r8_/secret+token=with-all/a-token.may_hold"


@pytest.fixture(scope="module")
def host() -> Iterator[ScriptedHost]:
    """A provider that answers as it is told."""
    with ScriptedHost() as host:
        yield host


@pytest.fixture(scope="module")
def provider(host: ScriptedHost) -> Iterator[Provider]:
    """The real door to it."""
    door = Provider(
        Settings.read({"REPLICATE_BASE_URL": host.url, "REPLICATE_API_TOKEN": TOKEN, "IMAGEJOBS_READ_SECONDS": "20"}),
        clock=SystemClock(),
    )
    yield door
    door.close()


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A ledger for what was read to be written to."""
    folder: Path = tmp_path_factory.mktemp("bodies")
    with Ledger(f"sqlite:///{folder / 'ledger.sqlite'}") as ledger:
        yield Desk(ledger)


@given(bodies(ANSWERS))
@settings(max_examples=examples(300))
def test_a_mutant_of_an_answer_is_read_or_refused(body: bytes):
    """Whatever is read is fit for a database, a log and an address, and every reader copes with every body."""
    value = read_json(body)
    for read in (read_prediction, read_created, read_page, read_schema):
        found = read(value)
        assert isinstance(found, Prediction | ImagesAnswer | Page | dict | None)
    if isinstance(created := read_created(value), Prediction):
        "".join([created.id, created.status, created.version or "", created.error or ""]).encode()
        indexes = indexes_of(created.output or ())
        assert len(indexes) == len(set(indexes)) == len(created.output or ())
        assert isinstance(are_numbered(created.output or ()), bool)


@given(bodies([PAGE], most=2))
@settings(max_examples=examples(300))
def test_a_list_page_is_all_or_nothing(body: bytes):
    """A prediction overlooked would be taken for absent, and paid for again."""
    value = read_json(body)
    page = read_page(value)

    if page is not None:
        assert len(value["results"]) == len(page.predictions)
        assert [one["id"] for one in value["results"]] == [one.id for one in page.predictions]
        assert bool(value.get("next")) is (page.next_cursor is not None)


@given(bodies([PAGE], most=3))
@settings(max_examples=examples(200))
def test_a_look_up_copes_with_any_list(body: bytes):
    """One odd prediction of somebody else's must not keep all unknown creates from being looked up."""
    page = read_page(read_json(body))
    job = a_job(state=State.SUBMITTING, prediction_id=None, intent_at=1767323045.0)

    ((found, outcome),) = resolve([job], page.predictions if page else (), set(), now=NOW)

    assert job is found
    assert settle(job, outcome, policy=POLICY, now=NOW, dice=lambda: 0.5).change is not None


@given(bodies(ANSWERS, most=3), st.sampled_from([State.SUBMITTING, State.RUNNING]))
@settings(max_examples=examples(120))
def test_whatever_an_answer_means_can_be_written(at: Desk, body: bytes, state: State):
    """From the bytes to the ledger's row: no value gets so far that the database refuses it, or the books."""
    job = at.job_in(state)
    answered = read_created(read_json(body))
    if isinstance(answered, Prediction):
        answered = replace(answered, id=f"{answered.id[:150]}-{job.id}")
    match answered:
        case None:
            return
        case ImagesAnswer():
            outcome: Any = Answered(output=answered.outputs)
        case Prediction() if state is State.SUBMITTING:
            outcome = Accepted(prediction_id=answered.id, at=answered.created_at or NOW)
        case _:
            outcome = judge(job, answered, now=NOW, limit_seconds=1800).outcome
    if state is State.RUNNING and isinstance(outcome, Answered):
        return
    change = settle(job, outcome, policy=POLICY, now=NOW, dice=lambda: 0.5).change
    assert change is not None

    at.apply(change)
    found = at.read(job)
    assert found.due_at < NOW + 10 * 365 * 86400
    json.dumps(at.row(job), ensure_ascii=False, allow_nan=False).encode()


def test_the_books_balance_after_all_that(at: Desk):
    """Of everything that was written above."""
    assert_books_balance(at.ledger)


@given(
    bodies(COMPLAINTS) | st.binary(max_size=200),
    st.dictionaries(
        st.sampled_from(["Retry-After", "Date"]),
        TEXTS | st.sampled_from(["1e308", "9" * 5000, "-1", "inf", "Wed, 21 Oct 9999 07:28:00 GMT", "\uff11\uff12"]),
    ),
)
@settings(max_examples=examples(300))
def test_a_mutant_of_a_complaint_is_a_text_and_a_bearable_wait(body: bytes, headers: dict[str, str]):
    """A wait of years would stop the fleet for good; a text is short and fit to be shown."""
    found = read_objection(body, headers, now=NOW)

    assert len(found.text) <= 500
    assert found.text.isprintable()
    assert found.after_seconds is None or 0 <= found.after_seconds <= LONGEST_WAIT_SECONDS


@given(
    st.sampled_from(
        [200, 201, 202, 204, 301, 400, 401, 402, 403, 404, 408, 409, 422, 429, 500, 501, 502, 503, 529, 999]
    ),
    bodies([*ANSWERS, PAGE, *COMPLAINTS], most=3),
    st.sampled_from(["application/json", "text/html", "application/problem+json; charset=utf-16", ""]),
    st.sampled_from(
        [
            {},
            {"Date": "no date"},
            {"Retry-After": "7"},
            {"Date": "Fri, 31 Dec 9999 23:59:59 GMT"},
            {"Content-Length": "9" * 5000},
            {"Location": "//["},
        ]
    ),
)
@settings(max_examples=examples(150))
def test_the_door_raises_what_it_says_it_raises(  # noqa: PLR0917 - Hypothesis names them
    host: ScriptedHost, provider: Provider, status: int, body: bytes, kind: str, headers: dict[str, str]
):
    """For each of its calls, whatever the reply."""
    calls = (
        lambda: provider.create(version="o/m:v", input={"prompt": "x"}, cancel_after_seconds=60),
        lambda: provider.get("p1"),
        lambda: provider.list(created_after=NOW),
        lambda: provider.cancel("p1"),
        lambda: provider.version_schema("owner/model:abc"),
        provider.webhook_secret,
    )
    for number, call in enumerate(calls):
        host.then(last_answer(status, body, {"Content-Type": kind, **headers}))
        try:
            call()
        except (OutcomeUnknown, Permanent, Refused, Throttled, Transient) as error:
            assert number == 0 or not isinstance(error, OutcomeUnknown)
        except Exception as error:
            if type(error).__name__ != "NotListed":
                raise


def _escaped(text: str) -> str:
    return "".join(f"\\u{ord(letter):04x}" for letter in text)


ECHOES = (
    TOKEN,
    TOKEN.replace("/", "\\/"),  # PHP writes slashes so
    _escaped(TOKEN),
    TOKEN[:9] + _escaped(TOKEN[9:12]) + TOKEN[12:],
)


@given(
    st.sampled_from([200, 201, 400, 401, 402, 404, 422, 429, 500, 503]),
    st.sampled_from(ECHOES),
    st.sampled_from(
        [
            '{"detail": "Incorrect key: @"}',
            '{"error": {"message": "@", "code": "@"}}',
            '{"title": "t", "invalid_fields": [{"field": "@", "description": "@"}]}',
            '{"id": "p1", "status": "failed", "error": "the key @ is wrong"}',
            "<html>@</html>",
            "@",
        ]
    ),
    st.integers(0, 600),
)
@settings(max_examples=examples(120))
def test_no_echo_of_the_token_gets_out(  # noqa: PLR0917 - Hypothesis names them
    host: ScriptedHost, provider: Provider, status: int, echo: str, form: str, padding: int
):
    """However a proxy writes down the key that it was given, and wherever its text is cut: not even most of it."""
    echo = echo if form.startswith("{") else TOKEN
    body = form.replace("@", "x" * padding + echo, 1).replace("@", echo).encode()
    for call in (
        lambda: provider.create(version="o/m:v", input={"prompt": "x"}, cancel_after_seconds=60),
        lambda: provider.get("p1"),
        lambda: provider.list(created_after=NOW),
    ):
        host.then(last_answer(status, body, {"Content-Type": "application/json"}))
        try:
            told = repr(call())
        except (OutcomeUnknown, Permanent, Refused, Throttled, Transient) as error:
            told = f"{error} {error.__cause__} {error.args}"
        except Exception as error:  # noqa: BLE001 - NotListed, of any text
            told = str(error)
        assert TOKEN[:12] not in told
        assert TOKEN[-12:] not in told
