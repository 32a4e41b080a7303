"""The files that a build leaves behind: disk images, their parts, reports, and the manifest."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bulkhead.build import disk, folderlock, formats, image, sbom, verity
from bulkhead.build.tools import Tools
from bulkhead.build.tools import tools as tool_tree
from bulkhead.lib import atomicfile, suggest
from bulkhead.lib.progress import Progress
from bulkhead.model import manifest as manifests
from bulkhead.model.errors import HostError, UserError
from bulkhead.model.manifest import Manifest, Output

if TYPE_CHECKING:
    from bulkhead.build.pipeline import Plan

# Format of a disk image: kind of output.
FORMATS = {"raw": "disk", "qcow2": "disk-qcow2", "raw.zst": "disk-raw-zst"}
MANIFEST = "manifest.json"
# Kind of output: name of the file in the image step.
PARTS = {
    "root": "root.erofs", "verity": "root.verity", "kernel": "vmlinuz", "initrd": "initrd",
    "uki": "uki.efi", "report": "report.html", "report-json": "report.json",
}  # fmt: skip
SUFFIXES = {
    "root": "root.erofs", "verity": "root.verity", "kernel": "vmlinuz", "initrd": "initrd",
    "uki": "efi", "report": "report.html", "report-json": "report.json",
    "sbom-spdx": "spdx.json", "sbom-cyclonedx": "cdx.json",
}  # fmt: skip
UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def check_formats(wanted: Sequence[str]) -> None:
    """Refuse formats that there are not.

    Raises:
        UserError: with the nearest one that there is.
    """
    for name in wanted:
        if name not in FORMATS:
            hint = suggest.hint(name, FORMATS) or f"known: {', '.join(FORMATS)}"
            raise UserError(f"there is no image format {name!r}", hint=hint)


def read_manifest(path: Path) -> Manifest:
    """Read the manifest of an image, which may be anybody's and be something else.

    Raises:
        UserError: it cannot be read, or is no manifest.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(manifests.LARGEST_BYTES + 1)
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=str(path)) from error
    return manifests.decode(raw, where=str(path))


def finished(plan: Plan) -> Manifest | None:
    """Return the manifest of an earlier build if all its outputs are what this plan would make."""
    try:
        manifest = read_manifest(plan.out / MANIFEST)
    except UserError:
        return None
    same = (manifest.inputs, manifest.builder, manifest.lock, manifest.version, manifest.epoch) == (
        plan.inputs, plan.builder, plan.lock, plan.version, plan.epoch,
    )  # fmt: skip
    # A signature depends on the key, which the manifest does not know: sign again.
    if not same or manifest.signed or plan.keys:
        return None
    if any(manifest.output(FORMATS[name]) is None for name in plan.formats):
        return None
    for output in manifest.outputs:
        try:
            if (plan.out / output.file).stat().st_size != output.size:
                return None
        except OSError:
            return None
    return manifest


def write(plan: Plan, folder: Path, *, tools: Tools, cache: Path, progress: Progress) -> Manifest:
    """Place all outputs of a plan in its directory, the manifest last.

    Builds that write to one directory wait for each other: the files are those of one of them. So
    disk images of this name and version in formats that the plan does not have are removed.

    Raises:
        HostError: the directory cannot be written, or the disk is full.
    """

    def waits() -> None:
        progress.notice(f"another build writes to {plan.out} now; waiting until it has ended")

    try:
        plan.out.mkdir(parents=True, exist_ok=True)
        with folderlock.alone(plan.out, waits=waits):
            remove_leftovers(plan.out, name=plan.name)
            # The build that we waited for may have been of the same image.
            if (done := finished(plan)) is not None:
                return done
            return _write(plan, folder, tools=tools, cache=cache, progress=progress)
    except OSError as error:
        # What is copied has the error's name, and is not what is full.
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise HostError(
            f"cannot write the image: {error.strerror}",
            where=str(plan.out if full else error.filename or plan.out),
            hint="make room there, or choose another directory with -o" if full else None,
        ) from error


def remove_leftovers(out: Path, *, name: str) -> None:
    """Remove from `out` what killed builds of an image left, half a disk for example.

    Whoever has the folder's lock knows that nobody works on it. The folder may be anybody's, such
    as a home: only names that `atomicfile` gives are ours.
    """
    endings = "|".join(re.escape(suffix) for suffix in (*SUFFIXES.values(), *FORMATS))
    target = rf"({re.escape(name)}-.+\.({endings})|{re.escape(MANIFEST)})"
    ours = re.compile(rf"\.{target}\.[0-9a-f]{{16}}")
    for path in out.iterdir():
        if ours.fullmatch(path.name) and path.is_dir():
            shutil.rmtree(path)
        elif ours.fullmatch(path.name):
            path.unlink()


