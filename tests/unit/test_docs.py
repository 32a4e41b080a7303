"""The documentation says what is true: links lead somewhere, generated pages are up to date.

Write the generated pages again with `BULKHEAD_WRITE_DOCS=1 ./bulkhead check unit`.
"""

from __future__ import annotations

import ast
import copy
import inspect
import os
import re
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
import pytest

from bulkhead.cli.main import COMMANDS
from bulkhead.cli.main import bulkhead as program
from bulkhead.lib.dirs import repository_root
from bulkhead.model import repository, variant
from tests.support import settings_page

ROOT = repository_root()
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "changes").glob("*.md")])
NOTE = "<!-- Generated from the source by tests/unit/test_docs.py; do not edit. -->\n\n"


def commands_page() -> str:
    """Return the reference of all commands: what `--help` says."""
    context = click.Context(program, info_name="bulkhead", **program.context_settings)
    parts = ["# Commands\n\n", NOTE, "What `bulkhead COMMAND --help` says.\n"]
    return "".join([*parts, *helps(program, context, "")])


def helps(group: click.Group, context: click.Context, lead: str) -> Iterator[str]:
    """Yield the help of all commands in a group, and in the groups inside it."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        # click keeps the option of the first use, which may have been another test's, alone.
        command = copy.copy(command)
        command._help_option = None
        own = click.Context(
            command, info_name=name, parent=context, max_content_width=100, terminal_width=100
        )
        text = "\n".join(line.rstrip() for line in command.get_help(own).splitlines())
        yield f"\n## {lead}{name}\n\n```\n{text}\n```\n"
        if isinstance(command, click.Group):
            yield from helps(command, own, f"{lead}{name} ")


def variants_page() -> str:
    """Return the reference of `variant.toml`: every table and key of the model."""
    parts = ["# variant.toml\n\n", NOTE, f"{inspect.cleandoc(variant.__doc__ or '')}\n"]
    classes = [
        (module, node)
        for module in (variant, repository)
        for node in ast.parse(inspect.getsource(module)).body
        if isinstance(node, ast.ClassDef)
    ]
    for module, node in sorted(classes, key=lambda item: item[1].name != "Variant"):
        kind = getattr(module, node.name)
        if node.name.startswith("_") or not issubclass(kind, msgspec.Struct):
            continue
        title = "Top level" if node.name == "Variant" else node.name
        parts.append(f"\n## {title}\n\n{ast.get_docstring(node)}\n\n")
        parts.append("| key | value | |\n|---|---|---|\n")
        names = {field.name: field.encode_name for field in msgspec.structs.fields(kind)}
        for name, annotation, words in attributes(node):
            assert words, f"{node.name}.{name} has no sentence"
            parts.append(f"| `{names[name]}` | {annotation} | {words} |\n")
    return "".join(parts)


def attributes(node: ast.ClassDef) -> list[tuple[str, str, str]]:
    """Return name, type and description of a class's fields."""
    found = []
    for index, item in enumerate(node.body):
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            after = node.body[index + 1] if index + 1 < len(node.body) else None
            words = ""
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                words = " ".join(str(after.value.value).split()).replace("|", "\\|")
            found.append((item.target.id, plain_type(ast.unparse(item.annotation)), words))
    return found


def plain_type(annotation: str) -> str:
    """Return a type for people who write TOML."""
    text = annotation.replace(" | None", "").replace("dict[str, object]", "table")
    if match := re.fullmatch(r"tuple\[(.*), \.\.\.\]", text):
        return f"list of {plain_type(match[1])}"
    if match := re.fullmatch(r"dict\[str, (.*)\]", text):
        return f"table of {plain_type(match[1])} by name"
    if match := re.search(r"pattern='(.*?)'", text):
        pattern = str(ast.literal_eval(f"'{match[1]}'"))
        return f"text like `{pattern}`".replace("|", "\\|")
    plain = {"str": "text", "int": "number", "bool": "true or false", "Name": "name"}
    return plain.get(text, text.lower() if text.isidentifier() else f"`{text}`")


HOW_TO = DOCS / "how-to" / "add-settings.md"
PAGES_MADE = {
    "commands.md": commands_page,
    "variants.md": variants_page,
    "settings.md": lambda: settings_page.page(NOTE),
    "settings.schema.json": settings_page.schema,
}


@pytest.mark.parametrize("name", PAGES_MADE)
def test_generated_pages_are_up_to_date(name: str) -> None:
    """The reference is made from what the program itself knows."""
    made = PAGES_MADE[name]()
    path = DOCS / "reference" / name
    if os.environ.get("BULKHEAD_WRITE_DOCS"):
        path.write_text(made)

    assert path.read_text() == made


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page is a file or directory of the repository."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    broken = [
        target for target in targets if "://" not in target and not (page.parent / target).exists()
    ]

    assert broken == []


def test_every_command_that_a_page_shows_exists() -> None:
    """`bulkhead VERB` in any page is a command of the program."""
    known = {*COMMANDS, "python", "COMMAND", "VERB"}
    wrong = [
        f"{page.relative_to(ROOT)}: {verb}"
        for page in PAGES
        for verb in re.findall(
            r"(?:`|^\s*\$ |    )(?:\./)?bulkhead ([a-zA-Z]+)", page.read_text(), re.MULTILINE
        )
        if verb not in known
    ]

    assert wrong == []


def test_files_that_a_page_shows_are_what_it_shows() -> None:
    """A block below a file's name and a colon is that file's content."""
    wrong = [
        f"{page.relative_to(ROOT)}: {name}"
        for page in PAGES
        for name, block in re.findall(
            r"^`((?:tests|docs)/[\w./-]+)`[^\n]*:\n\n```\w*\n(.*?)^```$",
            page.read_text(),
            re.MULTILINE | re.DOTALL,
        )
        if block != (ROOT / name).read_text()
    ]
    shown = len(re.findall(r"^`tests/data/variants/logger/", HOW_TO.read_text(), re.MULTILINE))

    assert wrong == []
    assert shown == 5


def test_decisions_have_numbers_of_their_own() -> None:
    """Two changes at once may take the same number; one of them must move."""
    numbers = [path.name[:4] for path in (ROOT / "docs" / "decisions").glob("0*.md")]

    assert sorted(numbers) == [f"{number:04}" for number in range(1, len(numbers) + 1)]
