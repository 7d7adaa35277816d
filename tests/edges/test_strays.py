"""Creates that nobody heard of, against the stand-in provider: what was lost is looked up, what is too much ended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from imagejobs.edges.dialects import Prediction
from imagejobs.job import Job
from imagejobs.settings import Settings
from imagejobs.states import State
from producer import submit_batch
from tests.servers.sandbox import SandboxServer
from tests.servers.waiting import eventually
from worker.calls import Calls
from worker.outcomes import Absent, Accepted, Wait
from worker.planning import NOTHING
from worker.services import Services, open_services
from worker.strays import Strays
from worker.sweeper import CALM_SECONDS, FIRST_LOOK_SECONDS, SOON_SECONDS, Sweeper
from worker.tender import BUSY_SECONDS, LOOK_UP, Tender
from worker.tender import CALM_SECONDS as TENDER_CALM_SECONDS

SPECS = [{"id": f"r{number}", "prompt": "the same", "seed": 5, "width": 128, "height": 128} for number in (1, 2)]
LOST = Absent(error="declared absent too soon", is_proven=True)


class Desk:
    """A batch of twins in a real ledger, and the doors of a worker; nothing works unless a test does it."""

    def __init__(self, services: Services, sandbox: SandboxServer) -> None:
        self.services = services
        self.sandbox = sandbox
        self.strays = Strays(services, calls=Calls(services))

    def job(self, number: int = 1) -> Job:
        """One of the two as it stands."""
        (job,) = self.services.ledger.views.jobs([number])
        return job

    def claim(self, number: int = 1, *, ago_seconds: float = 0.0) -> Job:
        """Its intent, committed."""
        services, now = self.services, self.services.clock.now() - ago_seconds
        services.ledger.turns.take(services.account, places=2, now=now + 600, resend_at=now)  # whatever its back-off
        (job,) = services.ledger.jobs.claim([number], account=services.account, now=now, resolve_at=now + 60)
        return job

    def create(self, job: Job) -> Prediction:
        """The POST."""
        made = self.services.provider.create(version=job.version, input=job.input, cancel_after_seconds=600)
        assert isinstance(made, Prediction)
        return made

    def accept(self, number: int = 1, *, ago_seconds: float = 0.0) -> str:
        """A create that is answered. Returns its prediction's id."""
        job = self.claim(number, ago_seconds=ago_seconds)
        accepted = Accepted(prediction_id=self.create(job).id, at=self.services.clock.now())
        self.services.write([(job, accepted)])
        return accepted.prediction_id

    def accept_unlisted(self, number: int = 1, *, ago_seconds: float = 0.0) -> str:
        """The same where the list lags behind for the rest of the test."""
        self.sandbox.faults([{"on": "list", "kind": "list_lag", "seconds": 600.0, "rate": 1.0}])
        return self.accept(number, ago_seconds=ago_seconds)

    def lose(self, number: int = 1) -> Job:
        """A create that is declared absent before it reaches the provider; the job waits again."""
        job = self.claim(number)
        self.services.write([(job, LOST)])
        return job

    def orphans(self) -> int:
        """As `status` shows them."""
        (batch,) = self.services.ledger.batches.all()
        return batch.orphans


@pytest.fixture
def desk(tmp_path, redis_url, database_url):
    """On both databases, with predictions that run for as long as a test."""
    with opened(tmp_path, redis_url, database_url, run_seconds=600) as desk:
        yield desk


@pytest.fixture
def quick_desk(tmp_path, redis_url, database_url):
    """With a model of a tenth of a second."""
    with opened(tmp_path, redis_url, database_url, run_seconds=0.1) as desk:
        yield desk


