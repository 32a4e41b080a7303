"""Chooses which files of the packages go into a tree.

What a variant names, it gets: the files that the package's rule keeps, or all
but documentation where there is no rule. What came along as a dependency
gives only the shared libraries that something chosen needs, found by
following DT_NEEDED, the ELF interpreter and the declared `dlopen` set.
No package script runs; each one must be accounted for in a rule.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatch, translate
from functools import lru_cache
from pathlib import Path

from bulkhead.build import elf
from bulkhead.build.debian.deb import Package
from bulkhead.build.tree import Entry, Kind, Tree
from bulkhead.model.arch import Architecture
from bulkhead.model.errors import UserError
from bulkhead.model.variant import Rule

# Nothing on a node reads these; a rule's `keep` can still ask for one of them.
DOCUMENTATION = (
    "usr/share/doc/**", "usr/share/man/**", "usr/share/info/**", "usr/share/locale/**",
    "usr/share/lintian/**", "usr/share/bug/**", "usr/share/bash-completion/**",
    "usr/share/zsh/**", "usr/share/fish/**", "usr/share/gdb/**", "usr/share/pixmaps/**",
    "usr/share/applications/**", "usr/share/doc-base/**", "usr/share/initramfs-tools/**",
    "usr/share/polkit-1/**", "usr/lib/pcrlock.d/**", "usr/include/**", "usr/share/apport/**",
)  # fmt: skip

# `triggers` only ever asks for ldconfig and the like, which the builder does by itself.
SCRIPTS = ("preinst", "postinst", "prerm", "postrm")

_MERGED = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64"}


def merged(path: str) -> str:
    """Return where a path is on a merged-/usr system (UsrMerge, Debian Policy 10.1)."""
    first, slash, rest = path.partition("/")
    return f"{_MERGED[first]}/{rest}" if slash and first in _MERGED else path


class Selection:
    """Builds one tree from packages; `tree` is the result."""

    def __init__(self, arch: Architecture, rules: Mapping[str, Rule]) -> None:
        self.tree = Tree()
        self._arch = arch
        self._rules = rules
        self._spare: dict[str, Entry] = {}
        self._packages: dict[str, Package] = {}

    def add(self, packages: Mapping[str, Package], requested: Collection[str]) -> None:
        """Take the files of all packages; `requested` are those that the variant names.

        Raises:
            UserError: a rule keeps nothing.
        """
        for name in sorted(packages):
            self._packages[name] = packages[name]
            self._take(packages[name], named=name in requested)

    def _rule(self, name: str) -> Rule | None:
        """Return a package's own rule, else the first one whose key is a pattern that matches."""
        if name in self._rules:
            return self._rules[name]
        return next(
            (rule for key, rule in self._rules.items() if "*" in key and fnmatch(name, key)), None
        )

    def _take(self, package: Package, *, named: bool) -> None:
        rule = self._rule(package.name)
        keep = _pattern(rule.keep) if rule and rule.keep is not None else None
        drop = _pattern((*(DOCUMENTATION if keep is None else ()), *(rule.drop if rule else ())))
        everything = named or (rule is not None and rule.keep is None)
        taken = False
        for original, entry in package.tree.items():
            path = merged(original)
            if entry.kind is Kind.DIRECTORY:
                continue
            wanted = keep.match(path) is not None if keep is not None else everything
            if wanted and not drop.match(path):
                self._put(path, entry)
                taken = True
            elif ".so" in path:
                self._spare.setdefault(path, entry)
        if keep is not None and rule is not None and rule.keep and not taken:
            raise UserError(f"the rule of package {package.name!r} keeps none of its files")

    def _put(self, path: str, entry: Entry) -> None:
        if path in _MERGED or path == "":
            return
        mode = entry.mode & 0o777
        self.tree.put(path, _replace_mode(entry, mode) if mode != entry.mode else entry)

    def close(self, dlopen: Iterable[str]) -> None:
        """Add the libraries that the chosen files need, and those of `dlopen`.

        Raises:
            UserError: a needed library is in none of the packages, or a
                package that gave a file has scripts that no rule accounts for.
        """
        wanted_by_choice = set(dlopen)
        for soname in sorted(wanted_by_choice):
            self._library(soname, (), "the variant's dlopen list")
        seen: set[str] = set()
        while todo := [p for p, e in self.tree.items() if p not in seen and _may_be_elf(p, e)]:
            for path in todo:
                seen.add(path)
                self._close_one(path)
        self._check_scripts()

    def _check_scripts(self) -> None:
        unexplained = []
        for name in sorted({entry.origin for _, entry in self.tree.items()} & set(self._packages)):
            rule = self._rule(name)
            known = rule.scripts if rule else {}
            missing = [s for s in SCRIPTS if s in self._packages[name].scripts and s not in known]
            unexplained += [f"    {name}: {', '.join(missing)}"] if missing else []
        if unexplained:
            raise UserError(
                "packages have maintainer scripts that no rule accounts for:\n"
                + "\n".join(unexplained),
                hint='read them, then add [rules.NAME] scripts = { postinst = "why it is not needed" }',
            )

    def _close_one(self, path: str) -> None:
        source = self.tree[path].source
        described = _read_elf(source) if source is not None else None
        if described is None:
            return
        origin = posixpath.dirname(path)
        runpath = [p.replace("$ORIGIN", f"/{origin}").lstrip("/") for p in described.runpath]
        for soname in described.needed:
            self._library(soname, runpath, path)
        if described.interpreter:
            self._fetch(merged(described.interpreter.lstrip("/")), path)

    def _library(self, soname: str, runpath: Iterable[str], wanted_by: str) -> None:
        triplet = self._arch.triplet
        for folder in (
            *runpath,
            f"usr/lib/{triplet}",
            "usr/lib",
            "usr/lib64",
            f"usr/lib/{triplet}/systemd",
        ):
            path = posixpath.normpath(merged(f"{folder}/{soname}"))
            if path in self.tree or path in self._spare:
                self._fetch(path, wanted_by)
                return
        raise UserError(
            f"{wanted_by} needs {soname}, which none of the packages has",
            hint="name the package that has it, or drop the file in a rule",
        )

    def _fetch(self, path: str, wanted_by: str) -> None:
        for _ in range(10):
            if path not in self.tree:
                spare = self._spare.get(path)
                if spare is None:
                    raise UserError(f"{wanted_by} needs {path}, which none of the packages has")
                self._put(path, spare)
            entry = self.tree[path]
            if entry.kind is not Kind.SYMLINK or entry.target is None:
                return
            step = posixpath.join("/", posixpath.dirname(path), entry.target)
            path = merged(posixpath.normpath(step).lstrip("/"))


