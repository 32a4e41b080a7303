"""The initrd: one static program, the kernel modules that it loads, and nothing else.

The program is native/init; it needs no shell, no library and no udev. Its
files are described here, because this is where they are written:

    /init               the program
    /modules/NAME.ko    a module, uncompressed: unpacking xz in the kernel cost
                        half of the time that an initrd takes, and a module's
                        signature covers the uncompressed bytes
    /modules/load       names of the modules that are always loaded, in order
    /modules/alias      `PATTERN NAME…`: when a device's modalias matches the
                        pattern, these modules are loaded in this order
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bulkhead.build import cpio
from bulkhead.lib import suggest
from bulkhead.lib.dirs import repository_root
from bulkhead.model.arch import Architecture
from bulkhead.model.errors import UserError

if TYPE_CHECKING:
    from bulkhead.build.tools import Tools

# What every machine needs: virtio disks (found without waiting), the mapping
# of the root with the CPU's SHA-256, its file system, and the overlay on /etc.
ALWAYS = (
    "virtio_pci", "virtio_mmio", "virtio_blk", "sha256_ssse3", "crc32c_intel", "dm_verity", "erofs", "overlay",
)  # fmt: skip
# Disk drivers that are loaded when a device asks for them. NVMe is built into
# Debian's kernels; a name that a kernel does not have as a module is skipped.
STORAGE = (
    "ahci", "ata_piix", "ata_generic", "sd_mod", "virtio_scsi", "vmw_pvscsi", "mpi3mr",
    "hv_vmbus", "hv_storvsc", "pci_hyperv", "xen_blkfront", "xen_scsifront",
    "mmc_block", "sdhci_pci", "sdhci_acpi", "nvme", "vmd",
)  # fmt: skip


# What the init program has room for (native/init/modules.c).
MAX_ALIASES = 1024
MAX_ALIAS_BYTES = 65535
MAX_LOAD_BYTES = 4095


class Module(msgspec.Struct, frozen=True, kw_only=True):
    """A kernel module and what it says about itself in `.modinfo`."""

    name: str
    data: bytes
    """Uncompressed, with its signature."""
    depends: tuple[str, ...] = ()
    soft_depends: tuple[str, ...] = ()
    """Modules that it asks the kernel for by name (`softdep: pre`), loaded if there are any."""
    aliases: tuple[str, ...] = ()


def read_module(data: bytes, *, where: str) -> Module:
    """Return the module whose uncompressed bytes are `data`.

    Raises:
        UserError: it is not a kernel module.
    """
    from elftools.common.exceptions import ELFError
    from elftools.construct import ConstructError
    from elftools.elf.elffile import ELFFile

    try:
        section = ELFFile(BytesIO(data)).get_section_by_name(".modinfo")
        parts = [] if section is None else section.data().split(b"\0")
        fields = [part.decode().partition("=") for part in parts if part]
    # Of its own errors pyelftools promises one; offsets that cannot be give others.
    except (ELFError, ConstructError, ValueError, OverflowError) as error:
        raise UserError(f"not a kernel module: {error}", where=where) from error
    if section is None:
        raise UserError("not a kernel module: it has no .modinfo section", where=where)
    values: dict[str, list[str]] = {}
    for key, _, value in fields:
        values.setdefault(key, []).append(value)
    if "name" not in values:
        raise UserError("not a kernel module: it has no name", where=where)
    return Module(
        name=_name(values["name"][0]),
        data=data,
        depends=tuple(_name(part) for part in values.get("depends", [""])[0].split(",") if part),
        soft_depends=_before(values.get("softdep", [])),
        aliases=tuple(values.get("alias", [])),
    )


def _name(written: str) -> str:
    """Return the module's name: file names may have `-` where the kernel says `_`."""
    return written.replace("-", "_")


def _before(lines: Iterable[str]) -> tuple[str, ...]:
    """Return the names after `pre:` of softdep lines (`pre: a b post: c`)."""
    names: list[str] = []
    for line in lines:
        wanted = False
        for word in line.split():
            if word.endswith(":"):
                wanted = word == "pre:"
            elif wanted:
                names.append(_name(word))
    return tuple(names)


