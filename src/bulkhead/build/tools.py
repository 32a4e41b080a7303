"""The programs that builds and virtual machines use, from Debian packages of their own lock.

No tool of the machine decides what is in an image, so images do not differ between machines, and
the machine needs nothing but Python. `image/tools/NAME.toml` says which packages and why,
`NAME.lock` which exactly; the first use unpacks them to `cache/tools/KEY`, where programs run in
a sandbox that shows them that tree and the paths they are given.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import msgspec

from bulkhead.build import durable
from bulkhead.build.debian import download, keep, lockfile, locking
from bulkhead.build.debian.deb import unpack
from bulkhead.build.debian.space import needs_space
from bulkhead.build.tree import Entry, Kind, Tree, directory, file, symlink
from bulkhead.lib import cachelock, sandbox, suggest
from bulkhead.lib.dirs import repository_root
from bulkhead.lib.progress import Progress
from bulkhead.model.errors import HostError, UserError
from bulkhead.model.lock import Lock, LockedPackage

FORMAT = 1
"""Part of every key: count it up when the same packages become another tree."""

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}

_MERGED = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")
_UNUSED = (
    "usr/share/bash-completion/", "usr/share/bug/", "usr/share/doc/", "usr/share/doc-base/",
    "usr/share/icons/", "usr/share/info/", "usr/share/lintian/", "usr/share/locale/",
    "usr/share/man/", "usr/share/zsh/", "usr/lib/systemd/system/", "var/",
)  # fmt: skip

_BY_ENV = b"#!/usr/bin/env "

_ETC = {
    # Some programs look their own user up; in a sandbox that is always root.
    "etc/passwd": "root:x:0:0:root:/tmp:/usr/sbin/nologin\n",
    "etc/group": "root:x:0:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}


class Definition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `image/tools/NAME.toml` says."""

    description: str
    packages: dict[str, str]
    """Package: what it is needed for."""
    exclude: dict[str, str] = {}
    """Dependency that is left out: why it is not needed."""
    links: dict[str, str] = {}
    """Path: target, for links that update-alternatives or a package's script would make."""