@contextmanager
def opened(folder: Path, redis_url: str, database_url: str, *, run_seconds: float) -> Iterator[Desk]:
    """A desk whose model takes about so long."""
    with SandboxServer(folder / "sandbox", run_seconds=run_seconds) as sandbox:
        environ = {**sandbox.settings, "REDIS_URL": redis_url, "DATABASE_URL": database_url}
        environ |= {"IMAGEJOBS_STORE": (folder / "store").as_uri(), "IMAGEJOBS_CALLS_PER_MINUTE": "0"}
        settings = Settings.read(environ)
        submit_batch(SPECS, batch="night", settings=settings)
        services = open_services(settings)
        yield Desk(services, sandbox)
        services.close()


def test_a_create_answered_too_late_is_adopted_while_its_job_waits(desk: Desk):
    """It was paid for, so it is used."""
    late = desk.create(desk.lose())
    desk.strays.take_late(desk.job(), late)

    assert (State.RUNNING, late.id, 0) == (desk.job().state, desk.job().prediction_id, desk.orphans())


def test_a_create_answered_too_late_is_cancelled_and_counted_where_its_job_has_another(desk: Desk):
    """Once, however often it is met."""
    late = desk.create(desk.lose())
    second = desk.claim()
    desk.services.write([(second, Accepted(prediction_id=desk.create(second).id, at=desk.services.clock.now()))])
    for _ in range(2):
        desk.strays.take_late(desk.job(), late)

    assert (State.RUNNING, 1) == (desk.job().state, desk.orphans())
    assert "canceled" == desk.services.provider.get(late.id).status


def test_a_cancel_that_did_not_get_through_is_asked_for_again(desk: Desk):
    """An orphan that runs on is seen in the next list."""
    late = desk.create(desk.lose())
    second = desk.claim()
    desk.services.write([(second, Accepted(prediction_id=desk.create(second).id, at=desk.services.clock.now()))])
    desk.sandbox.faults([{"on": "cancel", "kind": "status", "status": 503, "count": 1}])
    desk.strays.take_late(desk.job(), late)
    before = desk.services.provider.get(late.id).status
    Sweeper(desk.services).run()

    assert ("starting", "canceled", 1) == (before, desk.services.provider.get(late.id).status, desk.orphans())


def test_the_sweep_looks_for_orphans_though_nothing_runs(desk: Desk):
    """A batch may have ended otherwise long before."""
    late = desk.create(desk.lose())
    Sweeper(desk.services).run()

    assert (State.RUNNING, late.id) == (desk.job().state, desk.job().prediction_id)


def test_the_twin_that_waits_gets_what_the_other_has_too_much(desk: Desk):
    """Equal version and input: it does not matter whose create it was."""
    late = desk.create(desk.lose())
    second = desk.claim()
    desk.services.write([(second, Accepted(prediction_id=desk.create(second).id, at=desk.services.clock.now()))])
    desk.lose(2)
    Sweeper(desk.services).run()

    assert (late.id, 0) == (desk.job(2).prediction_id, desk.orphans())


def test_a_create_on_its_way_is_no_orphan(desk: Desk):
    """Its twin was lost before; what the list shows may be the answer that this one still waits for."""
    desk.lose()
    first = desk.claim()
    desk.services.write([(first, Accepted(prediction_id=desk.create(first).id, at=desk.services.clock.now()))])
    on_its_way = desk.create(desk.claim(2))
    Sweeper(desk.services).run()

    assert (State.SUBMITTING, 0) == (desk.job(2).state, desk.orphans())
    assert desk.services.provider.get(on_its_way.id).status in ("starting", "processing")


def test_where_nothing_was_lost_nothing_is_searched(desk: Desk):
    """No list call without a reason."""
    Sweeper(desk.services).run()

    assert 0 == desk.sandbox.stats()["lists"]


