"""`verify` by the real command: what is gone or damaged is found, and put back while the provider keeps it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from imagejobs.job import Batch
from tests.servers.sandbox import SandboxServer
from tests.servers.waiting import eventually
from tests.system.fleet import Fleet, assert_all_stored, assert_paid_once, rows


def damaged(fleet: Fleet) -> Batch:
    """A finished batch of eight images, one of which is gone, one other, and one cut short."""
    fleet.submit(rows(4, num_outputs=2))
    fleet.start(1)
    batch = fleet.closed()
    folder = fleet.folder / "store" / "night" / "images"
    (folder / "r0001-1.png").unlink()
    (folder / "r0002-0.png").write_bytes((folder / "r0002-1.png").read_bytes())
    (folder / "r0003-0.png").write_bytes((folder / "r0003-0.png").read_bytes()[:-7])
    return batch


def found_flaws(fleet: Fleet, *options: str) -> tuple[int, int, list[str]]:
    """`verify`: its exit code, how many it mended, and the images it lists."""
    ended = fleet.command("verify", "night", "--json", *options)
    facts = json.loads(ended.stdout)
    return ended.returncode, facts["mended"], [f"{flaw['id']}-{flaw['index']}" for flaw in facts["flaws"]]


def test_flaws_are_listed_and_mended_for_free(tmp_path: Path, redis_url: str, sandbox: SandboxServer):
    """Plain `verify` changes nothing; `--mend` makes the batch whole, byte for byte, and pays for nothing."""
    with Fleet(tmp_path, sandbox=sandbox, redis_url=redis_url) as fleet:
        batch = damaged(fleet)
        listed, again = found_flaws(fleet), found_flaws(fleet)
        mended = found_flaws(fleet, "--mend")
        after = found_flaws(fleet, "--deep")

        assert (3, 0, ["r0001-1", "r0002-0", "r0003-0"]) == (listed[0], listed[1], sorted(listed[2]))
        assert listed == again
        assert (0, 3, []) == mended
        assert (0, 0, []) == after
        assert batch == fleet.batch()
        assert_paid_once(fleet, batch)
        assert_all_stored(fleet, batch, images=8)


def test_only_the_very_bytes_are_put_back(tmp_path: Path, redis_url: str, sandbox: SandboxServer):
    """What the provider spoils on its way is left alone and listed, with the reason."""
    with Fleet(tmp_path, sandbox=sandbox, redis_url=redis_url) as fleet:
        damaged(fleet)
        before = (tmp_path / "store" / "night" / "images" / "r0003-0.png").read_bytes()
        sandbox.faults([{"on": "file", "kind": "wrong_size"}])
        ended = fleet.command("verify", "night", "--mend")

        assert 3 == ended.returncode
        assert 3 == ended.stdout.count("the provider gives other bytes now")
        assert before == (tmp_path / "store" / "night" / "images" / "r0003-0.png").read_bytes()


@pytest.mark.parametrize("is_forgotten", [False, True], ids=["deleted", "forgotten"])
def test_what_the_provider_has_deleted_is_listed_as_before(tmp_path: Path, redis_url: str, is_forgotten: bool):
    """With the rows to submit again: paid, and a person's choice."""
    with (
        SandboxServer(tmp_path / "sandbox", expire_seconds=6) as sandbox,
        Fleet(tmp_path, sandbox=sandbox, redis_url=redis_url) as fleet,
    ):
        damaged(fleet)
        last = sandbox.predictions()[-1]["id"]
        eventually(lambda: sandbox.get(last)["data_removed"], timeout_seconds=30, what="the outputs are deleted")
        if is_forgotten:
            sandbox.reset()
        ended = fleet.command("verify", "night", "--mend", "--rows", str(tmp_path / "again.jsonl"))
        rows_again = (tmp_path / "again.jsonl").read_text(encoding="utf-8").splitlines()

        assert 3 == ended.returncode
        assert "0 put back, 3 missing or wrong" in ended.stdout
        assert ["r0001", "r0002", "r0003"] == [json.loads(line)["id"] for line in rows_again]


def test_another_provider_is_not_asked(tmp_path: Path, redis_url: str, sandbox: SandboxServer):
    """It has other predictions, and would be given a token that is not its own."""
    with Fleet(tmp_path, sandbox=sandbox, redis_url=redis_url) as fleet:
        damaged(fleet)
        ended = fleet.command("verify", "night", "--mend", REPLICATE_BASE_URL="http://127.0.0.1:9")

        assert 2 == ended.returncode
        assert "REPLICATE_BASE_URL" in ended.stderr
