"""The files of a batch, made by a process of their own: `python -m worker.closer BATCH FOLDER`.

What writing Parquet takes, a hundred megabytes and more, a worker would keep for the rest of its life. The process only
reads the ledger and writes below a folder; what it made, the worker puts into the store. Whatever befalls it is a
closing that is put off, and it ends with the worker, however that ends.

The ledger's address it has from its environment; its report is one JSON object on standard output.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Any

from imagejobs.batchfiles import Made, make_files
from imagejobs.errors import BadSetting, Cause, Transient
from imagejobs.job import Batch
from imagejobs.ledger import LEDGER_ERRORS, Ledger
from imagejobs.tied import tied

LEDGER = "DATABASE_URL"
_NOT_NEEDED = (
    *("REPLICATE_API_TOKEN", "IMAGEJOBS_WEBHOOK_SECRET", "REDIS_URL"),
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
)
_PATH = ["-P"] if sys.flags.safe_path else []


def make_apart(ledger: Ledger, batch: Batch, folder: Path) -> Made:
    """As `make_files`. Raises Transient for whatever goes wrong, also when the process ends without a word."""
    environ = {name: value for name, value in os.environ.items() if name not in _NOT_NEEDED}
    done = subprocess.run(
        tied([sys.executable, *_PATH, "-m", "worker.closer", batch.key, str(folder)], death_signal=signal.SIGKILL),
        env={**environ, LEDGER: ledger.database.engine.url.render_as_string(hide_password=False)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the worker to hear
        check=False,
    )
    return _made(done)


def _made(done: subprocess.CompletedProcess[bytes]) -> Made:
    if done.returncode:
        raise Transient(f"the process that made the files ended: {_ending(done.returncode)}", cause=Cause.STORAGE)
    report = json.loads(done.stdout)
    if "error" in report:
        raise Transient(report["error"], cause=Cause.STORAGE)
    return Made(**report)


def _ending(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def main() -> None:
    """Make the files, and report. Whatever else is printed meanwhile goes where the log goes."""
    # pyarrow imports them where they are installed: 0.4 s of processor time for what no table of ours needs.
    for name in ("numpy", "pandas"):
        sys.modules[name] = None  # type: ignore[assignment] # its import fails, as if it were not there
    with redirect_stdout(sys.stderr):
        report = _report(os.environ[LEDGER], *sys.argv[1:])
    print(json.dumps(report))  # noqa: T201 - to the worker


def _report(url: str, key: str, folder: str) -> dict[str, Any]:
    try:
        with Ledger(url) as ledger:
            batch = ledger.batches.get(key)
            if batch is None:
                raise LookupError(f"the ledger has no batch {key}")  # opened batches are never deleted
            return asdict(make_files(ledger, batch, Path(folder)))
    except (*LEDGER_ERRORS, BadSetting, OSError) as error:
        return {"error": str(error)}


if __name__ == "__main__":
    main()