def test_one_that_the_list_is_not_read_on_for_waits_for_its_single_look(desk: Desk):
    """A hundred newer ones fill the page: to read that again and again would show nothing."""
    job = desk.claim(ago_seconds=30.0)
    prediction = desk.create(job)
    for _ in range(100):
        desk.services.provider.create(version=job.version, input={"prompt": "another's"}, cancel_after_seconds=600)
    desk.services.write([(job, Accepted(prediction_id=prediction.id, at=desk.services.clock.now()))])
    desk.services.write([(desk.job(), Wait(after_seconds=3.0))])
    seconds = Sweeper(desk.services).run()

    assert 1.0 < seconds == pytest.approx(desk.job().due_at - desk.services.clock.now(), abs=0.5)
    assert (1, 0) == (desk.sandbox.stats()["lists"], desk.sandbox.stats()["arrived"].get("get", 0))


def test_with_a_batch_that_is_not_finished_the_next_look_is_near(desk: Desk):
    """Its jobs may run at any moment; of a paused one, when somebody resumes it."""
    sweeper, ledger = Sweeper(desk.services), desk.services.ledger

    assert SOON_SECONDS == sweeper.run()

    (batch,) = ledger.batches.all()
    ledger.batches.pause(batch.id, kind="user", reason="wait", now=desk.services.clock.now())

    assert CALM_SECONDS == sweeper.run()


def test_with_jobs_to_send_house_keeping_is_soon_back(desk: Desk):
    """Also when nothing was to be done this time: what was sent for ahead does not last for long."""
    tender = Tender(desk.services)
    tender.run()

    assert BUSY_SECONDS == tender.run()

    (batch,) = desk.services.ledger.batches.all()
    desk.services.ledger.batches.pause(batch.id, kind="user", reason="wait", now=desk.services.clock.now())

    assert TENDER_CALM_SECONDS == tender.run()


def test_with_nothing_unfinished_the_sweep_rests_until_somebody_brings_work(desk: Desk):
    """House-keeping as well, once it has closed the batch."""
    ledger, now, tender = desk.services.ledger, desk.services.clock.now(), Tender(desk.services)
    with_work = tender.run()
    ledger.steering.cancel_queued(1, now=now)
    (batch,) = ledger.batches.all()
    assert ledger.batches.finish_closing(batch, now=now)
    without = tender.run()

    assert (BUSY_SECONDS, NOTHING, NOTHING) == (with_work, without, Sweeper(desk.services).run())


def test_a_prediction_that_the_list_shows_running_may_be_looked_at_singly_at_once(desk: Desk):
    """It may have ended by the next sweep, and newer ones have pushed it off the pages that are read."""
    job = desk.claim(ago_seconds=120.0)
    accepted = Accepted(prediction_id=desk.create(job).id, at=desk.services.clock.now())
    desk.services.write([(job, accepted)])
    desk.services.write([(desk.job(), Wait(after_seconds=-60.0))])
    due_at = desk.job().due_at
    Sweeper(desk.services).run()

    assert (State.RUNNING, due_at) == (desk.job().state, desk.job().due_at)


def test_a_few_that_the_list_does_not_show_are_looked_at_before_it_has_settled(desk: Desk):
    """It is not read on for so few of them, and they may have ended."""
    desk.accept_unlisted(ago_seconds=FIRST_LOOK_SECONDS)
    Sweeper(desk.services).run()

    assert (State.RUNNING, 1) == (desk.job().state, desk.sandbox.stats()["gets"])


def test_no_single_look_is_spent_on_what_has_just_begun(desk: Desk):
    """Nobody knows yet how long they take; the list may show it soon."""
    desk.accept_unlisted()
    Sweeper(desk.services).run()
    job, gets = desk.job(), desk.sandbox.stats()["gets"]

    assert job.intent_at is not None
    assert gets == 0 or desk.services.clock.now() > job.intent_at + FIRST_LOOK_SECONDS


