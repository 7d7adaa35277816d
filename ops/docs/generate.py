"""Brings the generated parts of the docs up to date: `make docs`.

A page says `<!-- generated: NAME -->` … `<!-- end -->`, and what stands between is made from the code by the function
of that name in `BLOCKS`. What a page says of a setting, a cause or a command is therefore never a promise from memory;
`tests/unit/test_docs.py` fails where a page was left behind.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
LEVELS = {"info": "info", "warning": "warning", "error": "error", "exception": "error"}  # of the logger's methods


def pages() -> list[Path]:
    """Every page of the repository's words."""
    return sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def refreshed(text: str) -> str:
    """The page with its generated parts made anew. Raises KeyError for a part that nobody makes."""
    return BLOCK.sub(lambda found: f"{found[1]}\n{BLOCKS[found[2]]()}\n\n{found[3]}", text)


def states() -> str:
    """The drawing of a job's states, from the table that the ledger obeys."""
    from imagejobs.states import FINAL, TRANSITIONS

    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> queued"]
    for source, targets in TRANSITIONS.items():
        lines += [f"    {source} --> {target}: {_drawable(when)}" for target, when in targets.items()]
    lines += [f"    {state} --> [*]" for state in TRANSITIONS if state in FINAL]
    return "\n".join([*lines, "```"])


def _drawable(when: str) -> str:
    """Mermaid ends a label at a second colon and at a semicolon."""
    return when.replace(": ", " \u2013 ").replace(";", ",")


def state_meanings() -> str:
    """A table of the states."""
    from imagejobs.states import TRANSITIONS, State

    rows = [
        (f"`{state}`", meaning, ", ".join(f"`{target}`" for target in TRANSITIONS[State(state)]) or "nothing")
        for state, meaning in _remarks(State).items()
    ]
    return table(("state", "meaning", "leaves to"), rows)


def causes() -> str:
    """A table of the causes of failure, with what a retry would do."""
    from imagejobs.errors import Cause

    rows = [(f"`{cause}`", meaning, Cause(cause).retry_advice) for cause, meaning in _remarks(Cause).items()]
    return table(("cause", "meaning", "what `retry` would do"), rows)


def _remarks(words: type[StrEnum]) -> dict[str, str]:
    """The remark behind each member of an enumeration. Raises ValueError where one has none."""
    remarks = dict(re.findall(r'^    [A-Z_]+ = "([a-z_]+)"  # (.+)$', inspect.getsource(words), re.MULTILINE))
    if remarks.keys() != set(words):
        raise ValueError(f"every member of {words.__name__} needs a remark on its line")
    return {word: remarks[word] for word in words}


def commands() -> str:
    """A table of the commands, from the command line itself."""
    from typer.main import get_group

    from producer.cli import app

    rows = []
    for verb, command in get_group(app).commands.items():
        arguments = [str(one.metavar) for one in command.params if one.param_type_name == "argument"]
        options = [f"`{one.opts[0]}`" for one in command.params if one.param_type_name == "option"]
        purpose = " ".join((command.help or "").partition("\n\n")[0].split())
        rows.append((f"`{' '.join([verb, *arguments])}`", purpose, ", ".join(options)))
    return table(("command", "what it does", "options"), rows)


def settings() -> str:
    """A table of the variables that imagejobs reads."""
    from imagejobs.settings import Settings

    rows = []
    for field in Settings.model_fields.values():
        default = "none" if field.default in (None, False) else f"`{field.default}`"
        rows.append((f"`{field.alias}`", default, str(field.description)))
    return table(("variable", "default", "meaning"), rows)


def model_inputs() -> str:
    """A table of the inputs of the model that needs no version."""
    from imagejobs.models.stable_diffusion import StableDiffusionInput
    from imagejobs.models.wording import expected

    rows = []
    for name, schema in StableDiffusionInput.model_json_schema()["properties"].items():
        default = schema.get("default")
        rows.append((f"`{name}`", "none" if default is None else f"`{default}`", expected(schema)))
    return table(("input", "default", "what it takes"), rows)


