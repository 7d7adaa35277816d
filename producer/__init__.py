"""Who asks: records specs as batches and steers them. The command line is `imagejobs`; for Python there are two calls.

`submit_batch(rows, batch=…)` records rows and returns the batch; the same key and rows twice are the same batch.
`get_batch(key)` finds one that is there. Importing this package costs nothing; the work is in `producer.handle`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from producer.handle import BatchHandle, get_batch, submit_batch

__all__ = ["BatchHandle", "get_batch", "submit_batch"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from producer import handle

    return getattr(handle, name)
