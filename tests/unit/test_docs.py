"""What the docs say of the code is true: generated parts, links, commands, variables, paths, names and examples."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

from typer.main import get_group

from imagejobs.errors import BadInput
from imagejobs.models.catalogue import Models
from imagejobs.settings import DEFAULT_VERSION, Settings
from imagejobs.spec import parse_row
from ops.docs import generate
from producer.cli import app

ROOT = generate.ROOT
CODE = ("imagejobs", "producer", "worker", "sandbox")
FOLDERS = (*CODE, "ops", "tests", "docs", "examples")


def on_every_page(find: Callable[[Path], Iterable[str]]) -> list[str]:
    """What `find` objects to, with the page it stands on."""
    return [f"{page.relative_to(ROOT)}: {objection}" for page in generate.pages() for objection in find(page)]


@cache
def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def code_blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text_of(page), re.DOTALL | re.MULTILINE)


def in_code(page: Path) -> set[str]:
    """Everything set in code type in the running text."""
    prose = re.sub(r"^```.*?^```", "", text_of(page), flags=re.DOTALL | re.MULTILINE)
    return set(re.findall(r"`([^`\n]+)`", prose))


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@cache
def words_of_the_code() -> frozenset[str]:
    paths = [path for folder in CODE for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".lua")]
    return frozenset(word for path in paths for word in re.findall(r"\w+", text_of(path)))


def test_generated_parts_are_up_to_date() -> None:
    """What a page says of the code was made from this code."""

    def stale(page: Path) -> Iterable[str]:
        if text_of(page) != generate.refreshed(text_of(page)):
            yield "run `make docs`"

    assert [] == on_every_page(stale)


def test_links_within_the_repository_resolve() -> None:
    """A relative link leads to a file, and its fragment to a heading there."""

    def broken(page: Path) -> Iterable[str]:
        for link in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
            target, _, fragment = link.partition("#")
            file = page.parent / target if target else page
            if not target.startswith("https:") and not (file.exists() and (not fragment or fragment in anchors(file))):
                yield link

    assert [] == on_every_page(broken)


def test_variables_exist() -> None:
    """A variable of ours that a page names is a setting."""
    settings = {field.alias for field in Settings.model_fields.values()}

    def unknown(page: Path) -> Iterable[str]:
        named = re.findall(r"\b(?:IMAGEJOBS|REPLICATE)_[A-Z0-9_]+\b|\b(?:REDIS|DATABASE)_URL\b", text_of(page))
        return set(named) - settings

    assert [] == on_every_page(unknown)


def test_commands_exist() -> None:
    """A command that a page shows is one, and so is each of its options."""
    commands = get_group(app).commands.items()
    options = {verb: {option for one in command.params for option in one.opts} for verb, command in commands}

    def unknown(page: Path) -> Iterable[str]:
        for verb, words in _commands_on(page):
            if verb not in options:
                yield verb
            elif verb != "sandbox":  # its options are its own program's
                known = options[verb] | {"-", "--help"}
                yield from (f"{verb} {word}" for word in words if word.startswith("-") and word not in known)

    assert [] == on_every_page(unknown)


def _commands_on(page: Path) -> Iterable[tuple[str, list[str]]]:
    """Each use of `imagejobs VERB …` in an example or in code type, comments left out."""
    lines = [line.partition(" #")[0] for block in code_blocks(page, "sh") for line in block.splitlines()]
    for line in [*lines, *in_code(page)]:
        if found := re.search(r"(?:^|[ /])imagejobs ([a-z]\S*)(.*)", line):
            yield found[1], found[2].split()


def test_paths_exist() -> None:
    """A path of the repository that a page names is there."""

    def missing(page: Path) -> Iterable[str]:
        paths = {text for text in in_code(page) if re.fullmatch(rf"(?:{'|'.join(FOLDERS)})/[\w./-]*", text)}
        return {path for path in paths if not (ROOT / path).exists()}

    assert [] == on_every_page(missing)


def test_names_exist() -> None:
    """A name with an underscore in it, in code type, is a word of the code: an event, a field, a setting."""

    def unknown(page: Path) -> Iterable[str]:
        names = {text for text in in_code(page) if re.fullmatch(r"_?[A-Za-z][A-Za-z0-9]*(?:_[A-Za-z0-9]+)+", text)}
        return {name for name in names - words_of_the_code() if not name.startswith("AWS_")}

    assert [] == on_every_page(unknown)


def test_proofs_exist() -> None:
    """A test that a page calls a proof is there, under that name."""

    def missing(page: Path) -> Iterable[str]:
        for path, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text_of(page)):
            if not (ROOT / path).exists() or f"def {name}(" not in text_of(ROOT / path):
                yield f"{path}::{name}"

    assert [] == on_every_page(missing)


def test_examples_can_be_read() -> None:
    """Every example in Python or JSON is one, and every example of an input row would be accepted as it stands."""
    models = Models(fetch=lambda _: None, recall=lambda _: None, remember=lambda *_: None)
    readers: dict[str, Callable[[str], object]] = {
        "python": ast.parse,
        "json": json.loads,
        "jsonl": lambda rows: [
            parse_row(
                row.encode(), line=1, number=1, default_version=DEFAULT_VERSION, batch="docs", checks=models.check
            )
            for row in rows.splitlines()
        ],
    }

    def unreadable(page: Path) -> Iterable[str]:
        for language, read in readers.items():
            for example in code_blocks(page, language):
                try:
                    read(example)
                except (SyntaxError, ValueError, BadInput) as error:
                    yield f"{language}: {error}"

    assert [] == on_every_page(unreadable)
