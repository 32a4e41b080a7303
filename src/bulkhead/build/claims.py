"""What a manifest says beyond the hashes of its files, held against the checkout and a rebuild.

A manifest comes from whoever offers the image. Nothing in it counts because it
is there: each field is one of the checkout's inputs, or what a rebuild gives, or is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bulkhead.build import variants
from bulkhead.build.debian import lockfile, locking
from bulkhead.build.pipeline import Plan
from bulkhead.model.lock import Lock
from bulkhead.model.manifest import Manifest

RESULTS = (
    "root_hash", "verity_salt", "root_uuid", "verity_uuid", "kernel_release", "command_line",
)  # fmt: skip
"""Fields of a manifest that its inputs decide."""


def input_differences(manifest: Manifest, planned: Plan) -> list[str]:
    """Return in words which inputs of this checkout are not those of the image."""
    problems = []
    if planned.version != manifest.version:
        problems.append(f"the variant's version is {planned.version}, was {manifest.version}")
    if planned.arch.debian != manifest.architecture:
        problems.append(f"architecture {planned.arch.debian}, was {manifest.architecture}")
    before, now = manifest.builder, planned.builder
    if now.version != before.version:
        problems.append(f"this is Bulkhead {now.version}, it was built with {before.version}")
    elif now.fingerprint != before.fingerprint:
        problems.append(f"the builder's source is not that of the {before.version} that built it")
    problems += _differences("tools", before.tools, now.tools)
    problems += _differences("", manifest.inputs, planned.inputs)
    request = variants.request(planned.resolved, planned.arch)
    files = tuple(sorted(request.files, key=lambda file: file.name))
    # The lock says itself what it was made for, so what it can be held against counts more.
    if not locking.is_current(manifest.lock, request) or manifest.lock.files != files:
        problems.append("its lock was not made for this variant's packages and files")
    return problems


def _differences(what: str, before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    problems = []
    for name in sorted(before.keys() | now.keys()):
        label = f"{what} {name!r}".strip()
        if name not in now:
            problems.append(f"{label} is gone")
        elif name not in before:
            problems.append(f"{label} is new")
        elif before[name] != now[name]:
            problems.append(f"{label} has changed")
    return problems


def lock_differences(manifest: Manifest, planned: Plan) -> list[str]:
    """Return in words how the image's lock differs from the one of this checkout.

    Locks move on, and an image may be older than the checkout's. But whoever
    offers it chose the packages in its lock, and a rebuild takes them as they are.
    """
    path = planned.resolved.lock_path
    if not path.exists():
        return []
    ours, its = lockfile.read_lock(path), manifest.lock
    told = [
        f"{change.kind} {change.name} {' → '.join(v for v in (change.old, change.new) if v)}"
        for change in locking.difference(ours, its)
    ]
    return told + list(_moved_sets(ours, its))


def _moved_sets(ours: Lock, its: Lock) -> Iterator[str]:
    """Tell packages that both locks have, but in other sets."""
    common = {p.name for p in ours.packages} & {p.name for p in its.packages}
    for name in sorted(ours.sets.keys() | its.sets.keys()):
        before, now = set(ours.sets.get(name, ())), set(its.sets.get(name, ()))
        for package in sorted((now - before) & common):
            yield f"added {package} to the set {name!r}"
        for package in sorted((before - now) & common):
            yield f"removed {package} from the set {name!r}"


def contradictions(manifest: Manifest, rebuilt: Manifest) -> list[str]:
    """Return in words what a manifest says about the image and a rebuild says otherwise."""
    told = [
        f"{name} is {getattr(rebuilt, name)!r}, the manifest says {getattr(manifest, name)!r}"
        for name in RESULTS
        if getattr(manifest, name) != getattr(rebuilt, name)
    ]
    if rebuilt.signed and not manifest.signed:
        told.append("the image is signed, the manifest says that it is not")
    return told