def load_order(names: Iterable[str], found: Mapping[str, Module]) -> tuple[str, ...]:
    """Return `names` with everything they depend on, each after what it needs.

    A name that is not in `found` is skipped: it is built into the kernel.

    Raises:
        UserError: a module needs one that is not in `found`.
    """
    order: list[str] = []

    def visit(name: str, chain: tuple[str, ...]) -> None:
        if name in order or name in chain:
            return
        module = found[name]
        for needed in module.depends:
            if needed not in found:
                raise UserError(
                    f"module {name!r} needs {needed!r}, which was not given",
                    hint=suggest.hint(needed, found),
                )
            visit(needed, (*chain, name))
        for wished in module.soft_depends:
            if wished in found:
                visit(wished, (*chain, name))
        order.append(name)

    for name in names:
        if name in found:
            visit(name, ())
    return tuple(order)


def make(
    out: Path,
    *,
    arch: Architecture,
    modules: Mapping[str, Module],
    tools: Tools,
    always: Sequence[str] = ALWAYS,
    on_demand: Sequence[str] = STORAGE,
    init: Path | None = None,
) -> None:
    """Write the initrd to `out`: a cpio archive, compressed with zstd.

    Args:
        out: the result; it appears whole or not at all.
        arch: decides which build of the init program goes in.
        modules: name to module; those that `always` and `on_demand` need are taken.
        tools: a tool tree with zstd.
        always: names of modules to load at every start.
        on_demand: names of modules to load when a device asks for them.
        init: another init program, for tests.

    Raises:
        UserError: a module's dependency is missing, there are more modules than
            the init program has room for, or there is no init for `arch`.
        HostError: zstd failed.
    """
    archive = BytesIO()
    cpio.write(_members(init or _init(arch), modules, always, on_demand), archive)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as name:
        scratch = Path(name)
        plain, packed = scratch / "initrd", scratch / "initrd.zst"
        plain.write_bytes(archive.getvalue())
        argv = ["zstd", "-19", "-T1", "--quiet", "--no-progress", str(plain), "-o", str(packed)]
        tools.run(argv, writes=[scratch])
        os.chmod(packed, 0o644)
        os.replace(packed, out)


def _init(arch: Architecture) -> Path:
    path = repository_root() / "native" / "init" / f"init.{arch.debian}"
    if not path.is_file():
        raise UserError(
            f"there is no init program for {arch.debian}",
            where=str(path),
            hint="compile it with: python -m bulkhead.build.native",
        )
    return path


def _members(
    init: Path, modules: Mapping[str, Module], always: Sequence[str], on_demand: Sequence[str]
) -> dict[str, cpio.Member]:
    first = load_order(always, modules)
    aliases: list[str] = []
    taken = list(first)
    for name in on_demand:
        order = load_order([name], modules)
        taken += [needed for needed in order if needed not in taken]
        if order:
            missing = [needed for needed in order if needed not in first]
            aliases += [
                " ".join([pattern, *missing]) for pattern in modules[name].aliases if missing
            ]
    _check_room(first, aliases)
    members = {
        "dev": cpio.directory(),
        # The kernel opens it as standard input, output and error of /init.
        "dev/console": cpio.character_device(5, 1),
        "init": cpio.file(init.read_bytes(), mode=0o755),
        "modules": cpio.directory(),
        "modules/load": cpio.file(_lines(first)),
        "modules/alias": cpio.file(_lines(aliases)),
    }
    for name in taken:
        members[f"modules/{name}.ko"] = cpio.file(modules[name].data)
    return members


def _check_room(first: Sequence[str], aliases: Sequence[str]) -> None:
    too_many = len(_lines(first)) > MAX_LOAD_BYTES or len(aliases) > MAX_ALIASES
    if too_many or len(_lines(aliases)) > MAX_ALIAS_BYTES:
        raise UserError(
            f"the initrd has no room for {len(first)} modules and {len(aliases)} device patterns",
            hint="leave out modules that only few machines need to find their root",
        )


def _lines(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
