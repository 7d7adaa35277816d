"""A worker's doors and a batch of two that are alike, for tests that do by hand what a worker does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from imagejobs.edges.dialects import Prediction
from imagejobs.job import Job
from imagejobs.settings import Settings
from producer import submit_batch
from tests.servers.sandbox import SandboxServer
from worker.calls import Calls
from worker.outcomes import Absent, Accepted
from worker.services import Services, open_services
from worker.strays import Strays

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

    def accept(self, number: int = 1, *, claimed_ago: float = 0.0, accepted_ago: float = 0.0) -> str:
        """A create that is answered. Returns its prediction's id."""
        job = self.claim(number, ago_seconds=claimed_ago or accepted_ago)
        accepted = Accepted(prediction_id=self.create(job).id, at=self.services.clock.now() - accepted_ago)
        self.services.write([(job, accepted)])
        return accepted.prediction_id

    def hide(self, *faults: Mapping[str, object]) -> None:
        """The list lags behind for the rest of the test; and whatever else goes wrong."""
        self.sandbox.faults([{"on": "list", "kind": "list_lag", "seconds": 600.0, "rate": 1.0}, *faults])

    def lose(self, number: int = 1) -> Job:
        """A create that is declared absent before it reaches the provider; the job waits again."""
        job = self.claim(number)
        self.services.write([(job, LOST)])
        return job

    def orphans(self) -> int:
        """As `status` shows them."""
        (batch,) = self.services.ledger.batches.all()
        return batch.orphans


@contextmanager
def open_desk(folder: Path, redis_url: str, database_url: str, *, run_seconds: float) -> Iterator[Desk]:
    """A desk whose model takes about so long."""
    with SandboxServer(folder / "sandbox", run_seconds=run_seconds) as sandbox:
        environ = {**sandbox.settings, "REDIS_URL": redis_url, "DATABASE_URL": database_url}
        environ |= {"IMAGEJOBS_STORE": (folder / "store").as_uri(), "IMAGEJOBS_CALLS_PER_MINUTE": "0"}
        settings = Settings.read(environ)
        submit_batch(SPECS, batch="night", settings=settings)
        services = open_services(settings)
        yield Desk(services, sandbox)
        services.close()