class Tools:
    """A tool tree on disk.

    Attributes:
        name: the tool set's.
        root: the tree's files, for those that are read rather than run.
        key: hash of everything that the tree is made from; part of the cache key of each
            step that uses it.
    """

    def __init__(self, *, name: str, root: Path, key: str) -> None:
        self.name = name
        self.root = root
        self.key = key

    def run(
        self,
        argv: Sequence[str],
        *,
        reads: Sequence[Path] = (),
        writes: Sequence[Path] = (),
        input: bytes | IO[bytes] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        timeout_s: float | None = None,
        check: bool = True,
        network: bool = False,
        privileged: bool = False,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a program of the tree to its end.

        Args:
            argv: the program and its arguments; paths are as outside.
            reads: what it can read.
            writes: what it can read and change: existing files or directories.
            input: its standard input; empty by default.
            env: added to a fixed environment (`lib.sandbox.ENVIRONMENT`).
            cwd: its working directory, in `reads` or `writes`; a fresh /tmp by default.
            timeout_s: kill it after this many seconds.
            check: raise if it fails.
            network: let it use the machine's network.
            privileged: let it keep what root may do, for one that runs package scripts.

        Raises:
            CommandFailed: the program failed (with `check`).
            SandboxFailed: this machine or user cannot make a sandbox.
            HostError: a path does not exist, or it took too long.
        """
        box = self.sandbox(reads=reads, writes=writes, cwd=cwd, network=network)
        if privileged:
            box = msgspec.structs.replace(box, privileged=True)
        return sandbox.run(box, argv, input=input, env=env, timeout_s=timeout_s, check=check)

    def sandbox(
        self,
        *,
        reads: Sequence[Path] = (),
        writes: Sequence[Path] = (),
        devices: Sequence[str] = (),
        cwd: Path | None = None,
        network: bool = False,
        detached: bool = False,
    ) -> sandbox.Sandbox:
        """Return a sandbox of this tree, for programs that `run` is too simple for.

        Args:
            reads: what it can read.
            writes: what it can read and change.
            devices: names below /dev beyond the usual few.
            cwd: its working directory.
            network: share the machine's network.
            detached: the program lives on when we end, as the very process that is started.
        """
        return sandbox.Sandbox(
            root=self.root, reads=reads, writes=writes, devices=devices, cwd=cwd, network=network,
            own_processes=not detached, dies_with_us=not detached,
        )  # fmt: skip


def tools(name: str, *, cache: Path, progress: Progress, locked: bool = False) -> Tools:
    """Return a tool tree, made on first use.

    Any number of processes may do this at once, and an interrupt leaves
    nothing half-made.

    Args:
        name: as below `image/tools`: "image", "vm", "registry" …
        cache: the cache directory.
        progress: where to show downloads.
        locked: fail rather than use other versions when locked ones are no longer to be had.

    Raises:
        UserError: no such tool set, or its lock is not up to date.
        HostError: no tools for this machine's architecture; no space left.
        RemoteError: packages cannot be downloaded.
    """
    cachelock.use(cache)
    definition = read_definition(name)
    lock = lockfile.read_lock(lock_path(name))
    _check_machine(lock)
    if not locking.is_current(lock, request(definition, lock.architecture)):
        raise UserError(
            "its packages have changed since it was made", where=str(lock_path(name)),
            hint=f"make it again with: bulkhead lock --tools {name}",
        )  # fmt: skip
    key = _key(lock, definition)
    root = cache / "tools" / key
    if root.is_dir():
        keep.touch(root)
        return Tools(name=name, root=root, key=key)
    wanted = request(definition, lock.architecture)
    actual, packages = download.fetch_or_resolve(
        _moved(lock, key, cache) if not locked else lock,
        wanted, cache=cache, progress=progress, locked=locked,
    )  # fmt: skip
    if actual != lock:
        _remember_moved(actual, key, cache)
        key = _key(actual, definition)
        root = cache / "tools" / key
        keep.touch(root)
    if not root.is_dir():
        with progress.task(f"unpacking {len(packages)} packages of the {name} tools"):
            tree = _join(actual, packages, cache=cache)
            _complete(tree, definition)
            with needs_space(root, 3 * sum(package.size for package in actual.packages)):
                _write(tree, root)
    return Tools(name=name, root=root, key=key)


def places(name: str, *, cache: Path) -> list[Path]:
    """Return where a tool set's tree is or would be, and what remembers that its lock moved.

    Raises:
        UserError: its definition or lock cannot be read.
    """
    definition, lock = read_definition(name), lockfile.read_lock(lock_path(name))
    key = _key(lock, definition)
    moved = _moved(lock, key, cache)
    folder = cache / "tools"
    return [folder / key, folder / f"{key}.lock", folder / _key(moved, definition)]


def read_definition(name: str) -> Definition:
    """Read a tool set's definition.

    Raises:
        UserError: there is none, or it is wrong.
    """
    path = definition_path(name)
    try:
        return msgspec.convert(tomllib.loads(path.read_text()), Definition)
    except FileNotFoundError:
        hint = suggest.hint(name, names())
        raise UserError(f"there is no tool set {name!r}", hint=hint) from None
    except (msgspec.ValidationError, tomllib.TOMLDecodeError) as error:
        raise UserError(str(error), where=str(path)) from error


def names() -> list[str]:
    """Return the names of all tool sets."""
    return sorted(path.stem for path in _directory().glob("*.toml"))


def definition_path(name: str) -> Path:
    """Return where a tool set is defined."""
    return _directory() / f"{name}.toml"


def lock_path(name: str) -> Path:
    """Return where a tool set's lock is."""
    return _directory() / f"{name}.lock"


def request(definition: Definition, architecture: str) -> locking.Request:
    """Return what a tool set's lock is made from."""
    return locking.Request(
        architecture=architecture,
        packages=tuple(definition.packages),
        exclude=tuple(definition.exclude),
    )


def _directory() -> Path:
    return repository_root() / "image/tools"


def _check_machine(lock: Lock) -> None:
    machine = platform.machine()
    if _MACHINES.get(machine) != lock.architecture:
        raise HostError(
            f"the tools are {lock.architecture} programs, this machine is {machine}",
            hint=f"use a machine with {lock.architecture}",
        )


def _key(lock: Lock, definition: Definition) -> str:
    """Return the hash of what a tree is made from."""
    parts = (
        FORMAT,
        [package.sha256 for package in lock.packages],
        sorted(definition.links.items()),
    )
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:32]


