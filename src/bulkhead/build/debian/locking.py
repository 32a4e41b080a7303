"""From a request to a lock: which exact packages a variant or tool set consists of.

`resolve` chooses everything anew, `update` moves only what it is told to,
`difference` says what moved. None of them writes anything but the cache.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from bulkhead.build.debian import directory, release, sources
from bulkhead.build.debian import version as versions
from bulkhead.build.debian.resolver import Resolver
from bulkhead.build.debian.universe import Candidate, Universe, check_pins
from bulkhead.lib import suggest
from bulkhead.lib.progress import Progress
from bulkhead.model.errors import UserError
from bulkhead.model.lock import Lock, LockedFile, LockedPackage
from bulkhead.model.repository import DIRECTORY_PREFIX, Pin, Repository, debian

DEFAULT_SET = "packages"


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted. Recommended packages are never added."""

    architecture: str
    repositories: tuple[Repository, ...] = debian()
    packages: tuple[str, ...] = ()
    """Short for one set called `packages`."""
    sets: dict[str, tuple[str, ...]] = {}
    """Requested packages by set: `name`, `name=version` or `name/suite`. Each set is complete
    in itself; the same package has the same version in all of them."""
    exclude: tuple[str, ...] = ()
    """Packages that count as installed but are left out, such as those that only
    maintainer scripts need."""
    pins: tuple[Pin, ...] = ()
    files: tuple[LockedFile, ...] = ()

    def all_sets(self) -> dict[str, tuple[str, ...]]:
        """Return all sets, `packages` among them."""
        return {**({DEFAULT_SET: self.packages} if self.packages else {}), **self.sets}

    def digest(self) -> str:
        """Return the hash by which a lock knows what it was made for.

        The same in every checkout: keys and directories of packages count
        by their content, not by their path.

        Raises:
            UserError: a key or a directory cannot be read.
        """
        repositories = [_identity(repository) for repository in self.repositories]
        sets = {name: sorted(set(wanted)) for name, wanted in self.all_sets().items()}
        canonical = msgspec.json.encode(
            [self.architecture, repositories, sets, sorted(set(self.exclude)), self.pins,
             sorted(self.files, key=lambda file: file.name)],
            order="sorted",
        )  # fmt: skip
        return hashlib.sha256(canonical).hexdigest()


def _identity(repository: Repository) -> list[object]:
    location = repository.location
    if location.startswith(DIRECTORY_PREFIX):
        content = directory.digests(Path(location.removeprefix(DIRECTORY_PREFIX)))
        location = DIRECTORY_PREFIX + " ".join(content)
    certs = release.certificates(repository.keys, where=repository.name) if repository.keys else []
    return [
        repository.name,
        location,
        repository.suites,
        repository.components,
        sorted(cert.fingerprint for cert in certs),
        repository.priority,
    ]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """How one artifact differs between two locks."""

    kind: Literal["added", "removed", "upgraded", "downgraded", "changed"]
    """`changed`: other bytes under the same version."""
    name: str
    old: str | None = None
    new: str | None = None


def is_current(lock: Lock, request: Request) -> bool:
    """Tell whether `lock` was made for exactly this request."""
    return lock.request == request.digest()


def resolve(request: Request, *, cache: Path, progress: Progress) -> Lock:
    """Choose the best versions that the repositories offer now.

    Raises:
        UserError: the request cannot be fulfilled; says which package and why.
        Untrusted: a repository's signature, hash or date is wrong.
        RemoteError: a repository cannot be reached.
    """
    return _resolve(request, {}, cache=cache, progress=progress)


