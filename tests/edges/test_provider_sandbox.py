"""The doors against the stand-in provider: a whole prediction, both dialects, and what it can do wrong."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from imagejobs.clock import SystemClock
from imagejobs.edges.allowances import Overheard
from imagejobs.edges.dialects import ImagesAnswer, Prediction
from imagejobs.edges.download import Downloader, Gone
from imagejobs.edges.images import Checked, inspect
from imagejobs.edges.provider import NotListed, Provider
from imagejobs.errors import Cause, OutcomeUnknown, Permanent, Refused, Throttled, Transient
from imagejobs.settings import DEFAULT_VERSION, Settings
from tests.servers.sandbox import SandboxServer
from tests.servers.waiting import eventually

SPEC = {
    "prompt": "a lighthouse, été",
    "width": 128,
    "height": 256,
    "num_outputs": 2,
    "seed": 7,
    "num_inference_steps": 5,
}
LIMITS = {"max_pixels": 10**6}
Doors = Callable[..., tuple[Provider, Downloader]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxServer]:
    """One for all tests here; each finds it as new."""
    with SandboxServer(tmp_path_factory.mktemp("sandbox"), prefix="/replicate", run_seconds=0.05) as server:
        yield server


@pytest.fixture
def sandbox(server: SandboxServer) -> SandboxServer:
    """As new."""
    server.reset()
    return server


@pytest.fixture
def doors() -> Iterator[Doors]:
    """Both doors to a provider, closed at the end of the test."""
    opened: list[Provider | Downloader] = []

    def open_both(sandbox: SandboxServer, **changes: Any) -> tuple[Provider, Downloader]:
        settings = Settings.read({}, **{**sandbox.settings, **changes})
        both = (Provider(settings, clock=SystemClock()), Downloader(settings))
        opened.extend(both)
        return both

    yield open_both
    for door in opened:
        door.close()


@pytest.fixture
def provider(sandbox: SandboxServer, doors: Doors) -> Provider:
    return doors(sandbox)[0]


@pytest.fixture
def downloader(sandbox: SandboxServer, doors: Doors) -> Downloader:
    return doors(sandbox)[1]


def create(provider: Provider, **changes: Any) -> Prediction:
    made = provider.create(version=DEFAULT_VERSION, input={**SPEC, **changes}, cancel_after_seconds=60)
    assert isinstance(made, Prediction)
    return made


def finished(provider: Provider, prediction_id: str) -> Prediction:
    def ended() -> Prediction | None:
        seen = provider.get(prediction_id)
        return seen if seen.is_final else None

    seen = eventually(ended, what="the prediction ends")
    assert seen is not None
    return seen


def test_a_prediction_is_made_seen_and_copied(
    sandbox: SandboxServer, provider: Provider, downloader: Downloader
) -> None:
    """From the create to two intact images of the size asked for, paid once, no token given away."""
    made = create(provider)
    done = finished(provider, made.id)
    assert done.output is not None
    images = [inspect(downloader.fetch(url, max_bytes=10**6), **LIMITS, decode=True) for url in done.output]

    assert (done.status, done.input) == ("succeeded", SPEC)
    assert [Checked(content_type="image/png", extension="png", width=128, height=256)] * 2 == images
    assert done.predict_time_s is not None
    assert made.deadline == pytest.approx(time.time() + 60, abs=10)
    assert (sandbox.stats()["creates_accepted"], sandbox.stats()["files_with_token"]) == (1, 0)


def test_replies_let_slip_what_is_allowed(sandbox: SandboxServer) -> None:
    """Headers of every success, the words of a 429; creates and other calls apart."""
    sandbox.limits(creates_per_minute=6, calls_per_minute=3000, burst=1)
    heard: list[tuple[bool, Overheard]] = []
    settings = Settings.read({}, **sandbox.settings)
    provider = Provider(settings, clock=SystemClock(), hear=lambda *said: heard.append(said))
    made = create(provider)
    provider.get(made.id)
    with pytest.raises(Throttled):
        create(provider)
    provider.close()

    expected = [(True, Overheard(shown=5 * 60 / 51)), (False, Overheard(shown=2999.0)), (True, Overheard(told=6.0))]
    assert expected == heard


def test_the_list_shows_what_was_made_since(provider: Provider) -> None:
    """Every page, newest first, with the exact input to know it by."""
    before = time.time() - 1
    made = [create(provider, seed=seed).id for seed in range(103)]
    first = provider.list(created_after=before)
    second = provider.list(created_after=before, cursor=first.next_cursor)

    assert made[::-1] == [prediction.id for prediction in (*first.predictions, *second.predictions)]
    assert second.next_cursor is None
    assert {**SPEC, "seed": 102} == first.predictions[0].input
    assert provider.list(created_after=time.time() + 60).predictions == ()


@pytest.mark.parametrize(
    "fault",
    [{"kind": "reset_after"}, {"kind": "status_after", "status": 502}, {"kind": "delay_after", "seconds": 5.0}],
)
def test_a_lost_reply_is_found_in_the_list(fault: dict[str, Any], sandbox: SandboxServer, doors: Doors) -> None:
    """The create was accepted once, and was not sent a second time."""
    provider, _ = doors(sandbox, IMAGEJOBS_READ_SECONDS=0.3)
    sandbox.faults([{"on": "create", **fault}])
    before = time.time() - 1
    with pytest.raises(OutcomeUnknown):
        create(provider)

    (found,) = provider.list(created_after=before).predictions
    assert found.input == SPEC
    assert sandbox.stats()["arrived"]["create"] == 1


@pytest.mark.parametrize("fault", [{"kind": "reset"}, {"kind": "status", "status": 503}])
def test_a_create_that_came_to_nothing_looks_the_same(
    fault: dict[str, Any], sandbox: SandboxServer, provider: Provider
) -> None:
    """Only the list can tell."""
    sandbox.faults([{"on": "create", **fault}])
    with pytest.raises(OutcomeUnknown):
        create(provider)

    assert provider.list(created_after=time.time() - 60).predictions == ()


def test_throttling_says_how_long(sandbox: SandboxServer, provider: Provider) -> None:
    """In whichever way this provider words it."""
    sandbox.limits(creates_per_minute=6, burst=1)
    create(provider)
    with pytest.raises(Throttled) as error:
        create(provider)

    assert error.value.after_seconds == pytest.approx(10, abs=2)


def test_a_wrong_token_is_refused_everywhere(sandbox: SandboxServer, doors: Doors) -> None:
    """And is not in the text."""
    provider, _ = doors(sandbox, REPLICATE_API_TOKEN="r8_wrong")
    calls: list[Callable[[], object]] = [
        lambda: create(provider),
        lambda: provider.get("p1"),
        lambda: provider.list(created_after=0),
        lambda: provider.cancel("p1"),
        provider.check_account,
        lambda: provider.version_schema(DEFAULT_VERSION),
    ]
    for call in calls:
        with pytest.raises(Refused, match="answered 401") as error:
            call()
        assert "r8_wrong" not in str(error.value)


def test_a_false_402_is_refused_not_failed(sandbox: SandboxServer, provider: Provider) -> None:
    """It has been seen for hours on an account with credit: the batch waits, no job fails."""
    sandbox.faults([{"on": "create", "kind": "status", "status": 402}])
    with pytest.raises(Refused, match="answered 402"):
        create(provider)


@pytest.mark.parametrize("change", [{"num_inference_steps": 9999}, {"width": 100}, {"prompt": 7}])
def test_a_bad_input_is_refused_by_field(change: dict[str, Any], provider: Provider) -> None:
    """Before anything was paid."""
    with pytest.raises(Permanent, match=next(iter(change))) as error:
        create(provider, **change)

    assert error.value.cause is Cause.INPUT


def test_a_prediction_is_canceled(sandbox: SandboxServer, provider: Provider) -> None:
    """And says so."""
    sandbox.faults([{"on": "create", "kind": "slow_start"}])
    made = create(provider)
    provider.cancel(made.id)

    assert finished(provider, made.id).status in ("canceled", "aborted")


def test_an_unknown_prediction_has_expired(provider: Provider) -> None:
    """The provider has no record of it."""
    with pytest.raises(Permanent) as error:
        provider.get("nosuchprediction")

    assert error.value.cause is Cause.EXPIRED
    assert provider.cancel("nosuchprediction") is None


def test_the_schema_and_the_account_are_there(provider: Provider) -> None:
    """For intake and for `doctor`."""
    schema = provider.version_schema(DEFAULT_VERSION)
    account = provider.check_account()

    assert schema is not None
    assert "prompt" in schema["properties"]
    assert account.checked
    assert account.server_time == pytest.approx(time.time(), abs=5)
    assert provider.version_schema("nobody/nothing:abc") is None


@pytest.mark.parametrize(
    "fault", ["truncate", "wrong_length", "html", "corrupt", "bomb", "huge", "redirect", "gone", "no_length", "reset"]
)
def test_a_spoilt_download_never_passes(
    fault: str, sandbox: SandboxServer, provider: Provider, downloader: Downloader
) -> None:
    """Whatever came, it is either an intact image or an error that says what to do."""
    made = finished(provider, create(provider).id)
    assert made.output is not None
    sandbox.faults([{"on": "file", "kind": fault}])
    expected: dict[str, type[Exception]] = {"gone": Gone, "bomb": Permanent, "huge": Permanent}
    if fault == "no_length":
        assert inspect(downloader.fetch(made.output[0], max_bytes=10**6), **LIMITS)
        return
    with pytest.raises(expected.get(fault, Transient)):
        inspect(downloader.fetch(made.output[0], max_bytes=10**6), **LIMITS)


def test_a_data_uri_output_needs_no_download(
    sandbox: SandboxServer, provider: Provider, downloader: Downloader
) -> None:
    """As the provider sometimes answers when the output is small."""
    sandbox.faults([{"on": "create", "kind": "data_uri"}])
    made = finished(provider, create(provider).id)
    assert made.output is not None

    assert inspect(downloader.fetch(made.output[0], max_bytes=10**6), **LIMITS).width == 128
    assert sandbox.stats()["files"] == 0


def test_removed_data_is_told_from_no_data_yet(sandbox: SandboxServer, provider: Provider) -> None:
    """An hour after the end the prediction is still there, its output is not."""
    sandbox.faults([{"on": "create", "kind": "data_removed"}])
    seen = finished(provider, create(provider).id)

    assert (seen.status, seen.output, seen.data_removed) == ("succeeded", None, True)


@pytest.mark.parametrize("images_as", ["url", "b64"])
def test_the_image_list_is_final_at_once(images_as: str, tmp_path: Path, doors: Doors) -> None:
    """A proxy that waits: the images come by address or in the answer, and there is nothing else to ask it."""
    with SandboxServer(tmp_path, dialect="images", images_as=images_as, run_seconds=0.05) as sandbox:
        provider, downloader = doors(sandbox)
        made = provider.create(version=DEFAULT_VERSION, input=SPEC, cancel_after_seconds=60)
        assert isinstance(made, ImagesAnswer)
        sizes = [inspect(downloader.fetch(url, max_bytes=10**6), **LIMITS).height for url in made.outputs]

        assert sizes == [256, 256]
        assert provider.version_schema(DEFAULT_VERSION) is None
        assert not provider.check_account().checked
        with pytest.raises(NotListed):
            provider.list(created_after=0)


def test_a_proxy_without_a_list_is_polled_one_by_one(tmp_path: Path, doors: Doors) -> None:
    """And says that it has none."""
    with SandboxServer(tmp_path, dialect="no-list", run_seconds=0.05) as sandbox:
        provider, _ = doors(sandbox)

        assert finished(provider, create(provider).id).status == "succeeded"
        with pytest.raises(NotListed):
            provider.list(created_after=0)