def _moved(lock: Lock, key: str, cache: Path) -> Lock:
    """Return the lock that replaced this one when its packages left the mirror, or itself."""
    path = cache / "tools" / f"{key}.lock"
    return lockfile.read_lock(path) if path.exists() else lock


def _remember_moved(lock: Lock, key: str, cache: Path) -> None:
    (cache / "tools").mkdir(parents=True, exist_ok=True)
    lockfile.write_lock(cache / "tools" / f"{key}.lock", lock)


def _join(lock: Lock, packages: Mapping[str, Path], *, cache: Path) -> Tree:
    """Return the content of all packages as one tree."""

    def content(package: LockedPackage) -> Tree:
        return unpack(packages[package.name], sha256=package.sha256, cache=cache).tree

    # Decompression runs outside of the interpreter's lock.
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        return merge(dict(tree.items()) for tree in pool.map(content, lock.packages))


def merge(packages: Iterable[Mapping[str, Entry]]) -> Tree:
    """Return what all packages install as one tree with merged /usr, without documentation."""
    tree = Tree()
    for entries in packages:
        for path, entry in entries.items():
            # base-files has the links of the merged /usr itself.
            if path in _MERGED or entry.kind is Kind.DIRECTORY or path.startswith(_UNUSED):
                continue
            tree.put(_merged(path), entry)
    return tree


def _merged(path: str) -> str:
    """Return where `path` is when /bin, /lib and so on are links into /usr."""
    return f"usr/{path}" if path.partition("/")[0] in _MERGED else path


def _complete(tree: Tree, definition: Definition) -> None:
    """Add what maintainer scripts would have made."""
    for name in _MERGED:
        if f"usr/{name}" in tree:
            tree.put(name, symlink(f"usr/{name}"))
    for path, text in _ETC.items():
        tree.put(path, file(text))
    for path, target in definition.links.items():
        tree.put(path, symlink(target))
    tree.put("usr", directory())
    if "usr/bin/env" not in tree:
        _name_interpreters(tree)


def _name_interpreters(tree: Tree) -> None:
    """Change `#!/usr/bin/env NAME` into `#!/usr/bin/NAME`: a tree needs no env for one script."""
    for path, entry in list(tree.items()):
        if entry.kind is Kind.FILE and entry.mode & 0o111 and entry.source is not None:
            with entry.source.open("rb") as script:
                is_script = script.read(len(_BY_ENV)) == _BY_ENV
            if is_script:
                text = b"#!/usr/bin/" + entry.read().removeprefix(_BY_ENV)
                tree.put(path, file(text, mode=entry.mode, origin=entry.origin))


def _write(tree: Tree, root: Path) -> None:
    """Write a tree to disk, whole or not at all. Owners do not matter, setuid bits are dropped."""
    with durable.new_directory(root) as scratch:
        base = str(scratch)
        for path, entry in tree.items():
            target = f"{base}/{path}"
            if entry.kind is Kind.DIRECTORY:
                os.mkdir(target)
            elif entry.kind is Kind.SYMLINK and entry.target is not None:
                os.symlink(entry.target, target)
            else:
                _write_file(entry, target, entry.mode & 0o555 | 0o400)


def _write_file(entry: Entry, target: str, mode: int) -> None:
    """Link a file to the unpacked package's, where that is possible.

    It shares its mode with that file, which nobody else looks at: the mode
    that counts is in the package's index.
    """
    if entry.source is None:
        with open(target, "wb") as out:
            out.write(entry.read())
    else:
        try:
            os.link(entry.source, target)
        except OSError:
            shutil.copyfile(entry.source, target)
    os.chmod(target, mode)
