"""From a variant to its image: gather what goes in, plan, make.

`plan` reads and downloads, and writes nothing but the cache and a lock that
does not fit; with `dry_run` not that either. `execute` writes the outputs to
the directory that the caller names. Every file appears there whole, and the
manifest comes last: where it is, the rest is.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from pathlib import Path

import msgspec

import bulkhead
from bulkhead.build import disk, groups, image, outputs, packages, preload, steps, tools, variants
from bulkhead.build.debian import download, lockfile
from bulkhead.build.keys import Keys
from bulkhead.build.keys import load as load_keys
from bulkhead.build.variants import Resolved
from bulkhead.lib.dirs import absolute, cache_dir, repository_root
from bulkhead.lib.progress import Progress
from bulkhead.model.arch import AMD64, Architecture
from bulkhead.model.lock import Lock
from bulkhead.model.manifest import Builder, Manifest


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a build will do."""

    resolved: Resolved
    arch: Architecture
    lock: Lock
    version: str
    epoch: int
    formats: tuple[str, ...]
    keys: Keys | None
    inputs: dict[str, str]
    """SHA-256 of the variant's files, by a name that is the same in every checkout."""
    builder: Builder
    out: Path
    cache: Path

    @property
    def name(self) -> str:
        """Name of the image."""
        return f"bulkhead-{self.resolved.name}"

    @property
    def asked_epoch(self) -> int | None:
        """The time that somebody asked for; None when the image is as old as its lock."""
        return None if self.epoch == packages.date(self.lock) else self.epoch

    @property
    def key(self) -> str:
        """Hash of everything that decides the image."""
        certificate = self.keys.db_certificate.read_bytes().hex() if self.keys else None
        variant = (self.resolved.name, self.version, self.epoch)
        return steps.key(
            self.inputs, self.builder, lockfile.lock_text(self.lock), variant, certificate
        )


def build_variant(
    name_or_path: str,
    *,
    out: Path | None = None,
    formats: Sequence[str] = ("raw",),
    keys: Path | None = None,
    locked: bool = False,
    progress: Progress,
) -> Manifest:
    """Build a variant's image and return its manifest.

    Args:
        name_or_path: see `variants.load`.
        out: directory for the outputs; `out/NAME` below the checkout by default.
        formats: of the disk image, see `outputs.FORMATS`.
        keys: directory of a key set that signs the EFI programs.
        locked: fail rather than resolve again when the lock does not fit or
            its packages are gone.
        progress: where to show progress.

    Raises:
        UserError: the variant is wrong.
        RemoteError: packages cannot be had.
        HostError: this machine cannot build, for example because its disk is full.
    """
    planned = plan(
        name_or_path, out=out, formats=formats, keys=keys, locked=locked, progress=progress
    )
    return execute(planned, locked=locked, progress=progress)


def plan(
    name_or_path: str,
    *,
    out: Path | None = None,
    formats: Sequence[str] = ("raw",),
    keys: Path | None = None,
    locked: bool = False,
    lock: Lock | None = None,
    dry_run: bool = False,
    cache: Path | None = None,
    progress: Progress,
) -> Plan:
    """Read the variant and its lock, and hash everything that decides the result.

    The arguments are those of `build_variant`; `lock` is used instead of the
    variant's lock file, and `cache` instead of the usual directory. With
    `dry_run` a lock that would be written is only told.
    """
    arch = AMD64
    cache = cache or cache_dir()
    outputs.check_formats(formats)
    resolved = variants.load(name_or_path)
    # What is wrong is found before anything is downloaded.
    version = resolved.variant.version or bulkhead.__version__
    disk.partition_label(f"bulkhead-{resolved.name}", version, where=str(resolved.files[-1]))
    groups.choose(resolved)
    lock = lock or packages.current_lock(
        resolved.lock_path, variants.request(resolved, arch), locked=locked,
        dry_run=dry_run, hint=f"run: bulkhead lock {shlex.quote(name_or_path)}", cache=cache,
        progress=progress,
    )  # fmt: skip
    keyset = load_keys(keys) if keys else None
    made_with = tools.tools("image", cache=cache, progress=progress, locked=locked)
    builder = Builder(
        version=bulkhead.__version__,
        fingerprint=steps.key(steps.builder_fingerprint(), _own_programs()),
        tools={"image": made_with.key},
    )
    return Plan(
        resolved=resolved, arch=arch, lock=lock, version=version, epoch=packages.epoch(lock),
        formats=tuple(formats), keys=keyset, inputs=_fingerprints(resolved), builder=builder,
        out=absolute(out or repository_root() / "out" / resolved.name),
        cache=cache,
    )  # fmt: skip


