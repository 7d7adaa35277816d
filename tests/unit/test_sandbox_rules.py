"""The stand-in provider's own rules: rate buckets, fault rules, time stamps, safety filter, run times."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.fate import Boots, fate_of, run_seconds
from sandbox.faults import EXCHANGE, KINDS, FaultBook, read_rules
from sandbox.limits import Bucket
from sandbox.models import load_catalog
from sandbox.options import parse
from sandbox.predictions import NS
from sandbox.shapes import read_stamp, stamp

MODEL = load_catalog().of("stability-ai/stable-diffusion")


class HandClock:
    """A monotonic clock that stands still until it is set."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def granted_within(bucket: Bucket, seconds: int, *, calls_per_second: int) -> int:
    moments = (call / calls_per_second for call in range(seconds * calls_per_second))
    return sum(bucket.take(moment).granted for moment in moments)


def test_a_bucket_grants_its_burst_and_then_its_rate() -> None:
    """600 a minute and 10 at once: 10 + 10 a second for 59.99 seconds."""
    assert 10 + 599 == granted_within(Bucket(600, 10), 60, calls_per_second=100)


def test_a_caller_at_exactly_the_rate_is_never_refused() -> None:
    """Whatever the burst: the allowance can be used to the full."""
    assert 600 == granted_within(Bucket(600, 1), 60, calls_per_second=10)


def test_rate_headers_are_those_recorded() -> None:
    """One create of 600 a minute: 599 left, full again within a second."""
    verdict = Bucket(600, 10).take(5.0)

    assert (True, 599, 1) == (verdict.granted, verdict.remaining, verdict.reset_seconds)


def test_no_limit_says_nothing_about_what_is_left() -> None:
    """0 a minute means unlimited."""
    verdict = Bucket(0, 10).take(5.0)

    assert (True, None) == (verdict.granted, verdict.remaining)


def test_an_early_retry_can_extend_the_wait() -> None:
    """As users report of accounts with little credit: the window opens only to those who wait it out."""
    bucket = Bucket(6, 1, early_retry_extends=True)
    seen = [bucket.take(second).granted for second in (0, 9, 18, 28.1)]

    assert [True, False, False, True] == seen


@pytest.mark.parametrize(
    "rule",
    [
        {"on": "create"},
        {"on": "create", "kind": "rest"},
        {"on": "get", "kind": "fail"},
        {"on": "get", "kind": "status", "code": 500},
        {"on": "get", "kind": "status", "status": "500"},
        {"on": "get", "kind": "delay", "seconds": None},
        {"on": "get", "kind": "reset", "rate": "often"},
        {"on": ["get"], "kind": "reset"},
        "reset",
    ],
)
def test_a_rule_with_a_mistake_is_refused(rule: object) -> None:
    """With its number, for a fault that never strikes would make a test worthless."""
    with pytest.raises(ValueError, match="rule 2"):
        read_rules([{"on": "get", "kind": "reset"}, rule])


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_set_without_parameters(kind: str) -> None:
    """Its defaults serve."""
    (rule,) = read_rules([{"on": min(KINDS[kind].on), "kind": kind}])

    assert dict(KINDS[kind].parameters) == rule.parameters


def struck(book: FaultBook, *, prompt: str = "a hill") -> list[str]:
    return list(book.strike("get", prompt, EXCHANGE))


def test_a_rule_strikes_as_often_as_counted() -> None:
    """Then never again."""
    book = FaultBook(0)
    book.replace(read_rules([{"on": "get", "kind": "reset", "count": 2}]))

    assert [["reset"], ["reset"], []] == [struck(book) for _ in range(3)]
    assert [2] == book.struck


def test_a_rule_strikes_within_its_time_window() -> None:
    """Counted from when the rules were set."""
    clock = HandClock()
    book = FaultBook(0, clock=clock)
    book.replace(read_rules([{"on": "get", "kind": "reset", "after_seconds": 5, "for_seconds": 2}]))
    seen = []
    for clock.now in (104.9, 105, 106.9, 107):
        seen.append(struck(book))

    assert [[], ["reset"], ["reset"], []] == seen


