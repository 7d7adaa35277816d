"""Bad input and faults of the surroundings: a clear word, the way out, and nothing spent."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commandline import CommandLine, Ended
from tests.servers.ports import free_port
from tests.system.fleet import ROOT, rows

GOOD = '{"id": "a", "prompt": "a lighthouse"}'
BAD_ROWS = {
    "empty file": ("", ["no rows"]),
    "bad JSON": (GOOD + "\n{not json", ["line 2"]),
    "unknown key": ('{"id": "a", "prompt": "x", "widht": 512}', ["line 1", "widht", "width"]),
    "wrong type": ('{"id": "a", "prompt": "x", "num_outputs": "many"}', ["line 1", "num_outputs", "many"]),
    "duplicate id": (GOOD + "\n" + GOOD, ["line 2", "id", "line 1"]),
    "escaping id": ('{"id": "../../etc/passwd", "prompt": "x"}', ["line 1", "id"]),
    "too many pixels": ('{"id": "a", "prompt": "x", "width": 1024, "height": 1024}', ["line 1", "1024", "768"]),
    "no outputs": ('{"id": "a", "prompt": "x", "num_outputs": 0}', ["line 1", "num_outputs", "0"]),
    "a 10 MB prompt": (json.dumps({"id": "a", "prompt": "x" * 10_000_000}), ["line 1"]),
}


@pytest.fixture
def command(tmp_path: Path) -> CommandLine:
    """The command, with a token for a provider that nobody must reach."""
    return CommandLine(tmp_path, REPLICATE_API_TOKEN="r8_never_to_be_shown")


def file_of(folder: Path, text: str) -> Path:
    """A file of rows."""
    file = folder / "rows.jsonl"
    file.write_text(text, encoding="utf-8")
    return file


def assert_clear(ended: Ended, *words: str, code: int = 2) -> None:
    """The exit code, the words, no traceback, no secret."""
    said = ended.out + ended.err
    assert code == ended.code, said
    assert [] == [word for word in words if word not in said], said
    assert "Traceback" not in said
    assert "r8_never_to_be_shown" not in said


@pytest.mark.parametrize(("text", "words"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_a_bad_row_is_named_and_nothing_is_recorded(command, tmp_path, text, words):
    """Line, field, value and way out; no batch, no message, no money."""
    ended = command("submit", file_of(tmp_path, text))

    assert_clear(ended, *words)
    assert [] == command("status", "--json").facts["batches"]


def test_one_bad_row_of_two_hundred_thousand_is_found_in_bounded_memory(command, tmp_path):
    """The file is read twice, never held."""
    file = tmp_path / "many.jsonl"
    with file.open("w", encoding="utf-8") as out:
        for number in range(200_000):
            out.write(
                f'{{"prompt": "lighthouse {number}", "steps": 5}}\n'
                if number == 150_000
                else f'{{"prompt": "{number}"}}\n'
            )
    # The high-water mark of this very program: ru_maxrss would begin with that of the test runner.
    program = (
        "import re, sys, pathlib; from producer.cli import main\n"
        "try: main()\n"
        "finally: print(re.search(r'VmHWM:.*', pathlib.Path('/proc/self/status').read_text())[0], file=sys.stderr)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, "submit", file],
        env={**command.environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    peak_mb = int(ended.stderr.rpartition("VmHWM:")[2].split()[0]) / 1024

    assert 2 == ended.returncode
    assert "line 150001, steps" in ended.stderr
    assert peak_mb < 250
    assert [] == command("status", "--json").facts["batches"]


def test_a_key_used_again_for_other_rows_is_refused_with_the_difference(command, tmp_path):
    """The same key is the same batch, or an error that says what differs."""
    first = command("submit", file_of(tmp_path, GOOD), "--batch", "night")
    other = command("submit", file_of(tmp_path, '{"id": "a", "prompt": "a windmill"}'), "--batch", "night")

    assert 0 == first.code, first.err
    assert_clear(other, "night", "a")


def test_without_a_token_it_says_which_variable_and_that_there_is_a_sandbox(tmp_path):
    """Nothing is recorded for a night that cannot work."""
    ended = CommandLine(tmp_path)("run", file_of(tmp_path, GOOD))

    assert_clear(ended, "REPLICATE_API_TOKEN", "--sandbox")


def test_an_unreachable_redis_is_named(command, tmp_path):
    """Without its password."""
    command.environment["REDIS_URL"] = f"redis://:r8_never_to_be_shown@127.0.0.1:{free_port()}/0"
    ended = command("submit", file_of(tmp_path, GOOD))

    assert_clear(ended, "Redis", "REDIS_URL")
    assert [] == command("status", "--json").facts["batches"]


def test_a_store_that_cannot_be_written_is_named(command, tmp_path):
    """A folder below a file, whoever asks."""
    (tmp_path / "file").write_text("in the way")
    command.environment["IMAGEJOBS_STORE"] = f"file://{tmp_path}/file/store"

    assert_clear(command("run", file_of(tmp_path, GOOD)), str(tmp_path / "file"))


def test_a_missing_bucket_is_named(command, tmp_path, s3_server):
    """Before anything is sent."""
    command.environment |= {**s3_server.settings, "IMAGEJOBS_STORE": "s3://no-such-bucket/night"}

    assert_clear(command("run", file_of(tmp_path, GOOD)), "no-such-bucket")


def test_wrong_bucket_credentials_are_named_without_the_secret(command, tmp_path, s3_server):
    """A store that checks signatures refuses; the emulator does not look, and so cannot be asked."""
    if type(s3_server).__name__ == "MinistackServer":
        pytest.skip("ministack does not check secrets in headers")
    settings = {**s3_server.settings, "AWS_SECRET_ACCESS_KEY": "r8_never_to_be_shown"}
    command.environment |= {**settings, "IMAGEJOBS_STORE": f"s3://{s3_server.make_bucket()}/night"}

    assert_clear(command("run", file_of(tmp_path, GOOD)), "AWS_SECRET_ACCESS_KEY")


def test_a_wrong_token_pauses_with_the_providers_words_and_burns_nothing(command, tmp_path, sandbox):
    """Exit code 4; every job is still queued, and no create was accepted."""
    command.environment["REPLICATE_BASE_URL"] = sandbox.url
    ended = command("run", file_of(tmp_path, GOOD), "--batch", "night")

    assert_clear(ended, "401", code=4)
    assert (1, 0) == (command.status("night")["queued"], sandbox.stats()["creates_accepted"])


def test_an_unreachable_provider_pauses_the_batch(command, tmp_path):
    """Connections refused, again and again: the breaker says so, and nothing has used up a try."""
    command.environment["REPLICATE_BASE_URL"] = f"http://127.0.0.1:{free_port()}"
    lines = "\n".join(json.dumps(row) for row in rows(20))
    ended = command("run", file_of(tmp_path, lines), "--batch", "night", timeout_seconds=90)

    assert_clear(ended, "cannot reach", code=4)
    assert (20, 0) == tuple(command.status("night")[name] for name in ("queued", "creates_sent"))