def execute(planned: Plan, *, locked: bool = False, progress: Progress) -> Manifest:
    """Make what a plan says, unless the outputs are there already.

    A lock may have to move on the way, because packages of it have left the
    mirror. Then there is another plan: a manifest names what was used.
    """
    while (manifest := _execute(planned, locked=locked, progress=progress)) is None:
        planned = plan(
            str(planned.resolved.files[-1]), out=planned.out, formats=planned.formats,
            keys=planned.keys.directory if planned.keys else None, cache=planned.cache,
            progress=progress,
        )  # fmt: skip
    return manifest


def _execute(planned: Plan, *, locked: bool, progress: Progress) -> Manifest | None:
    """Make what a plan says; return None if a lock moved, which makes the plan out of date."""
    if (done := outputs.finished(planned)) is not None:
        return done
    cache = planned.cache
    made_with = tools.tools("image", cache=cache, progress=progress, locked=locked)
    request = variants.request(planned.resolved, planned.arch)
    lock, debs = download.fetch_or_resolve(
        planned.lock, request, cache=cache, progress=progress, locked=locked
    )
    if lock != planned.lock:
        lockfile.write_lock(planned.resolved.lock_path, lock)
        return None
    elsewhere = download.fetch_files(lock, cache=cache, progress=progress)
    brought = preload.archives(
        planned.resolved.variant.preload, arch=planned.arch, epoch=planned.asked_epoch,
        cache=cache, progress=progress, locked=locked,
    )  # fmt: skip
    if not preload.fingerprints(planned.resolved.variant.preload).items() <= planned.inputs.items():
        return None
    found = packages.unpack(lock, debs, cache=cache, progress=progress)
    sets = {name: {item: found[item] for item in members} for name, members in lock.sets.items()}
    inputs = image.Inputs(
        resolved=planned.resolved, arch=planned.arch, version=planned.version,
        epoch=planned.epoch, packages=sets, keys=planned.keys, files=elsewhere, preload=brought,
    )  # fmt: skip
    folder = steps.cached(
        cache, "image", planned.key,
        lambda scratch: image.make(scratch, inputs, tools=made_with, cache=cache, progress=progress),
    )  # fmt: skip
    manifest = outputs.write(planned, folder, tools=made_with, cache=cache, progress=progress)
    steps.forget_old(cache)
    return manifest


def _fingerprints(resolved: Resolved) -> dict[str, str]:
    """Hash the variant's files and those that it lays over the root."""
    # Directories of the same name are different ones all the same, a variant's and its parent's too.
    found: dict[str, str] = {}
    for path in resolved.files:
        name = f"variants/{path.parent.name}/{path.name}"
        steps.add_fingerprints(found, {name: hashlib.sha256(path.read_bytes()).hexdigest()})
    for number, folder in enumerate(resolved.variant.rootfs):
        steps.add_fingerprints(found, _below(f"rootfs/{number}", Path(folder)))
    for own in groups.folders(resolved.variant.settings_groups):
        steps.add_fingerprints(found, _below(f"settings/{own.name}", own))
    steps.add_fingerprints(found, preload.fingerprints(resolved.variant.preload))
    return found


def _below(prefix: str, folder: Path) -> dict[str, str]:
    return {f"{prefix}/{name}": digest for name, digest in steps.file_fingerprints(folder).items()}


def _own_programs() -> str:
    """Hash our programs that run on a node."""
    return steps.folder_fingerprint(repository_root() / "src" / "bulkhead" / "host")
