"""Rebuilds an image from what its manifest records, and tells the first difference.

Three questions, in this order: are the files beside the manifest the ones
that it describes, are this checkout's inputs the ones that the image was made
from, and do they give the same bytes and the same manifest again. The rebuild
uses the manifest's lock and no step of an earlier build; only downloads and
tools are shared.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from bulkhead.build import claims, compare, outputs, pipeline, tools, variants
from bulkhead.build.pipeline import Plan
from bulkhead.build.tools import Tools
from bulkhead.lib import cachelock
from bulkhead.lib.dirs import cache_dir
from bulkhead.lib.progress import Progress
from bulkhead.model.errors import UserError
from bulkhead.model.manifest import Manifest, Output

# Outputs in the order of causes: a different root makes everything after it different.
ORDER = ("root", "verity", "kernel", "initrd", "uki", "disk")
SIGNED = ("uki", "disk", "disk-qcow2", "disk-raw-zst")
# Parts of the cache that hold what was checked by its hash, not what was built.
SHARED = ("objects", "indexes", "tools")


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be said about one output."""

    kind: str
    file: str
    state: str
    """`same`; `changed` since it was built; `missing`, from the directory or from the manifest;
    `differs`: it is as it was built, but rebuilding gives something else; `unknown`: a rebuild
    makes no such file; `not compared`."""
    offset: int | None = None
    """Of the first byte that differs from the rebuilt file."""
    detail: str | None = None


Outcome = Literal["same", "unchanged", "incomplete", "unknown", "different"]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What was found."""

    outcome: Outcome
    """`same`: a rebuild gives these bytes. `unchanged`: the files are those of the manifest;
    nothing was rebuilt, as asked. `incomplete`: nothing differs, but files that carry a signature
    were not compared. `unknown`: the files are those of the manifest, but it cannot be rebuilt
    from these inputs. `different`: a file is changed, missing or unknown, or a rebuild gives
    another one, or another manifest."""
    manifest: str
    root_hash: str
    rebuilt: bool
    """False when only the files were checked: on request, or because inputs differ."""
    inputs: tuple[str, ...]
    """Inputs that are not those of the image; each makes a rebuild pointless."""
    lock_differences: tuple[str, ...]
    """How the image's lock, which a rebuild uses, differs from the variant's."""
    contradictions: tuple[str, ...]
    """What the manifest says about the image and a rebuild says otherwise."""
    findings: tuple[Finding, ...]


def _outcome(verdict: Verdict) -> Outcome:
    states = {finding.state for finding in verdict.findings}
    if states - {"same", "not compared"} or verdict.contradictions:
        return "different"
    if verdict.inputs:
        return "unknown"
    if not verdict.rebuilt:
        return "unchanged"
    return "incomplete" if "not compared" in states else "same"


def find_manifest(path: Path) -> Path:
    """Return the manifest that belongs to a path: itself, in that directory, or beside that file.

    Raises:
        UserError: there is none.
    """
    if path.is_dir():
        candidate = path / outputs.MANIFEST
    else:
        candidate = path if path.suffix == ".json" else path.parent / outputs.MANIFEST
    if not path.exists():
        raise UserError("does not exist", where=str(path))
    if not candidate.is_file():
        raise UserError(
            f"there is no {outputs.MANIFEST} beside it", where=str(path),
            hint="an image is verified against the manifest that its build wrote",
        )  # fmt: skip
    return candidate


def verify(
    path: Path,
    *,
    variant: str | None = None,
    keys: Path | None = None,
    rebuild: bool = True,
    progress: Progress,
) -> Verdict:
    """Check an image against its manifest, and both against a rebuild.

    Args:
        path: the manifest, its directory, or a file beside it.
        variant: name or path, for variants that are not Bulkhead's own.
        keys: the set that signed the image; without it, what carries a
            signature is not compared with the rebuild.
        rebuild: also rebuild; otherwise only check the files' hashes.
        progress: where to show progress.

    Raises:
        UserError: no manifest there, or its variant is not known here.
    """
    place = find_manifest(path)
    manifest = outputs.read_manifest(place)
    folder = place.parent
    if path.is_file() and path != place and path.name not in {o.file for o in manifest.outputs}:
        raise UserError(f"{place.name} does not know it", where=str(path))
    with progress.task("reading the image", total=sum(o.size for o in manifest.outputs)) as task:
        found = {o.kind: _check(folder, o, task.advance) for o in manifest.outputs}

    verdict = Verdict(
        outcome="unchanged", manifest=str(place), root_hash=manifest.root_hash, rebuilt=False,
        inputs=(), lock_differences=(), contradictions=(), findings=_sorted(found),
    )  # fmt: skip
    if rebuild:
        verdict = _rebuild(verdict, manifest, variant=variant, keys=keys, progress=progress)
    return msgspec.structs.replace(verdict, outcome=_outcome(verdict))


def _rebuild(
    verdict: Verdict, manifest: Manifest, *, variant: str | None, keys: Path | None,
    progress: Progress,
) -> Verdict:  # fmt: skip
    """Build again, and add to a verdict on the files what differs."""
    cache, folder = cache_dir(), Path(verdict.manifest).parent
    cachelock.use(cache)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".verify.") as name:
        planned = _plan(manifest, Path(name), variant, keys, progress)
        lock = tuple(claims.lock_differences(manifest, planned))
        if problems := claims.input_differences(manifest, planned):
            return msgspec.structs.replace(verdict, inputs=tuple(problems), lock_differences=lock)
        again = pipeline.execute(planned, locked=True, progress=progress)
        made_with = tools.tools("image", cache=cache, progress=progress, locked=True)
        found = {finding.kind: finding for finding in verdict.findings}
        for output in manifest.outputs:
            kind, finding = output.kind, found[output.kind]
            rebuilt = again.output(kind)
            if rebuilt is None:
                found[kind] = _unknown(finding)
            elif manifest.signed and keys is None and kind in SIGNED:
                why = "it is signed, and no keys were given"
                state = "not compared" if finding.state == "same" else finding.state
                found[kind] = msgspec.structs.replace(finding, state=state, detail=why)
            else:
                found[kind] = _compare(
                    finding, output, rebuilt, folder, planned.out, tools=made_with
                )
        for output in again.outputs:
            why = "the manifest does not list it"
            missing = Finding(kind=output.kind, file=output.file, state="missing", detail=why)
            found.setdefault(output.kind, missing)
    return msgspec.structs.replace(
        verdict, findings=_sorted(found), rebuilt=True, lock_differences=lock,
        contradictions=tuple(claims.contradictions(manifest, again)),
    )  # fmt: skip


def _unknown(finding: Finding) -> Finding:
    if finding.state != "same":
        return finding
    return msgspec.structs.replace(finding, state="unknown", detail="a rebuild makes no such file")


def _sorted(findings: Mapping[str, Finding]) -> tuple[Finding, ...]:
    return tuple(findings[kind] for kind in sorted(findings, key=_order))


def _order(kind: str) -> tuple[int, str]:
    return (ORDER.index(kind) if kind in ORDER else len(ORDER), kind)


def digest(path: Path, advance: Callable[[int], None] = lambda _: None) -> str:
    """Return the SHA-256 of a file, telling `advance` of the bytes that are read."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(compare.CHUNK):
            found.update(chunk)
            advance(len(chunk))
    return found.hexdigest()