def test_a_rule_strikes_only_the_prompts_it_matches() -> None:
    """And only its own operation."""
    book = FaultBook(0)
    book.replace(read_rules([{"on": "get", "kind": "reset", "match": "sea"}]))

    assert ([], ["reset"]) == (struck(book), struck(book, prompt="a sea"))
    assert {} == book.strike("cancel", "a sea", EXCHANGE)


def test_chance_repeats_with_its_seed() -> None:
    """The same calls in the same order meet the same faults, about as often as the rate says."""
    runs = []
    for _ in range(2):
        book = FaultBook(3)
        book.replace(read_rules([{"on": "get", "kind": "reset", "rate": 0.3}]))
        runs.append([bool(struck(book)) for _ in range(400)])

    assert runs[0] == runs[1]
    assert 80 < sum(runs[0]) < 160


@given(nanoseconds=st.integers(0, 4_000_000_000 * NS), digits=st.integers(3, 9))
def test_a_stamp_is_never_later_than_its_time(nanoseconds: int, digits: int) -> None:
    """So that `created_after` with a stamp that was shown finds what it was shown for."""
    assert 0 <= nanoseconds - read_stamp(stamp(nanoseconds, digits)) < 10 ** (9 - digits)


@pytest.mark.parametrize(
    "text", ["2026-01-02T03:04:05Z", "2026-01-02T03:04:05.000+00:00", "2026-01-02T04:04:05+0100", "2026-01-02T03:04:05"]
)
def test_any_iso_time_is_read(text: str) -> None:
    """With a zone, without, with any number of digits."""
    assert 1_767_323_045 * NS == read_stamp(text)


def test_the_safety_filter_drops_some_pictures_or_all() -> None:
    """By prompt and seed, so that another seed may pass; names keep the original index."""
    some = [fate_of(MODEL, {"prompt": "nsfw-some", "num_outputs": 4}, seed, unsafe_word="nsfw") for seed in range(20)]
    everything = fate_of(MODEL, {"prompt": "nsfw", "num_outputs": 4}, 1, unsafe_word="nsfw")

    assert all(0 < len(fate.images) < 4 for fate in some)
    assert len({fate.images for fate in some}) > 3
    assert "NSFW content detected. Try running it again, or try a different prompt." == everything.error


def test_too_many_pixels_fail_when_run() -> None:
    """The schema lets 1024 x 1024 through; the model does not."""
    given = {"prompt": "a hill", "width": 1024, "height": 1024}

    assert [] == MODEL.faults_in(given)
    assert "Maximum size is 1024x768" in str(fate_of(MODEL, given, 1, unsafe_word="nsfw").error)


def test_run_times_spread_around_their_median() -> None:
    """The same for the same prompt and seed."""
    times = sorted(run_seconds(2.0, prompt="a hill", seed=seed) for seed in range(501))

    assert run_seconds(2.0, prompt="a hill", seed=9) in times
    assert 1.9 < times[250] < 2.1
    assert times[0] > 0.8
    assert times[-1] < 5.0


def test_all_runs_wait_for_a_cold_model() -> None:
    """The first one's boot keeps those behind it waiting; an idle model is cold again."""
    boots = Boots(60)
    seen = [boots.ready_ns("m", second * NS) // NS for second in (0, 30, 90, 390, 700)]

    assert [60, 60, 90, 390, 760] == seen


@pytest.mark.parametrize(
    "arguments", [["--run-seconds", "-1"], ["--run-seconds", "inf"], ["--burst", "0"], ["--dialect", "x"]]
)
def test_a_bad_option_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """And is named."""
    with pytest.raises(SystemExit) as ended:
        parse(arguments, {})

    assert 2 == ended.value.code
    assert f"argument {arguments[0]}" in capsys.readouterr().err


def test_the_token_comes_from_the_command_line_or_the_environment() -> None:
    """In that order; without either any token is good."""
    environment = {"SANDBOX_TOKEN": "kept out of the process list"}

    assert "kept out of the process list" == parse([], environment).token
    assert "given" == parse(["--token", "given"], environment).token
    assert parse([], {}).token is None
