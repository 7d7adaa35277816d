"""RQ by its documentation: one function an image, `Retry` for errors.

Workers: `rq worker-pool -n 8 -u $REDIS_URL`. To enqueue: `python -m ops.bench.peers.rq_app FILE`.
"""

from __future__ import annotations

import sys

from redis import Redis
from rq import Queue, Retry

from ops.bench.peers import blocking, surroundings

if __name__ == "__main__":
    queue = Queue(connection=Redis.from_url(surroundings.REDIS_URL))
    for row in surroundings.rows(sys.argv[1]):
        queue.enqueue(blocking.whole, row, retry=Retry(max=surroundings.TRIES, interval=1), result_ttl=0)
