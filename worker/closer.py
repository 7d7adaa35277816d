"""The files of a batch, written by a process of their own: `python -m worker.closer BATCH`.

What writing Parquet takes, a hundred megabytes and more, a worker would keep for the rest of its life. The process is
the worker's: what befalls it is a closing that is put off, and it ends with the worker, however that ends. Otherwise
one that outlived a killed worker could write over the files of a later closing, and nobody would write those again.

Ledger and store it opens anew, by the worker's own environment; its report is one JSON object on standard output.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from imagejobs.edges.store import Store
from imagejobs.errors import BadSetting, Cause, Permanent, Refused, Transient
from imagejobs.job import Batch
from imagejobs.ledger import Ledger
from imagejobs.patience import Patience
from imagejobs.tied import tied

_NOT_NEEDED = ("REPLICATE_API_TOKEN", "IMAGEJOBS_WEBHOOK_SECRET")
_SORTS = {kind.__name__: kind for kind in (Refused, Permanent, Transient)}
_PATH = ["-P"] if sys.flags.safe_path else []


def write_apart(ledger: Ledger, store: Store, batch: Batch, *, patience: Patience) -> int:  # noqa: ARG001 - its own
    """As `write_files`, with the same errors; Transient also when the process ends without a word."""
    environ = {name: value for name, value in os.environ.items() if name not in _NOT_NEEDED}
    done = subprocess.run(
        tied([sys.executable, *_PATH, "-m", "worker.closer", batch.key], death_signal=signal.SIGKILL),
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the worker to hear
        check=False,
    )
    return _images(done)


def _images(done: subprocess.CompletedProcess[bytes]) -> int:
    if done.returncode:
        raise Transient(f"the process that wrote the files ended: {_ending(done.returncode)}", cause=Cause.STORAGE)
    report = json.loads(done.stdout)
    if "error" in report:
        raise _SORTS[report["error"]](report["text"], cause=Cause(report["cause"]))
    return int(report["images"])


def _ending(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def main() -> None:
    """Write the files, and report."""
    print(json.dumps(_report(sys.argv[1], os.environ)))  # noqa: T201 - to the worker


def _report(key: str, environ: Mapping[str, str]) -> dict[str, Any]:
    try:
        return {"images": _write(key, environ)}
    except (Refused, Permanent, Transient) as error:
        return {"error": type(error).__name__, "text": str(error), "cause": error.cause}


def _write(key: str, environ: Mapping[str, str]) -> int:
    """Raises what the store raises; Transient for a ledger that is away, and for want of room on the disk."""
    from imagejobs.batchfiles import write_files
    from imagejobs.edges.bucket import open_store
    from imagejobs.ledger import LEDGER_ERRORS
    from imagejobs.settings import Settings

    try:
        settings = Settings.read(environ)
        with Ledger(settings.database) as ledger:
            batch = ledger.batches.get(key)
            if batch is None:
                raise LookupError(f"the ledger has no batch {key}")  # opened batches are never deleted
            return write_files(ledger, open_store(settings.store_url), batch, patience=Patience())
    except (*LEDGER_ERRORS, BadSetting, OSError) as error:
        raise Transient(str(error), cause=Cause.STORAGE) from None


if __name__ == "__main__":
    main()
