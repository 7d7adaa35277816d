"""Copying, with real files and a real record behind it: what is deleted is told from what only cannot be had now."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from imagejobs.clock import SystemClock
from imagejobs.edges.download import Downloader
from imagejobs.edges.folder import FolderStore
from imagejobs.edges.provider import Provider
from imagejobs.errors import Cause
from imagejobs.job import Job
from imagejobs.limiter import Limiter
from imagejobs.settings import Settings
from imagejobs.states import State
from tests.making import a_job
from tests.servers.sandbox import SandboxServer
from tests.servers.waiting import eventually
from worker.outcomes import GiveUp, Outcome, Retry, Stored, Wait
from worker.stages.record import Record
from worker.stages.store import OVERTIME_SECONDS, Copier

GONE = {"on": "file", "kind": "gone"}
HOUR = 3600.0
COPIES = 20


@pytest.fixture
def copier(tmp_path: Path, sandbox: SandboxServer, redis_url: str) -> Iterator[Copier]:
    """The doors of a worker, to the sandbox and a folder."""
    settings = Settings.read({**sandbox.settings, "IMAGEJOBS_READ_SECONDS": "3"})
    clock = SystemClock()
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        calls = Limiter(client, "calls", per_minute=0)
        yield Copier(
            downloader=Downloader(settings),
            record=Record(provider=Provider(settings, clock=clock), calls=calls, clock=clock),
            store=FolderStore(tmp_path / "store"),
            clock=clock,
            dice=lambda: 0.5,
            max_bytes=settings.max_image_bytes,
            max_pixels=settings.max_image_pixels,
        )


def storing(sandbox: SandboxServer, *, hour_over_since: float = -HOUR, **facts: object) -> Job:
    """A job whose prediction has finished at the sandbox, an hour (or what is said) before its outputs' expiry."""
    given = {"prompt": "a lighthouse", "seed": 5, "width": 128, "height": 128, "num_outputs": facts.get("outputs", 1)}
    seen = sandbox.finished(sandbox.create(**given)["id"])
    now = time.time()
    usual = {"state": State.STORING, "input": given, "prediction_id": seen["id"], "output": tuple(seen["output"])}
    times = {"intent_at": now - 2 * HOUR, "expires_at": now - hour_over_since}
    return a_job(**{**usual, **times, **facts})


def assert_comes_again(outcome: Outcome) -> None:
    """The copy is tried again, for free."""
    assert isinstance(outcome, Wait), outcome
    assert outcome.copy_failed


def test_a_404_is_not_believed_while_the_record_shows_the_output(copier, sandbox):
    """However often it was looked for: a file host may say so for a minute, and the output is paid for."""
    sandbox.faults([GONE])
    job = storing(sandbox, copy_tries=50)

    assert_comes_again(copier.copy(job))
    sandbox.faults([])
    assert isinstance(copier.copy(job), Stored)


def test_what_the_record_says_was_deleted_is_generated_again(copier, sandbox):
    """Long before its hour is over, too: there is nothing left to wait for."""
    job = replace(storing(sandbox), prediction_id=one_that_lost_its_data(sandbox))
    sandbox.faults([GONE])
    outcome = copier.copy(job)

    assert isinstance(outcome, Retry), outcome
    assert Cause.EXPIRED is outcome.cause


def one_that_lost_its_data(sandbox: SandboxServer) -> str:
    """A prediction whose record shows no output any more."""
    sandbox.faults([{"on": "create", "kind": "data_removed"}])
    removed = str(sandbox.create(prompt="removed", seed=6)["id"])
    eventually(lambda: sandbox.get(removed).get("data_removed"), what="its data are removed")
    return removed


