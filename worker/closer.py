"""The files of a batch, made by a process of their own: `python -m worker.closer BATCH FOLDER`.

What writing Parquet takes, a hundred megabytes and more, a worker would keep for the rest of its life. The worker reads
the ledger, which it has open, and tells the process the rows; that only writes below a folder; what it made, the worker
puts into the store. Whatever befalls it is a closing that is put off, and it ends with the worker, however that ends.

Rows come on standard input, as lines of JSON: those of images, an empty line, those given up, an empty line. The report
is one JSON object on standard output.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import redirect_stdout, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, cast

from pydantic_core import from_json

from imagejobs.batchfiles import Made, Rows, make_files
from imagejobs.errors import Cause, Transient
from imagejobs.manifest import Row, to_line
from imagejobs.tied import tied

_NOT_NEEDED = (
    *("REPLICATE_API_TOKEN", "IMAGEJOBS_WEBHOOK_SECRET", "REDIS_URL", "DATABASE_URL"),
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
)
_PATH = ["-P"] if sys.flags.safe_path else []
_END = b"\n"


def make_apart(rows: Rows, folder: Path) -> Made:
    """As `make_files`. Raises Transient for whatever goes wrong, also when the process ends without a word."""
    with subprocess.Popen(
        tied([sys.executable, *_PATH, "-m", "worker.closer", rows.batch, str(folder)], death_signal=signal.SIGKILL),
        env={name: value for name, value in os.environ.items() if name not in _NOT_NEEDED},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the worker to hear
    ) as process:
        said = _told(process, rows)
    return _made(process.returncode, said)


def _told(process: subprocess.Popen[bytes], rows: Rows) -> bytes:
    """What the process has to say of the rows."""
    pipe, said = cast("BinaryIO", process.stdin), cast("BinaryIO", process.stdout)
    try:
        for section in (rows.images, rows.given_up):
            pipe.writelines(map(to_line, section))
            pipe.write(_END)
    except BrokenPipeError:  # who no longer listens says why
        pass
    except BaseException:
        process.kill()  # before the pipe is closed: that would wait for one that is stopped
        raise
    finally:
        with suppress(BrokenPipeError):
            pipe.close()
    return said.read()


def _made(code: int, said: bytes) -> Made:
    if code:
        raise Transient(f"the process that made the files ended: {_ending(code)}", cause=Cause.STORAGE)
    report = json.loads(said)
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
        report = _report(*sys.argv[1:])
    print(json.dumps(report))  # noqa: T201 - to the worker


def _report(batch: str, folder: str) -> dict[str, Any]:
    lines = sys.stdin.buffer
    try:
        return asdict(make_files(Rows(batch=batch, images=_section(lines), given_up=_section(lines)), Path(folder)))
    except OSError as error:
        return {"error": str(error)}


def _section(lines: Iterable[bytes]) -> Iterator[Row]:
    for line in lines:
        if line == _END:
            return
        yield from_json(line)
    raise EOFError("the worker ended before its rows did")


if __name__ == "__main__":
    main()
