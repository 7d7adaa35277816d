"""The process that makes a batch's files dies, or its worker does: the closing is done again, and nobody is left."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from imagejobs.job import Batch
from imagejobs.states import State
from tests.faults import matrix
from tests.servers.waiting import eventually
from tests.system.fleet import Fleet, rows


def the_closer_of(pid: int) -> int | None:
    """The process that makes the files for this worker, stopped; none while there is none."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for child in (thread / "children").read_text().split():
            command = Path(f"/proc/{child}/cmdline").read_bytes()
            if b"worker.closer" in command and b"tied.py" not in command:  # what its launcher has become
                os.kill(int(child), signal.SIGSTOP)
                return int(child)
    return None


def is_gone(pid: int) -> bool:
    """Whether the process has ended; its parent may not have noticed yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def stopped_in_its_midst(fleet: Fleet) -> int:
    """Work until the files are being made, and stop that there."""
    (worker,) = fleet.start(1)
    fleet.submit(rows(matrix.jobs()))
    return eventually(
        lambda: the_closer_of(worker.pid),
        timeout_seconds=60 + matrix.jobs(),
        every_seconds=0.005,
        ignoring=(FileNotFoundError,),
        what="the process that makes the files",
    )


def is_at_its_end(batch: Batch) -> bool:
    """Every job is done, and yet the batch is not closed."""
    return batch.counts[State.SUCCEEDED] == batch.total and not batch.is_done


def test_the_process_that_writes_the_files_is_killed(fleet: Fleet) -> None:
    """kill -9 of it alone: its worker puts the closing off, says so, and closes the batch after a while."""
    closer = stopped_in_its_midst(fleet)
    assert is_at_its_end(fleet.batch())
    os.kill(closer, signal.SIGKILL)
    batch = matrix.finished(fleet)

    (put_off,) = fleet.events("closing_put_off")
    assert "the process that made the files ended: killed by SIGKILL" == put_off["error"]
    matrix.proven(fleet, batch, fault="kill -9 of the process that makes a batch's files", injected=1)


def test_the_worker_whose_process_writes_the_files_is_killed(fleet: Fleet) -> None:
    """kill -9 of the worker: what it started does not outlive it, even stopped, and another worker closes the batch."""
    closer = stopped_in_its_midst(fleet)
    fleet.kill(fleet.workers[0])
    eventually(lambda: is_gone(closer), what="the end of the process that makes the files")
    assert is_at_its_end(fleet.batch())
    fleet.start(1)
    batch = matrix.finished(fleet)

    matrix.proven(fleet, batch, fault="kill -9 of a worker whose batch's files are being made", injected=1)
