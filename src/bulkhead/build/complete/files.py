"""Single files that a root needs and that no package ships as they are."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from pathlib import Path

from bulkhead.build import steps
from bulkhead.build.select import merged
from bulkhead.build.tree import Entry, Kind, Tree, directory, file, file_from, symlink

# Mount points and the directories that programs expect to exist.
DIRECTORIES = {
    "boot": 0o755, "dev": 0o755, "efi": 0o755, "etc": 0o755, "home": 0o755, "mnt": 0o755,
    "proc": 0o555, "root": 0o700, "run": 0o755, "srv": 0o755, "sys": 0o555, "tmp": 0o1777,
    "usr": 0o755, "usr/bin": 0o755, "usr/lib": 0o755, "usr/lib64": 0o755, "usr/sbin": 0o755,
    "var": 0o755,
}  # fmt: skip

MERGED_LINKS = {"bin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64", "sbin": "usr/sbin"}


def write_skeleton(tree: Tree) -> None:
    """Put the directories and the merged-/usr links of any root into the tree."""
    for path, mode in DIRECTORIES.items():
        if path not in tree:
            tree.put(path, directory(mode=mode))
    for path, target in MERGED_LINKS.items():
        tree.put(path, symlink(target))


def merge_sbin(tree: Tree) -> None:
    """Move all of `usr/sbin` into `usr/bin` and make it a link, as systemd wants it.

    Relative links stay right, because both have the same parent. Where one is
    in both, the file in `usr/bin` stays.
    """
    for path in list(tree.below("usr/sbin")):
        target = f"usr/bin/{path.removeprefix('usr/sbin/')}"
        if target not in tree:
            tree.put(target, tree[path])
    tree.remove("usr/sbin")
    tree.put("usr/sbin", symlink("bin"))


def write_os_release(tree: Tree, *, name: str, variant: str, version: str) -> str:
    """Put `usr/lib/os-release` and its link into the tree and return the text (os-release(5))."""
    text = (
        f'NAME="Bulkhead"\nID=bulkhead\nID_LIKE=debian\nVERSION_ID={version}\n'
        f'VERSION="{version} ({variant})"\nPRETTY_NAME="Bulkhead {version} ({variant})"\n'
        f"VARIANT_ID={variant}\nIMAGE_ID={name}\nIMAGE_VERSION={version}\n"
    )
    tree.put("usr/lib/os-release", file(text))
    tree.put("etc/os-release", symlink("../usr/lib/os-release"))
    return text


def write_machine_id(tree: Tree) -> None:
    """Put an uninitialised `etc/machine-id` into the tree (machine-id(5), "Initialization").

    Empty, not missing, so that systemd can mount a transient one over it.
    """
    tree.put("etc/machine-id", file("", mode=0o444))


def write_ca_bundle(tree: Tree, certificates: Mapping[str, Entry]) -> None:
    """Join certificates into the bundle at the path that OpenSSL and Go programs read.

    Once more where settings find it, which may add to it.
    """
    joined = b"".join(entry.read().rstrip() + b"\n" for _, entry in sorted(certificates.items()))
    for path in ("etc/ssl/certs", "usr/share/bulkhead"):
        tree.put(f"{path}/ca-certificates.crt", file(joined, origin="ca-certificates"))


def overlay(tree: Tree, folder: Path) -> None:
    """Lay a directory's content over the tree.

    Modes are 0755 for directories and executable files and 0644 for all else:
    a checkout has no others, whatever the umask was. An empty directory is
    left out, because version control does not know it and the next checkout
    would lack it; a `.gitkeep` in it keeps it, and is left out itself.
    """
    for path in steps.content(folder):
        inside = merged(path.relative_to(folder).as_posix())
        if path.is_symlink():
            tree.put(inside, symlink(str(path.readlink())))
        elif path.name == ".gitkeep":
            above = posixpath.dirname(inside)
            if above not in tree or tree[above].kind is not Kind.DIRECTORY:
                tree.put(above, directory())
        elif path.is_file():
            mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
            tree.put(inside, file_from(path, mode=mode))