def test_images_that_came_are_kept_where_another_never_does(copier, sandbox):
    """The first is not to be had: the others are copied all the same, and told of, however it ends."""
    kept = storing(sandbox, outputs=4, hour_over_since=OVERTIME_SECONDS + 60)
    removed = replace(kept, prediction_id=one_that_lost_its_data(sandbox))
    outcomes = []
    for job in (kept, removed):
        sandbox.faults([{**GONE, "count": 1}])
        outcomes.append(copier.copy(job))

    assert [GiveUp, Retry] == [type(outcome) for outcome in outcomes]
    assert [[1, 2, 3]] * 2 == [[image.index for image in outcome.images] for outcome in outcomes]


def test_an_image_that_cannot_be_used_keeps_none_of_the_others_back(copier, sandbox):
    """They are paid for, too."""
    job = storing(sandbox, outputs=4)
    sandbox.faults([{"on": "file", "kind": "wrong_size", "count": 1}])
    outcome = copier.copy(job)

    assert isinstance(outcome, GiveUp), outcome
    assert [1, 2, 3] == [image.index for image in outcome.images]


def test_an_image_that_cannot_be_had_now_keeps_none_of_the_others_back(copier, sandbox, tmp_path):
    """It may take them an hour; only a store that fails ends a round of copying."""
    job = storing(sandbox, outputs=4)
    sandbox.faults([{"on": "file", "kind": "status", "status": 403, "count": 1}])

    assert_comes_again(copier.copy(job))
    assert 3 == len(list((tmp_path / "store" / "night" / "images").iterdir()))


def test_a_copied_image_is_freed_without_the_collector(copier, sandbox):
    """A worker has cycles looked for rarely; an image that was part of one would stay for thousands of others."""
    job = storing(sandbox)
    first = copier.copy(job)
    assert isinstance(first, Stored)
    gc.disable()
    tracemalloc.start()
    try:
        for _ in range(COPIES):
            copier.copy(job)
        left, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()

    assert left < COPIES * first.images[0].bytes / 5  # what is left is small things, not images


def test_the_clock_alone_deletes_nothing(copier, sandbox):
    """An hour is the provider's word, and it keeps many for longer."""
    sandbox.faults([{"on": "file", "kind": "status", "status": 503}])
    job = storing(sandbox, hour_over_since=60.0)

    assert_comes_again(copier.copy(job))
    sandbox.faults([])
    assert isinstance(copier.copy(job), Stored)


def test_what_is_kept_and_never_to_be_had_ends_unpaid(copier, sandbox):
    """An hour past its hour: whether to pay again is then for a person to say."""
    sandbox.faults([GONE])
    outcome = copier.copy(storing(sandbox, hour_over_since=OVERTIME_SECONDS + 60))

    assert isinstance(outcome, GiveUp), outcome
    assert Cause.DOWNLOAD is outcome.cause


def test_addresses_that_have_changed_are_taken_from_the_record(copier, sandbox):
    """Signed ones run out before what they lead to."""
    job = storing(sandbox)
    (address,) = job.output
    moved = replace(job, output=(address.replace("/files/", "/files/was-"),))

    assert isinstance(copier.copy(moved), Stored)


def test_a_provider_that_cannot_be_asked_settles_nothing(copier, sandbox):
    """Nobody has said that it was deleted."""
    job = storing(sandbox, hour_over_since=60.0)
    sandbox.kill()

    assert_comes_again(copier.copy(job))


def test_a_record_that_was_forgotten_keeps_nothing(copier, sandbox):
    """As proxies do; but an id only seconds old may just not be readable yet."""
    job = storing(sandbox)
    sandbox.reset()

    assert isinstance(copier.copy(job), Retry)
    assert_comes_again(copier.copy(replace(job, intent_at=time.time())))
    assert_comes_again(copier.copy(replace(job, accepted_at=time.time())))  # however long the reply was in coming


def test_without_a_record_the_clock_decides(copier, sandbox):
    """Proxies that answer with the images have none to ask for."""
    sandbox.faults([GONE])

    assert_comes_again(copier.copy(storing(sandbox, prediction_id=None)))
    assert isinstance(copier.copy(storing(sandbox, prediction_id=None, hour_over_since=1.0)), Retry)