def test_a_quick_one_that_the_list_does_not_show_is_looked_at_as_soon_as_it_may_have_ended(quick_desk: Desk):
    """The last few of a batch would else be waited for as long as if nobody knew."""
    desk, sweeper = quick_desk, Sweeper(quick_desk.services)
    first = desk.accept(1)
    eventually(lambda: desk.services.provider.get(first).is_final, what="the first ends")
    sweeper.run()
    assert State.STORING is desk.job(1).state

    second = desk.accept_unlisted(2)
    eventually(lambda: desk.services.provider.get(second).is_final, what="the second ends")
    sweeper.run()
    intent_at = desk.job(2).intent_at

    assert intent_at is not None
    assert State.STORING is desk.job(2).state or desk.services.clock.now() > intent_at + FIRST_LOOK_SECONDS


def test_a_quick_one_that_runs_on_is_looked_at_again_soon(quick_desk: Desk):
    """A second later, as with slower ones, would be as long as several of them take."""
    desk, sweeper = quick_desk, Sweeper(quick_desk.services)
    first = desk.accept(1)
    eventually(lambda: desk.services.provider.get(first).is_final, what="the first ends")
    sweeper.run()
    desk.sandbox.faults([{"on": "create", "kind": "slow_run", "seconds": 600.0}])
    desk.accept(2)
    desk.sandbox.faults([{"on": "list", "kind": "list_lag", "seconds": 600.0, "rate": 1.0}])
    looked_at = eventually(lambda: _looked(desk, sweeper), what="it is looked at")

    assert State.RUNNING is desk.job(2).state
    assert 0.0 < desk.job(2).due_at - looked_at < 1.0


def _looked(desk: Desk, sweeper: Sweeper) -> float | None:
    """When a sweep began that looked at one singly."""
    before, began = desk.sandbox.stats()["gets"], desk.services.clock.now()
    sweeper.run()
    return began if desk.sandbox.stats()["gets"] > before else None


PAGE_AND_MORE = 120  # predictions: the list has a hundred on a page


def lose_replies(desk: Desk, *, accepted: int) -> None:
    """Two creates by a process that did not live to hear the answer, on top of many others; both are due."""
    other = replace(desk.job(), input={**desk.job().input, "prompt": "another"})
    for _ in range(PAGE_AND_MORE):
        desk.create(other)
    jobs = [desk.claim(number, ago_seconds=120.0) for number in (1, 2)]
    for job in jobs[:accepted]:
        desk.create(job)


def test_a_look_up_reads_on_until_all_are_found(desk: Desk):
    """They stand on the first page, and what is older is nobody's business."""
    lose_replies(desk, accepted=2)

    assert (2, 1) == (Tender(desk.services).look_up(), desk.sandbox.stats()["lists"])
    assert [State.RUNNING] * 2 == [desk.job(number).state for number in (1, 2)]
    assert desk.job(1).prediction_id != desk.job(2).prediction_id


def test_absence_is_proven_by_the_whole_list(desk: Desk):
    """One of the twins is not there: every page is read before its create is sent again."""
    lose_replies(desk, accepted=1)

    assert (2, 2) == (Tender(desk.services).look_up(), desk.sandbox.stats()["lists"])
    assert {State.RUNNING, State.QUEUED} == {desk.job(number).state for number in (1, 2)}


def test_one_process_looks_up_at_a_time(desk: Desk):
    """Workers that start together would each read the whole list."""
    lose_replies(desk, accepted=2)
    broker, tender = desk.services.broker, Tender(desk.services)
    taken = broker.lease(LOOK_UP, seconds=60)
    meanwhile = tender.look_up(), desk.sandbox.stats()["lists"]
    broker.release(LOOK_UP)

    assert (True, (0, 0), 2) == (taken, meanwhile, tender.look_up())
    assert broker.lease(LOOK_UP, seconds=60)  # given back


def test_a_look_up_that_fails_gives_its_turn_back(desk: Desk):
    """The next round tries again, at whichever process it is."""
    lose_replies(desk, accepted=2)
    desk.sandbox.faults([{"on": "list", "kind": "status", "status": 503, "count": 1}])
    tender = Tender(desk.services)

    assert (0, 2) == (tender.look_up(), tender.look_up())
