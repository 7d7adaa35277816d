"""A worker that tells what its CPU time went into: `python -m ops.bench.dissect FILE` instead of `python -m worker`.

Each door and each task is wrapped by a stopwatch of its thread's CPU time, less that of the wrapped calls inside it. A
sampling profiler would take a thread that waits for the interpreter's lock for one that works. At `TELL`, the sums so
far are written to the file, with the process id in its name.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from inspect import isgeneratorfunction
from pathlib import Path
from types import FrameType
from typing import Any

TELL = signal.SIGRTMIN  # Celery has the two user signals
MAIN_THREAD = "Celery: the consumer's loop"


class Stopwatch:
    """Exclusive CPU seconds and calls by part, of all threads together."""

    def __init__(self, thread_time: Callable[[], float] = time.thread_time) -> None:
        """`thread_time` is what the calling thread has had of the processor, in seconds."""
        self._thread_time = thread_time
        self._sums = threading.Lock()
        self._local = threading.local()
        self.seconds: dict[str, float] = defaultdict(float)
        self.calls: Counter[str] = Counter()

    def around(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same call, timed."""

        @functools.wraps(call)
        def timed(*args: Any, **options: Any) -> Any:
            inside: list[float] = getattr(self._local, "inside", [])
            self._local.inside = inside
            inside.append(0.0)
            began = self._thread_time()
            try:
                return call(*args, **options)
            finally:
                took = self._thread_time() - began
                self._add(part, took - inside.pop())
                if inside:
                    inside[-1] += took

        return timed

    def wrap(self, owner: Any, name: str, part: str) -> None:
        """Time a method of a class, or a function of a module."""
        setattr(owner, name, self.around(part, getattr(owner, name)))

    def _add(self, part: str, seconds: float) -> None:
        with self._sums:
            self.seconds[part] += seconds
            self.calls[part] += 1

    def sums(self) -> dict[str, dict[str, float]]:
        """So far; `process` has the whole process's time, and the main thread's."""
        with self._sums:
            whole = {"all": time.process_time(), MAIN_THREAD: self._thread_time()}
            return {"seconds": dict(self.seconds), "calls": dict(self.calls), "process": whole}


def parts() -> Iterator[tuple[Any, str, str]]:
    """What a job's cost is made of: owner, name and part of the doors, the ledger's methods, the stages around them."""
    from imagejobs import closing, dispatch, limiter, queues
    from imagejobs.edges import bucket, download, provider
    from imagejobs.ledger import batches, strays, transitions, turns, views
    from worker import services, submitter, sweeper, tender
    from worker.stages import store

    for ledger in (batches.Batches, strays.Strays, transitions.Transitions, turns.Turns, views.Views):
        for name, member in list(vars(ledger).items()):
            if callable(member) and not name.startswith("_") and not isgeneratorfunction(member):
                yield ledger, name, f"ledger: {name.replace('_', ' ')}"
    yield provider.Provider, "create", "create: the POST"
    yield provider.Provider, "list", "list call"
    yield provider.Provider, "get", "single GET"
    yield download.Downloader, "fetch", "download"
    yield store, "inspect", "image check"
    yield bucket.BucketStore, "put", "put"
    yield bucket.BucketStore, "put_file", "put of a batch's files"
    yield limiter.Limiter, "reserve", "limiter"
    yield queues.Broker, "send", "publish"
    yield queues.Broker, "nudge", "publish"
    yield dispatch.Dispatch, "feed", "tend, the rest"
    yield closing, "close", "closing a batch"
    yield store.Copier, "copy", "copy, the rest: hash, decisions"
    yield services.Services, "write", "settle"
    yield submitter.Submitter, "run", "submit, the rest"
    yield sweeper.Sweeper, "run", "poll, the rest"
    yield tender.Tender, "run", "tend, the rest"


def main(report: Path) -> int:
    """Work as `python -m worker` does."""
    watch = Stopwatch()
    for owner, name, part in list(parts()):
        watch.wrap(owner, name, part)

    def tell(_: int, __: FrameType | None) -> None:
        draft = report.with_name(f"{report.name}.{os.getpid()}.draft")
        draft.write_text(json.dumps(watch.sums()), encoding="utf-8")
        draft.replace(report.with_name(f"{report.name}.{os.getpid()}"))

    signal.signal(TELL, tell)
    from worker.__main__ import main as work

    return work()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