def _replace_mode(entry: Entry, mode: int) -> Entry:
    import msgspec

    return msgspec.structs.replace(entry, mode=mode)


def _may_be_elf(path: str, entry: Entry) -> bool:
    if entry.kind is not Kind.FILE or entry.source is None:
        return False
    return bool(entry.mode & 0o111) or ".so" in posixpath.basename(path)


@lru_cache(maxsize=4096)
def _read_elf(path: Path) -> elf.Elf | None:
    return elf.read(path)


@lru_cache(maxsize=512)
def _pattern(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """Return one expression for glob patterns: `*` stops at a slash, `**` does not, `{a,b}` is either."""
    if not patterns:
        return re.compile(r"(?!)")
    parts = []
    for pattern in [one for each in patterns for one in _expand(each)]:
        body = translate(pattern.replace("**", "\0"))
        body = body.replace(".*", "[^/]*").replace(re.escape("\0"), ".*").replace("\0", ".*")
        parts.append(body)
    return re.compile("|".join(parts))


def _expand(pattern: str) -> list[str]:
    """Return the patterns that one with `{a,b}` stands for."""
    found = re.search(r"\{([^{}]*)\}", pattern)
    if found is None:
        return [pattern]
    before, after = pattern[: found.start()], pattern[found.end() :]
    return [p for choice in found[1].split(",") for p in _expand(f"{before}{choice}{after}")]
