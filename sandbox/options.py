"""The command line of the stand-in provider, read once into a frozen record."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

DIALECTS = ("replicate", "images", "no-list")

EXAMPLE = """\
example:
  %(prog)s --port 8600 --run-seconds 2
  export REPLICATE_BASE_URL=http://127.0.0.1:8600 REPLICATE_API_TOKEN=any-word

dialects:
  replicate  prediction objects, list, cancel, webhooks; errors as problem+json
  no-list    a proxy: prediction objects, create answers 200, no list; errors as {"error": {...}}
  images     a proxy: create waits and answers {"created", "data": [...]}; nothing else exists

Control, for this machine only: GET /sandbox/stats, GET /sandbox/predictions, PUT /sandbox/faults,
PUT /sandbox/limits, POST /sandbox/reset.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """One field an option; `None` means that what the option guards is off."""

    host: str
    port: int
    prefix: str
    public_url: str | None
    links_base: str | None
    token: str | None
    state: Path | None
    ready_file: Path | None
    creates_per_minute: float
    calls_per_minute: float
    burst: int
    run_seconds: float
    cold_start_seconds: float
    expire_seconds: float
    min_cancel_after_seconds: float
    dialect: str
    images_as: str
    image_format: str
    image_cache: int
    unsafe_word: str
    faults: Path | None
    seed: int
    die_with_parent: bool


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> Options:
    """Exits with code 2 and a message on a usage error, as argparse does."""
    parser = argparse.ArgumentParser(
        prog="imagejobs sandbox",
        description="A stand-in for Replicate's HTTP API on this machine: real pictures, nothing to pay.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_addresses(parser)
    _add_behaviour(parser)
    _add_process(parser)
    parser.set_defaults(token=environment.get("SANDBOX_TOKEN") or None)
    return Options(**vars(parser.parse_args(arguments)))


def _add_addresses(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("address and access")
    group.add_argument("--host", default="127.0.0.1", help="interface to listen on (default: %(default)s)")
    group.add_argument("--port", type=int, default=0, help="0 picks a free one (default)")
    group.add_argument("--prefix", default="", help="path in front of /v1, as proxies have one, e.g. /replicate")
    group.add_argument("--public-url", help="base of the picture addresses (default: where it listens)")
    group.add_argument("--links-base", help="base of `next` and `urls.*` (default: the public URL)")
    group.add_argument("--token", help="the only bearer accepted, or SANDBOX_TOKEN (default: any that is not empty)")


def _add_behaviour(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("behaviour")
    group.add_argument("--dialect", choices=DIALECTS, default="replicate", help="see below (default: %(default)s)")
    group.add_argument("--creates-per-minute", type=_not_negative, default=600, help="0 = unlimited (default: 600)")
    group.add_argument("--calls-per-minute", type=_not_negative, default=3000, help="0 = unlimited (default: 3000)")
    group.add_argument("--burst", type=_positive_int, default=10, help="calls at once, in each bucket (default: 10)")
    group.add_argument("--run-seconds", type=_not_negative, default=2.0, help="median run time (default: 2)")
    group.add_argument("--cold-start-seconds", type=_not_negative, default=0.0, help="boot time of an idle model")
    group.add_argument("--expire-seconds", type=_not_negative, default=3600.0, help="data life after the end (3600)")
    group.add_argument(
        "--min-cancel-after-seconds", type=_not_negative, default=5.0, help="shortest Cancel-After (default: 5)"
    )
    group.add_argument("--images-as", choices=("url", "b64"), default="url", help="images dialect: how they come")
    group.add_argument("--image-format", choices=("png", "jpg", "webp"), default="png")
    group.add_argument(
        "--image-cache",
        type=int,
        default=0,
        metavar="N",
        help="draw only N pictures and vary a comment: for load tests",
    )
    group.add_argument("--unsafe-word", default="nsfw", help="prompts with it are filtered; WORD-some in part")
    group.add_argument("--faults", type=Path, metavar="FILE", help="JSON list of fault rules to start with")
    group.add_argument("--seed", type=int, default=0, help="of every random choice that faults make (default: 0)")


def _add_process(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("process")
    group.add_argument("--state", type=Path, metavar="FILE", help="journal: predictions outlive a restart")
    group.add_argument(
        "--ready-file", type=Path, metavar="FILE", help='written when listening: {"url": ..., "pid": ...}'
    )
    group.add_argument("--die-with-parent", action="store_true", help="end when the starting process (thread) ends")


def _not_negative(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 up")
    return value


def _positive_int(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1 up")
    return value
