"""The script that everybody writes first: coroutines, nothing durable: `python -m ….asyncio_script FILE`."""

from __future__ import annotations

import asyncio
import sys

from ops.bench.peers import surroundings
from ops.bench.peers.awaiting import Maker


async def main(path: str) -> None:
    """Make all rows of the file, so many at once."""
    queue = iter(surroundings.rows(path))
    async with Maker() as maker:

        async def work() -> None:
            for row in queue:
                try:
                    await maker.stubborn(row)
                except Exception as error:  # noqa: BLE001 - one lost image must not end the night
                    print(row["id"], repr(error), file=sys.stderr)

        await asyncio.gather(*(work() for _ in range(surroundings.IN_FLIGHT)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