def update(
    lock: Lock, request: Request, names: Sequence[str] | None, *, cache: Path, progress: Progress
) -> Lock:
    """Choose again, moving as little as possible.

    Args:
        lock: what was chosen before.
        request: what is wanted now; it may differ from what the lock was made for.
        names: the packages that may move to a better version, with the
            packages they force to move along. None moves all; an empty list
            only what the request or the mirror forces.
        cache: the cache directory.
        progress: where to show progress.

    Raises:
        UserError: a name is not in the lock; and as `resolve`.
    """
    if names is None:
        return resolve(request, cache=cache, progress=progress)
    locked = {package.name: package for package in lock.packages}
    for name in names:
        if name not in locked:
            raise UserError(
                f"{name!r} is not in the lock, so it cannot be updated",
                hint=suggest.hint(name, locked),
            )
    # Packages of one source are made to fit each other: they move together.
    moving = {locked[name].source for name in names}
    held = {p.name: p.version for p in lock.packages if p.source not in moving}
    return _resolve(request, held, cache=cache, progress=progress)


def _resolve(request: Request, held: Mapping[str, str], *, cache: Path, progress: Progress) -> Lock:
    check_pins(request.pins)
    _check_versions(request)
    offer = sources.gather(
        request.repositories, architecture=request.architecture, cache=cache, progress=progress
    )
    universe = Universe(
        offer.sources, architecture=request.architecture, pins=request.pins, held=held
    )
    resolver = Resolver(universe, exclude=request.exclude)
    chosen: dict[str, Candidate] = {}
    sets: dict[str, tuple[str, ...]] = {}
    for name, wanted in sorted(request.all_sets().items()):
        closure = resolver.resolve(wanted, wanted_by=f"set {name!r}")
        for package, candidate in closure.items():
            other = chosen.setdefault(package, candidate)
            if other.version != candidate.version:
                raise UserError(
                    f"sets need different versions of {package!r}: {other.version} and "
                    f"{candidate.version}",
                    where=f"set {name!r}",
                    hint=f"request one version in every set: {package}={other.version}",
                )
        sets[name] = tuple(closure)
    return Lock(
        architecture=request.architecture,
        request=request.digest(),
        suites=tuple(sorted(offer.snapshots, key=lambda s: (s.repository, s.suite))),
        packages=tuple(_locked(chosen[name]) for name in sorted(chosen)),
        files=tuple(sorted(request.files, key=lambda file: file.name)),
        sets=sets,
    )


def _check_versions(request: Request) -> None:
    """Refuse `name=1` beside `name=2`, or beside a pin that forbids what is requested."""
    asked: dict[str, str] = {}
    for wanted in request.all_sets().values():
        for text in wanted:
            name, equals, version = text.partition("=")
            if equals and asked.setdefault(name, version) != version:
                raise UserError(
                    f"contradictory requests: {name}={asked[name]} and {text}", where=name
                )


def _locked(candidate: Candidate) -> LockedPackage:
    record = candidate.record
    return LockedPackage(
        name=record.name,
        version=record.version,
        architecture=record.architecture,
        repository=candidate.repository,
        path=record.path,
        size=record.size,
        sha256=record.sha256,
        source=record.source,
    )


def difference(old: Lock, new: Lock) -> list[Change]:
    """Return what changed, sorted by name; files come after packages."""
    packages = _differences(
        {p.name: (p.version, p.sha256) for p in old.packages},
        {p.name: (p.version, p.sha256) for p in new.packages},
    )
    files = _differences(
        {f.name: (f.url, f.sha256) for f in old.files},
        {f.name: (f.url, f.sha256) for f in new.files},
    )
    return packages + files


def _differences(
    old: Mapping[str, tuple[str, str]], new: Mapping[str, tuple[str, str]]
) -> list[Change]:
    changes = []
    for name in sorted({*old, *new}):
        before, after = old.get(name), new.get(name)
        if before is None and after is not None:
            changes.append(Change(kind="added", name=name, new=after[0]))
        elif before is not None and after is None:
            changes.append(Change(kind="removed", name=name, old=before[0]))
        elif before is not None and after is not None and before != after:
            changes.append(
                Change(kind=_kind(before[0], after[0]), name=name, old=before[0], new=after[0])
            )
    return changes


def _kind(old: str, new: str) -> Literal["upgraded", "downgraded", "changed"]:
    if versions.key(old) == versions.key(new):
        return "changed"
    return "upgraded" if versions.key(old) < versions.key(new) else "downgraded"
