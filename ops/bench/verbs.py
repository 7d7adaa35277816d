"""What `python -m ops.bench` can be told to do: a verb each."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ops.bench.book import Figures


def no_options(_: argparse.ArgumentParser) -> None:
    """For a verb that has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """A verb whose figures go into the book, and onto a section of the page with a column for each thing measured.

    `measure` yields the name of what it measured (a ledger and its size, say) and its figures; each is kept at once.
    """

    name: str
    help: str
    title: str
    measure: Callable[[argparse.Namespace], Iterable[tuple[str, Figures]]]
    options: Callable[[argparse.ArgumentParser], None] = no_options


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """Any other verb: it prints what it found."""

    name: str
    help: str
    run: Callable[[argparse.Namespace], None]
    options: Callable[[argparse.ArgumentParser], None] = no_options
