"""Which batch is meant: by its key, or by the beginning of it."""

from __future__ import annotations

from difflib import get_close_matches

from imagejobs.errors import Complaint
from imagejobs.job import Batch
from imagejobs.ledger import Ledger

FEW = 5  # keys named in a message


def find_batch(ledger: Ledger, key: str) -> Batch:
    """The batch of that key, or the only one whose key begins so. Raises Complaint with those that may be meant."""
    exact = ledger.batches.get(key)
    if exact is not None:
        return exact
    batches = ledger.batches.all()
    begun = [batch for batch in batches if batch.key.startswith(key)]
    if len(begun) == 1:
        return begun[0]
    if begun:
        raise Complaint(f"{len(begun)} batches begin with {key}: {_named([batch.key for batch in begun])}")
    keys = [batch.key for batch in batches]
    alike = get_close_matches(key, keys, n=FEW, cutoff=0.5)
    if alike:
        raise Complaint(f"no batch {key}; is it {' or '.join(alike)}?")
    raise Complaint(f"no batch {key}; " + (f"there are: {_named(keys)}" if keys else "nothing was submitted yet"))


def _named(keys: list[str]) -> str:
    return ", ".join(keys[:FEW]) + (", …" if len(keys) > FEW else "")