def _check(folder: Path, output: Output, advance: Callable[[int], None]) -> Finding:
    """Compare a file with what the manifest says about it."""
    path = folder / output.file
    try:
        same = digest(path, advance) == output.sha256
        size = path.stat().st_size
    except FileNotFoundError:
        return Finding(kind=output.kind, file=output.file, state="missing")
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=str(path)) from error
    if same and size == output.size:
        return Finding(kind=output.kind, file=output.file, state="same")
    detail = f"{size} bytes, should be {output.size}" if size != output.size else None
    return Finding(kind=output.kind, file=output.file, state="changed", detail=detail)


def _plan(
    manifest: Manifest, scratch: Path, variant: str | None, keys: Path | None, progress: Progress
) -> Plan:
    if variant is None and manifest.variant not in variants.names():
        raise UserError(
            f"variant {manifest.variant!r} is not one of Bulkhead's own",
            hint="say where it is: bulkhead verify --variant ./DIR IMAGE",
        )
    kinds = {kind: name for name, kind in outputs.FORMATS.items()}
    formats = tuple(kinds[o.kind] for o in manifest.outputs if o.kind in kinds)
    cache = scratch / "cache"
    cache.mkdir()
    for name in SHARED:
        (cache_dir() / name).mkdir(exist_ok=True)
        (cache / name).symlink_to(cache_dir() / name)
    planned = pipeline.plan(
        variant or manifest.variant, out=scratch / "out", formats=formats, keys=keys,
        locked=True, lock=manifest.lock, cache=cache, progress=progress,
    )  # fmt: skip
    return msgspec.structs.replace(planned, epoch=manifest.epoch)


def _compare(
    finding: Finding, output: Output, rebuilt: Output, folder: Path, out: Path, *, tools: Tools
) -> Finding:
    """Say how a file and the rebuilt one differ."""
    again = out / rebuilt.file
    if finding.state == "missing":
        return finding
    if finding.state == "same" and output.sha256 == rebuilt.sha256:
        return finding
    path = folder / output.file
    offset = compare.first_difference(path, again)
    detail = finding.detail
    if offset is not None and output.kind == "root":
        detail = compare.root_difference(path, again, tools=tools) or (
            "all files are the same; owners, times or the layout differ"
        )
    elif offset is not None and output.kind == "disk":
        detail = compare.partition_at(again, offset) or "outside of all partitions"
    state = "changed" if finding.state == "changed" else "differs"
    if state == "changed" and output.sha256 != rebuilt.sha256:
        detail = f"{detail or ''}; and a rebuild gives something else than the manifest says".strip(
            "; "
        )
    return msgspec.structs.replace(finding, state=state, offset=offset, detail=detail)
