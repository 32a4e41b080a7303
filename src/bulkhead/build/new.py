"""Makes the directory of a new variant: a commented `variant.toml` and what belongs beside it."""

from __future__ import annotations

import re
from pathlib import Path

from bulkhead.build import variants
from bulkhead.lib import suggest
from bulkhead.lib.atomicfile import new_directory
from bulkhead.lib.dirs import repository_root
from bulkhead.model.errors import UserError

# Shorter than a variant's name may be: with a version of six characters such as "1.2.34" it
# still fits into the label of a partition (`disk.partition_label`).
NAME = re.compile(r"[a-z][a-z0-9-]{0,19}")

VARIANT = """\
# What is in the image "@name@". This small file is a complete variant: lists
# are added to those of "@parent@", single values replace its values, and
# "-item" in a list takes away what "@parent@" has in it.

name = "@name@"
description = "@parent@ and what we add"
version = "0.1"
inherit = ["@parent@"]

# Files at the paths where they will be in the image: units, sysctl settings, ….
rootfs = ["rootfs"]

# Groups of settings of your own, each a directory; see docs/how-to/add-settings.md.
# settings-groups = ["./settings/NAME"]

# What a node is told by its image; every setting is in docs/reference/settings.md.
# [settings]
# motd = "This is @name@."

[packages]
# Debian packages for the host: "name", "name=version" or "name/suite". The
# exact packages are written to variant.lock beside this file, which belongs
# into version control.
host = []

[kernel]
# Added to the kernel's command line.
command-line = []
# Modules beside those of "@parent@": names, or patterns of paths below kernel/.
modules = []

[units]
# systemd units that start at boot; their files come from packages or rootfs/.
enable = []
# Units that must never start.
mask = []

# Any apt repository, with the keys that may sign it:
# [[repositories]]
# name = "example"
# location = "https://packages.example.com/debian"
# suites = ["trixie"]
# keys = ["example.gpg"]

# A single file from elsewhere, pinned by its hash:
# [[files]]
# path = "usr/bin/tool"
# url = "https://downloads.example.com/tool-1.2-linux-amd64"
# sha256 = "…"
# size = 1234567
# mode = "0755"

# A package whose maintainer scripts matter needs a rule that says why they need
# not run, and may say which of its files go in:
# [rules.PACKAGE]
# keep = ["usr/bin/*"]
# scripts = { postinst = "only makes a user, which sysusers.d does" }
"""

SETTINGS = """\
# Kernel settings of @name@, read at boot after Bulkhead's own; see sysctl.d(5).
# net.core.somaxconn = 4096
"""

README = """\
# @name@

An image of Bulkhead, the container operating system, described by `variant.toml`.
Files below `rootfs/` are laid over the image at the same paths.

With `bulkhead` standing for the launcher in a checkout of Bulkhead, in this directory:

    bulkhead build ./           # makes the image in a few seconds, and variant.lock the first time
    bulkhead up ./              # starts it in a virtual machine
    bulkhead lock ./ --update   # moves to the newest packages and says what changed
    bulkhead verify --variant ./ IMAGE   # builds an image again and compares the bytes

Put `variant.toml`, `variant.lock` and `rootfs/` under version control: together with the version
of Bulkhead they decide every byte of the image.
"""


def default_folder(name: str, *, here: Path) -> Path:
    """Return where a variant goes when nobody says: below `here`, but never in the checkout."""
    root = repository_root()
    base = here.resolve()
    return (root.parent if base == root or root in base.parents else base) / name


def make(name: str, folder: Path, *, parent: str) -> Path:
    """Make the directory `folder` of the variant `name`, whole or not at all; return its file.

    Raises:
        UserError: the name cannot be one or is taken, the parent is not a
            variant, or `folder` exists.
    """
    if not NAME.fullmatch(name):
        raise UserError(
            f"{name!r} cannot be a variant's name",
            hint="use up to 20 small letters, digits and dashes, with a letter first",
        )
    known = variants.names()
    if name in known:
        raise UserError(f"{name!r} is one of Bulkhead's own variants", hint="choose another name")
    if parent not in known:
        hint = suggest.hint(parent, known) or f"known: {', '.join(known)}"
        raise UserError(f"there is no variant {parent!r} to start from", hint=hint)
    if folder.exists():
        raise UserError("is there already", where=str(folder), hint="name another with -o DIR")
    files = {
        "variant.toml": VARIANT,
        "README.md": README,
        ".gitignore": "/out/\n",
        f"rootfs/usr/lib/sysctl.d/90-{name}.conf": SETTINGS,
    }
    with new_directory(folder) as scratch:
        for path, text in files.items():
            target = scratch / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text.replace("@name@", name).replace("@parent@", parent), "utf-8")
    return folder / "variant.toml"
