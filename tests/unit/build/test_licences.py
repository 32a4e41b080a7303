"""Licences from Debian's copyright files."""

from __future__ import annotations

import pytest

from bulkhead.build import licences
from bulkhead.build.tree import Entry, Tree, file, symlink

HEAD = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n"


@pytest.mark.parametrize(
    ("short", "spdx"),
    [
        ("GPL-2+", "GPL-2.0-or-later"),
        ("GPL-2", "GPL-2.0-only"),
        ("LGPL-2.1+", "LGPL-2.1-or-later"),
        ("Expat", "MIT"),
        ("GPL-2+ or Expat", "GPL-2.0-or-later OR MIT"),
        ("BSD-3-clause and ISC", "BSD-3-Clause AND ISC"),
        ("GPL-2 or BSD-3-clause and ISC", "GPL-2.0-only OR (BSD-3-Clause AND ISC)"),
        ("public-domain", "LicenseRef-public-domain"),
        ("GPL-3+ with exception (x)", "LicenseRef-GPL-3-with-exception-x"),
    ],
)
def test_short_names_become_spdx_expressions(short: str, spdx: str) -> None:
    """What SPDX knows is translated, the rest is a reference and not a guess."""
    assert licences.expression(f"{HEAD}Files: *\nCopyright: x\nLicense: {short}\n text\n") == spdx


def test_all_groups_of_files_count_but_not_the_packaging() -> None:
    """Licences are joined by AND, alternatives keep their parentheses, `debian/*` is left out."""
    text = (
        f"{HEAD}Files: *\nLicense: GPL-2+ or Expat\n\n"
        "Files: src/x.c\n src/y.c\nLicense: ISC\n the text\n\n"
        "Files: debian/*\nLicense: GPL-3+\n\n"
        "License: Apache-2.0\n the text\n"
    )

    assert licences.expression(text) == "(GPL-2.0-or-later OR MIT) AND ISC"


def package(**entries: Entry) -> Tree:
    """Return a package with these entries below usr/share/doc; `__` stands for a slash."""
    tree = Tree()
    for name, entry in entries.items():
        tree.put("usr/share/doc/" + name.replace("__", "/"), entry)
    return tree


def test_free_text_is_not_guessed_at() -> None:
    """An old copyright file, or none, has no machine-readable answer."""
    old = package(a__copyright=file("It is GPL-2+.\n"))

    assert licences.declared({"a": old, "b": Tree()}) == {}


def test_packages_that_share_a_file_have_its_licence() -> None:
    """Debian lets packages of one source link to each other's documentation."""
    packages = {
        "b": package(b__copyright=file(f"{HEAD}Files: *\nLicense: ISC\n")),
        "a": package(a=symlink("b")),
        "c": package(c__copyright=symlink("../b/copyright")),
        "d": package(d=symlink("absent")),
    }

    assert licences.declared(packages) == {"a": "ISC", "b": "ISC", "c": "ISC"}
