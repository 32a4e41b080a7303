"""The kernel: lockdown, modules, parameters, huge pages."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import field

from bulkhead.model.settings.check import SettingsError
from bulkhead.model.settings.values import ModuleName, SingleLine, SysctlKey, Table, only, rule

PageCount = Annotated[
    str,
    rule("a number of pages, or one for each NUMA node, as in 512 or 0:128,1:256",
         pattern=r"[0-9]{1,12}|[0-9]{1,4}:[0-9]{1,12}(?:,[0-9]{1,4}:[0-9]{1,12}){0,255}"),
]  # fmt: skip


class Module(Table, frozen=True):
    """What may happen with one module of the kernel."""

    allowed: bool | None = None
    """False: it cannot be loaded. It stays loaded if it is already."""
    autoload: bool | None = None
    """Load it at boot, and as soon as this is set."""


class Pages(Table, frozen=True):
    """Huge pages of one size."""

    count: PageCount | None = None
    """How many are set aside."""


class StaticHugePages(Table, frozen=True):
    """Huge pages that are set aside at boot, by their size; the processor knows some of the sizes."""

    essential: bool | None = None
    """The boot fails if there are not enough. False if missing."""
    size_64k: Pages | None = field(default=None, name="64Ki")
    size_2m: Pages | None = field(default=None, name="2Mi")
    size_32m: Pages | None = field(default=None, name="32Mi")
    size_512m: Pages | None = field(default=None, name="512Mi")
    size_1g: Pages | None = field(default=None, name="1Gi")
    size_16g: Pages | None = field(default=None, name="16Gi")


class TransparentHugePages(Table, frozen=True):
    """Huge pages that programs get without asking."""

    enabled: Literal["always", "madvise", "never"] | None = None
    """For all memory, only where a program asks with madvise(2), or never."""
    defrag: Literal["always", "defer", "defer+madvise", "madvise", "never"] | None = None
    """Whether the kernel makes room for them; follows `enabled` if missing."""


class HugePages(Table, frozen=True):
    """Huge pages."""

    static: StaticHugePages | None = None
    transparent: TransparentHugePages | None = None


class Kernel(Table, frozen=True):
    """The running kernel."""

    lockdown: Literal["none", "integrity", "confidentiality"] | None = None
    """How far the kernel defends itself against root. Takes effect at once when it becomes stricter;
    to loosen it needs a reboot."""
    modules: Annotated[dict[ModuleName, Module], only(ModuleName)] | None = None
    """By module name."""
    sysctl: Annotated[dict[SysctlKey, SingleLine], only(SysctlKey)] | None = None
    """Kernel parameters: name and value, both text. The image's own hardening can be overridden."""
    hugepages: HugePages | None = None


def check(kernel: Kernel, *, complete: bool) -> None:
    """Refuse to load at boot what must not be loaded."""
    del complete
    for name, module in (kernel.modules or {}).items():
        if module.autoload and module.allowed is False:
            raise SettingsError(
                ("kernel", "modules", name, "autoload"),
                f"is true although {name} is not allowed",
                hint="allow the module, or do not load it",
            )


Model = Kernel
