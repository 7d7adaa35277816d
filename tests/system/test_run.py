"""`imagejobs run` as a person uses it: a home folder, a file, and the stand-in provider."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from producer.commands.asking import WORK_BEGINS
from tests.commandline import CommandLine
from tests.servers.waiting import eventually
from tests.system.fleet import ROOT, rows


@pytest.fixture
def command(tmp_path: Path) -> CommandLine:
    """The command, on a home folder of its own, with nothing configured."""
    return CommandLine(tmp_path)


def specs(folder: Path, count: int, *extra: dict[str, object]) -> Path:
    """A file of small rows."""
    file = folder / "specs.jsonl"
    lines = [json.dumps(row) for row in [*rows(count), *extra]]
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def run(command: CommandLine, file: Path, *options: str):
    """Run the file against the sandbox, to its end."""
    return command("run", file, "--sandbox", "--batch", "night", *options, timeout_seconds=90)


def paid(command: CommandLine) -> list[str]:
    """The inputs of the predictions that the sandbox has accepted, by its own journal."""
    journal = next((command.home / "sandbox").glob("*.jsonl"))
    events = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
    return [json.dumps(event["create"]["input"], sort_keys=True) for event in events if "create" in event]


def test_a_file_becomes_a_folder_of_images_and_a_second_run_pays_for_nothing(command, tmp_path):
    """The main job, and its idempotence."""
    file = specs(
        tmp_path, 8, {"id": "four", "prompt": "four lighthouses", "num_outputs": 4, "width": 128, "height": 128}
    )
    first = run(command, file, "--json")
    second = run(command, file)
    folder = command.home / "batches" / "night"

    assert (0, 0) == (first.code, second.code), first.err + second.err
    assert (9, 12, 9) == tuple(first.facts[name] for name in ("succeeded", "images", "creates_sent"))
    assert 12 == len(list((folder / "images").iterdir()))
    assert 9 == json.loads((folder / "_SUCCESS").read_text())["succeeded"]
    assert "0 creates sent by this run" in second.err
    assert 9 == len(paid(command)) == len(set(paid(command)))
    assert {} == command.processes()


def test_failures_end_with_exit_code_3_and_a_list_a_person_can_read(command, tmp_path):
    """By cause, with a sample and what a retry would do; the retry shows its price first."""
    ended = run(command, specs(tmp_path, 3, {"id": "bad", "prompt": "nsfw", "width": 128, "height": 128}))
    listed = command("failures", "night")
    previewed = command("retry", "night", "--dry-run")
    unasked = command("retry", "night")

    assert 3 == ended.code, ended.err
    assert 0 == listed.code
    assert "safety" in listed.out
    assert "bad" in listed.out
    assert 0 == previewed.code, previewed.err
    assert 2 == unasked.code  # nobody to ask: --yes is needed, and nothing is paid for
    assert 1 == command.status("night")["failed"]


def test_where_no_worker_runs_what_only_queues_says_so(command, tmp_path):
    """`retry` and `resume` name what begins the work; the same run again does it."""
    file = specs(tmp_path, 1, {"id": "bad", "prompt": "nsfw", "width": 128, "height": 128})
    run(command, file)
    retried = command("retry", "night", "--yes")
    command("pause", "night")
    resumed = command("resume", "night")
    queued = command.status("night")["queued"]
    run(command, file)

    assert (0, 0) == (retried.code, resumed.code), retried.err + resumed.err
    assert WORK_BEGINS in retried.out
    assert WORK_BEGINS in resumed.err
    assert (1, 0) == (queued, command.status("night")["queued"])


def test_interrupted_it_goes_on_where_it_was(command, tmp_path):
    """Ctrl-C: 130, and the same command finishes; every row is paid for once."""
    file = specs(tmp_path, 60)
    running = command.start("run", file, "--sandbox", "--batch", "night")
    eventually((command.home / "ledger.sqlite").exists, what="the ledger")
    command.reached("night", succeeded=5)
    running.interrupt()
    ended = running.end()
    again = run(command, file, "--json")

    assert 130 == ended.code, ended.err
    assert "the same command goes on from here" in ended.err
    assert 0 == again.code, again.err
    assert 60 == again.facts["succeeded"]
    assert 60 == len(paid(command)) == len(set(paid(command)))


def test_killed_it_leaves_no_server_behind_and_goes_on(command, tmp_path):
    """kill -9 of the command: its children end with it, and the next run does the rest."""
    file = specs(tmp_path, 40)
    running = command.start("run", file, "--sandbox", "--batch", "night")
    eventually((command.home / "ledger.sqlite").exists, what="the ledger")
    command.reached("night", succeeded=3)
    running.kill()
    eventually(lambda: not command.processes(), timeout_seconds=40, what="no process left behind")
    command.environment |= {"IMAGEJOBS_READ_SECONDS": "3", "IMAGEJOBS_SETTLE_SECONDS": "1"}
    again = run(command, file, "--json")

    assert 0 == again.code, again.err
    assert 40 == again.facts["succeeded"]
    assert 40 == len(set(paid(command))) == len(paid(command))


def test_two_runs_of_one_file_are_one_batch(command, tmp_path):
    """At once, on one home folder: one truth at the end, and nothing is paid for twice."""
    file = specs(tmp_path, 25)
    one, two = (command.start("run", file, "--sandbox", "--batch", "night") for _ in range(2))
    first, second = one.end(timeout_seconds=90), two.end(timeout_seconds=90)

    assert (0, 0) == (first.code, second.code), first.err + second.err
    assert 25 == command.status("night")["succeeded"] == len(paid(command))
    assert {} == command.processes()


def test_the_example_of_a_pipeline_works(command, tmp_path):
    """What a pipeline may copy: submit, wait, read the images."""
    file = specs(tmp_path, 5)
    assert 0 == run(command, file).code
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "pipeline.py", file, "night"],
        env={**command.environment, "PYTHONPATH": str(ROOT), "IMAGEJOBS_ACCOUNT": "sandbox"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert 0 == done.returncode, done.stderr
    assert 5 == len(done.stdout.splitlines())