def _write(plan: Plan, folder: Path, *, tools: Tools, cache: Path, progress: Progress) -> Manifest:
    (plan.out / MANIFEST).unlink(missing_ok=True)
    facts = image.read_facts(folder)
    stem = f"{plan.name}-{plan.version}"
    found: list[Output] = []
    for kind, name in PARTS.items():
        target = plan.out / f"{stem}.{SUFFIXES[kind]}"
        _appear(target, partial(shutil.copyfile, folder / name))
        found.append(_describe(kind, target))
    with progress.task("making the disk image"):
        raw = plan.out / f"{stem}.raw"
        _appear(raw, lambda scratch: _disk(plan, folder, facts, scratch, tools))
    for name in plan.formats:
        target = plan.out / f"{stem}.{name}"
        if name != "raw":
            with progress.task(f"making {target.name}"):
                _convert(name, raw, target, tools=tools, cache=cache, progress=progress)
        found.append(_describe(FORMATS[name], target))
    for name in FORMATS:
        if name not in plan.formats:
            (plan.out / f"{stem}.{name}").unlink(missing_ok=True)
    manifest = _manifest(plan, facts, found)
    for kind, text in (
        ("sbom-spdx", sbom.spdx(plan.lock, manifest, licences=facts.licences)),
        ("sbom-cyclonedx", sbom.cyclonedx(plan.lock, manifest, licences=facts.licences)),
    ):
        target = plan.out / f"{stem}.{SUFFIXES[kind]}"
        atomicfile.write(target, text)
        found.append(_describe(kind, target))
    manifest = _manifest(plan, facts, found)
    atomicfile.write(plan.out / MANIFEST, manifests.encode(manifest), durable=True)
    return manifest


def _appear(target: Path, make: Callable[[Path], object]) -> None:
    """Let `make` write a scratch file in the same directory that then takes the target's name."""
    with atomicfile.scratch_directory(target) as folder:
        scratch = folder / target.name
        make(scratch)
        scratch.chmod(0o644)
        os.replace(scratch, target)


def _describe(kind: str, path: Path) -> Output:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Output(kind=kind, file=path.name, size=path.stat().st_size, sha256=digest)


def _disk(plan: Plan, folder: Path, facts: image.Facts, out: Path, tools: Tools) -> None:
    sizes = plan.resolved.variant.sizes
    default = disk.DiskLayout()
    layout = disk.DiskLayout(
        esp_mib=_mib(sizes.esp, default.esp_mib),
        root_mib=_mib(sizes.root, default.root_mib),
        verity_mib=_mib(sizes.verity, default.verity_mib),
    )
    boot = disk.boot(folder / "uki.efi", arch=plan.arch, tools=tools, keys=plan.keys)
    disk.make(
        out, arch=plan.arch, layout=layout, boot=boot, root=folder / "root.erofs",
        hash_tree=folder / "root.verity", root_hash=facts.root_hash, name=plan.name,
        version=plan.version, tools=tools, epoch=plan.epoch,
    )  # fmt: skip


def _convert(
    name: str, raw: Path, target: Path, *, tools: Tools, cache: Path, progress: Progress
) -> None:
    form = formats.Format(name)
    wanted = formats.TOOL_SETS[form]
    converter = tools if wanted == tools.name else None
    if wanted is not None and converter is None:
        converter = tool_tree(wanted, cache=cache, progress=progress)
    formats.write(raw, target, form=form, tools=converter)


def _mib(text: str | None, default: int) -> int:
    if text is None:
        return default
    unit = UNITS.get(text[-1])
    size = int(text[:-1]) * unit if unit else int(text)
    return max(1, size >> 20)


def _manifest(plan: Plan, facts: image.Facts, found: Sequence[Output]) -> Manifest:
    root_uuid, verity_uuid = verity.partition_uuids(facts.root_hash)
    return Manifest(
        variant=plan.resolved.name, version=plan.version, architecture=plan.arch.debian,
        epoch=plan.epoch, root_hash=facts.root_hash, verity_salt=facts.verity_salt,
        root_uuid=str(root_uuid), verity_uuid=str(verity_uuid),
        kernel_release=facts.kernel_release, command_line=facts.command_line,
        signed=plan.keys is not None, outputs=tuple(sorted(found, key=lambda o: o.kind)),
        builder=plan.builder, inputs=plan.inputs, lock=plan.lock,
    )  # fmt: skip