def status() -> str:
    """What `status --json` prints of one batch, from the function that makes it."""
    from imagejobs.job import Batch
    from imagejobs.limiter import Standing
    from imagejobs.states import State
    from producer import limits
    from producer.facts import facts

    began = datetime(2026, 11, 24, 22, tzinfo=UTC).timestamp()
    counts = {State.RUNNING: 40, State.STORING: 10, State.SUCCEEDED: 900, State.FAILED: 10, State.QUEUED: 40}
    batch = Batch(
        id=1,
        key="night",
        account="api.replicate.com",
        store="s3://pictures/runs",
        total=1000,
        counts={state: counts.get(state, 0) for state in State},
        images=900,
        creates_sent=965,
        opened_at=began,
        first_submitted_at=began + 1,
        nearest_expiry=began + 3690,
    )
    standing = Standing(allowed=600.0, unused_seconds=0.0)
    limited = limits.limit(limits.Facts(batches=[batch], now=began + 101, standing=standing))
    shown = {**facts(batch, now=began + 101), **limits.shown(limited, standing)}
    return f"```json\n{json.dumps(shown, indent=2)}\n```"


def exit_codes() -> str:
    """A table of what the commands end with."""
    from imagejobs.errors import Complaint
    from producer import facts

    meanings = {
        facts.ALL_SUCCEEDED: "every job succeeded; or the command did what it was asked",
        1: "an internal error",
        Complaint.exit_code: "bad usage, bad input or a setting that cannot be used; nothing was spent",
        facts.SOME_FAILED: "finished with failures",
        facts.PAUSED: "paused: billing, the store, the breaker, or by hand",
        facts.INTERRUPTED: "interrupted: the same command goes on, and within the hour no output is lost",
    }
    return table(("exit code", "meaning"), [(f"`{code}`", meaning) for code, meaning in sorted(meanings.items())])


def layout() -> str:
    """A table of the objects of one batch, with real keys."""
    from imagejobs import layout as keys

    batch = "night"
    rows = [
        (keys.image_key(batch, "r1", 0, "png"), "the first image of row `r1`; the number is the provider's own index"),
        (keys.file_key(batch, keys.METADATA), "a line an image, as Hugging Face's ImageFolder reads it"),
        (keys.part_key(batch, 0, "jsonl"), "the manifest as JSON lines, a line an image"),
        (keys.part_key(batch, 0, "parquet"), "the same as Parquet"),
        (keys.file_key(batch, keys.FAILED), "rows that failed, as `submit` takes them"),
        (keys.file_key(batch, keys.FAILURES), "why they failed, and what was canceled"),
        (
            keys.file_key(batch, keys.MARKER),
            "JSON counts, written last: every job is final and all of the above is there",
        ),
    ]
    return table(("key", "content"), [(f"`{key}`", content) for key, content in rows])


def manifest() -> str:
    """A table of the manifest's columns."""
    from imagejobs import manifest as module

    remarks = dict(re.findall(r'^    "(\w+)": "\w+",  # (.+)$', inspect.getsource(module), re.MULTILINE))
    rows = [(f"`{name}`", kind, remarks.get(name, "")) for name, kind in module.COLUMNS.items()]
    return table(("column", "type in Parquet", "remark"), rows)


def events() -> str:
    """A table of what the log tells, by level and name, with the facts beside it."""
    found = sorted({event for folder in ("imagejobs", "worker", "producer") for event in _events(ROOT / folder)})
    rows = [(f"`{name}`", level, ", ".join(facts), f"`{module}`") for name, level, facts, module in found]
    return table(("event", "level", "facts", "from"), rows)


def _events(folder: Path) -> Iterator[tuple[str, str, tuple[str, ...], str]]:
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id="log"), attr=call),
                    args=[ast.Constant(value=str(name))],
                    keywords=facts,
                ) if call in LEVELS:
                    named = tuple(fact.arg for fact in facts if fact.arg)
                    yield name, LEVELS[call], named, path.relative_to(ROOT).as_posix()


def decisions() -> str:
    """A list of the decision records, by number."""
    records = sorted((ROOT / "docs" / "decisions").glob("0*.md"))
    titles = [path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ") for path in records]
    return "\n".join(f"- [{title}]({path.name})" for title, path in zip(titles, records, strict=True))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    ruled = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_in_cell(text) for text in row) + " |" for row in ruled)


def _in_cell(text: str) -> str:
    return text.replace("|", r"\|").replace("<", "&lt;")


BLOCKS: dict[str, Callable[[], str]] = {
    "states": states,
    "state-meanings": state_meanings,
    "causes": causes,
    "commands": commands,
    "settings": settings,
    "model-inputs": model_inputs,
    "status": status,
    "exit-codes": exit_codes,
    "layout": layout,
    "manifest": manifest,
    "events": events,
    "decisions": decisions,
}


def main() -> None:
    """Rewrite every page that is not up to date."""
    for page in pages():
        text = page.read_text(encoding="utf-8")
        if (fresh := refreshed(text)) != text:
            page.write_text(fresh, encoding="utf-8")
            print(f"{page.relative_to(ROOT)} brought up to date")


if __name__ == "__main__":
    main()
