"""A variant: what one kind of image consists of, as its TOML file says.

Every key of a variant has a default, so that a small file is a complete one.

Lists of an inheriting variant are added to those of its parents, single
values replace them.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from bulkhead.model.repository import Pin, Repository

Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9-]{0,30}\Z")]
Size = Annotated[str, msgspec.Meta(pattern=r"^[1-9][0-9]*[KMGT]?\Z")]


class _Table(msgspec.Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True):
    pass


class Packages(_Table, frozen=True):
    """Debian packages: of the root, and of the agent tree, a second root in it for our services."""

    host: tuple[str, ...] = ()
    """For the root: `name`, `name=version` or `name/suite`."""
    agent: tuple[str, ...] = ()
    """For the agent tree."""
    exclude: tuple[str, ...] = ()
    """Dependencies that count as satisfied because nothing in the image uses them."""


class Kernel(_Table, frozen=True):
    """The kernel, how it is started, and which of its modules are in the image."""

    package: str | None = None
    """Overrides the architecture's kernel package."""
    command_line: tuple[str, ...] = ()
    """Added to the kernel's command line, one word each."""
    modules: tuple[str, ...] = ()
    """Module names or patterns of paths below `kernel/`; dependencies come along."""
    initrd_modules: tuple[str, ...] = ()
    """Loaded before the root can be mounted, in this order; dependencies come along."""
    storage_modules: tuple[str, ...] = ()
    """In the initrd too, but loaded only when a device with a matching modalias is present."""


class Units(_Table, frozen=True):
    """systemd units."""

    enable: tuple[str, ...] = ()
    """Enabled as their [Install] sections say; everything else stays disabled."""
    mask: tuple[str, ...] = ()
    """Units that never start, whoever asks for them."""


class Sizes(_Table, frozen=True):
    """Sizes of partitions, with K, M, G or T for powers of 1024; fixed for the life of a node."""

    esp: Size | None = None
    """Of the EFI system partition, which has the boot loader and the kernels of both slots."""
    root: Size | None = None
    """Of each of the two root slots."""
    verity: Size | None = None
    """Of the hash tree of each root slot."""


class Image(_Table, frozen=True):
    """The file system of the root."""

    compression: str | None = None
    """As `mkfs.erofs -z` takes it."""
    cluster_size: int | None = None
    """Largest physical cluster in bytes."""


class File(_Table, frozen=True):
    """A single file from elsewhere, pinned by its hash."""

    path: str
    """Where it goes in the root."""
    url: str
    """Where it is fetched from."""
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
    """Of its content; any other content is refused."""
    size: int
    """In bytes."""
    mode: Annotated[str, msgspec.Meta(pattern=r"^0[0-7]{3}\Z")] = "0644"
    """Its permissions in octal; `0644` without it."""


class Rule(_Table, frozen=True):
    """Which files of a package go into the image, and why its scripts need not run."""

    keep: tuple[str, ...] | None = None
    """Patterns of paths; all files but documentation without it."""
    drop: tuple[str, ...] = ()
    """Patterns of paths that are left out although `keep` has them."""
    scripts: dict[str, str] = {}
    """For each maintainer script: why it is not needed or what replaces it."""


class Variant(_Table, frozen=True):
    """One kind of image."""

    name: Name | None = None
    """Of the variant and, after `bulkhead-`, of its image; the name of its directory without it."""
    description: str | None = None
    """For people who choose a variant."""
    version: (
        Annotated[str, msgspec.Meta(pattern=r"^[0-9]+(\.[0-9]+)*([~+-][a-z0-9.]+)?\Z")] | None
    ) = None
    """Of the image; Bulkhead's own version without it."""
    inherit: tuple[str, ...] = ()
    """Variants that this one adds to: names of Bulkhead's own, or paths."""
    packages: Packages = Packages()
    """What is installed; see [packages](#packages)."""
    kernel: Kernel = Kernel()
    """The kernel and its modules; see [kernel](#kernel)."""
    units: Units = Units()
    """What starts at boot; see [units](#units)."""
    sizes: Sizes = Sizes()
    """Of the disk's partitions; see [sizes](#sizes)."""
    image: Image = Image()
    """How the root is packed; see [image](#image)."""
    repositories: tuple[Repository, ...] = ()
    """Where packages come from; see [repository](#repository)."""
    pins: tuple[Pin, ...] = ()
    """Which versions are preferred or forbidden; see [pin](#pin)."""
    files: tuple[File, ...] = ()
    """Single files that are no package's; see [file](#file)."""
    rootfs: tuple[str, ...] = ()
    """Directories whose content is laid over the root, relative to the variant's file."""
    rules: dict[str, Rule] = {}
    """By package name."""
    dlopen: tuple[str, ...] = ()
    """Libraries that programs load by themselves when they are there; taken although nothing links to them."""
    lazyload: tuple[str, ...] = ()
    """Libraries of the root that are loaded at the first call of one of their functions, not at the
    start of each program that links to them; those of `native/lazyload` can be."""
    preload: tuple[str, ...] = ()
    """Container images that are in the system from the first boot: names of Bulkhead's own
    (`image/containers`), directories with an `image.toml`, or OCI archives, relative to the
    variant's file."""
    settings_groups: tuple[str, ...] = ()
    """Groups of settings that a node has: names of Bulkhead's own (see [settings](settings.md)), and
    directories of the variant's own groups (`./settings/NAME`), relative to the variant's file."""
    settings: dict[str, object] = {}
    """Default settings of a node; they have to be right for its groups."""
