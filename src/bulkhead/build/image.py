"""The image itself: root, hash tree, kernel, initrd and UKI of one variant, as one cached step."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec

from bulkhead.build import erofs, groups, initrd, licences, report, root, steps, uki, verity
from bulkhead.build.complete import modules
from bulkhead.build.debian.deb import Package
from bulkhead.build.keys import Keys
from bulkhead.build.tools import Tools
from bulkhead.build.tree import Tree
from bulkhead.build.variants import Resolved
from bulkhead.lib.progress import Progress
from bulkhead.model.arch import Architecture

COMPRESSION = "lz4hc,9"
CLUSTER_SIZE = 65536


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a finished image step says about its files."""

    root_hash: str
    verity_salt: str
    kernel_release: str
    command_line: str
    licences: dict[str, str]
    """SPDX expression of each package that says one."""


class Inputs(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the image depends on, besides the builder's own source."""

    resolved: Resolved
    arch: Architecture
    version: str
    epoch: int
    packages: dict[str, dict[str, Package]]
    """By set and name."""
    keys: Keys | None
    files: dict[str, Path]
    """Single files from elsewhere, by their path in the root."""
    preload: dict[str, Path]
    """Archives of container images, by the file name that they get."""


FILES = ("root.erofs", "root.verity", "vmlinuz", "initrd", "uki.efi", "report.html", "report.json")


def make(out: Path, inputs: Inputs, *, tools: Tools, cache: Path, progress: Progress) -> None:
    """Fill the directory `out` with `FILES` and `facts.json`."""
    variant, arch = inputs.resolved.variant, inputs.arch
    with progress.task("choosing files"):
        kernel = root.kernel(inputs.packages["kernel"], tools=tools, cache=cache)
        chosen = groups.choose(inputs.resolved)
        agent = root.agent(
            inputs.resolved, inputs.packages["agent"], arch=arch, chosen=chosen, tools=tools,
            cache=cache,
        )  # fmt: skip
        tree = root.root(
            inputs.resolved, inputs.packages["host"], arch=arch, kernel=kernel, agent=agent,
            chosen=chosen, version=inputs.version, files_from_elsewhere=inputs.files,
            preload=inputs.preload, tools=tools, cache=cache, progress=progress,
        )  # fmt: skip
    with progress.task("making the root file system"):
        erofs.make(
            tree, out / "root.erofs", tools=tools, epoch=inputs.epoch,
            compression=variant.image.compression or COMPRESSION,
            cluster=variant.image.cluster_size or CLUSTER_SIZE,
        )  # fmt: skip
        hashed = verity.make(out / "root.erofs", out / "root.verity", tools=tools)
    with progress.task("making the kernel image"):
        _make_initrd(out / "initrd", kernel, inputs, tools=tools, cache=cache)
        shutil.copyfile(kernel.image, out / "vmlinuz")
        command_line = " ".join((f"roothash={hashed.root_hash}", *variant.kernel.command_line))
        uki.make(
            out / "uki.efi", arch=arch, kernel=kernel.image, initrd=out / "initrd",
            cmdline=command_line, os_release=tree["usr/lib/os-release"].read().decode(),
            uname=kernel.modules.release, tools=tools, keys=inputs.keys, epoch=inputs.epoch,
        )  # fmt: skip
    report.make(
        tree, packages=_versions(inputs.packages), compressed=(out / "root.erofs").stat().st_size,
        title=f"{inputs.resolved.name} {inputs.version}", out_html=out / "report.html",
        out_json=out / "report.json",
    )  # fmt: skip
    facts = Facts(
        root_hash=hashed.root_hash, verity_salt=hashed.salt,
        kernel_release=kernel.modules.release, command_line=command_line,
        licences=licences.declared(_trees(inputs.packages)),
    )  # fmt: skip
    (out / "facts.json").write_bytes(msgspec.json.encode(facts))


def read_facts(folder: Path) -> Facts:
    """Return what `make` wrote about the files in `folder`."""
    return msgspec.json.decode((folder / "facts.json").read_bytes(), type=Facts)


def _make_initrd(
    out: Path, kernel: root.Kernel, inputs: Inputs, *, tools: Tools, cache: Path
) -> None:
    """Place the initrd at `out`; it changes far less often than the root does."""
    chosen = inputs.resolved.variant.kernel
    names = (*chosen.initrd_modules, *chosen.storage_modules)

    def fill(folder: Path) -> None:
        order = kernel.modules.load_order(names)
        found: dict[str, initrd.Module] = {}
        for name, data in modules.uncompressed(kernel.tree, kernel.modules, order):
            module = initrd.read_module(data, where=name)
            found[module.name] = module
        initrd.make(
            folder / "initrd", arch=inputs.arch, modules=found, tools=tools,
            always=_module_names(chosen.initrd_modules),
            on_demand=_module_names(chosen.storage_modules),
        )  # fmt: skip

    key = steps.key(kernel.key, names, tools.key)
    shutil.copyfile(steps.cached(cache, "initrd", key, fill) / "initrd", out)


def _module_names(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name.replace("-", "_") for name in names)


def _versions(packages: Mapping[str, Mapping[str, Package]]) -> dict[str, str]:
    return {
        name: package.version for members in packages.values() for name, package in members.items()
    }


def _trees(packages: Mapping[str, Mapping[str, Package]]) -> dict[str, Tree]:
    return {
        name: package.tree for members in packages.values() for name, package in members.items()
    }
