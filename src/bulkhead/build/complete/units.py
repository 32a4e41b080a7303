"""Enables systemd units as `systemctl preset` would, and checks that all is there.

Only the units that the variant names are enabled; the links go to
`usr/lib/systemd/system`, so that `/etc` stays free for settings. Links of
packages (`*.wants/`) to units that were not chosen are dropped.
Source: systemd.unit(5), section [Install].
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

from bulkhead.build.tree import Kind, Tree, symlink
from bulkhead.lib import suggest
from bulkhead.model.errors import UserError

FOLDER = "usr/lib/systemd/system"


def write(tree: Tree, *, enable: Iterable[str], mask: Iterable[str]) -> None:
    """Enable and mask units.

    Raises:
        UserError: a unit is not in the image, or has no [Install] section.
    """
    for name in mask:
        tree.remove(f"{FOLDER}/{name}")
        tree.put(f"{FOLDER}/{name}", symlink("/dev/null"))
    for name in enable:
        _enable(tree, name)


def _enable(tree: Tree, name: str) -> None:
    path = f"{FOLDER}/{_template(name)}"
    if path not in tree:
        known = [posixpath.basename(p) for p in tree.below(FOLDER)]
        raise UserError(
            f"unit {name!r} is not in the image", where="units.enable",
            hint=suggest.hint(name, known) or "is its package's rule keeping it?",
        )  # fmt: skip
    resolved = tree.resolve(path)
    install = _install(tree[resolved].read().decode()) if resolved else {}
    links = [f"{target}.wants/{name}" for target in install.get("WantedBy", ())]
    links += [f"{target}.requires/{name}" for target in install.get("RequiredBy", ())]
    for link in links:
        tree.put(f"{FOLDER}/{link}", symlink(f"../{_template(name)}"))
    for alias in install.get("Alias", ()):
        tree.put(f"{FOLDER}/{alias}", symlink(name))
    for also in install.get("Also", ()):
        if f"{FOLDER}/{also}" in tree and not links:
            _enable(tree, also)
    if not links and not install.get("Alias") and not install.get("Also"):
        raise UserError(
            f"unit {name!r} has no [Install] section, so it cannot be enabled",
            where="units.enable",
        )


def _template(name: str) -> str:
    stem, at, rest = name.partition("@")
    return f"{stem}@{rest[rest.rindex('.') :]}" if at else name


def _install(text: str) -> dict[str, list[str]]:
    section = ""
    found: dict[str, list[str]] = {}
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            section = line
        elif section == "[Install]" and "=" in line and not line.startswith(("#", ";")):
            key, _, value = line.partition("=")
            found.setdefault(key.strip(), []).extend(value.split())
    return found


def drop_dangling_links(tree: Tree) -> None:
    """Remove the links in `*.wants`, `*.requires` and aliases whose unit was not chosen."""
    for path in list(tree.below(FOLDER)):
        entry = tree.get(path)
        if entry is None or entry.kind is not Kind.SYMLINK or entry.target == "/dev/null":
            continue
        if tree.resolve(path) is None and _template(posixpath.basename(path)) == posixpath.basename(
            path
        ):
            tree.remove(path)
