"""The kernel: lockdown, modules, parameters, huge pages."""

from __future__ import annotations

from typing import Annotated, Literal

from bulkhead.model.settings.check import SettingsError
from bulkhead.model.settings.values import ModuleName, SingleLine, SysctlKey, Table, rule, whole

PageSize = Annotated[
    str,
    rule("a size of huge pages, as in hugepages-2048kB", pattern=r"hugepages-[1-9][0-9]{0,11}kB"),
]


class Module(Table, frozen=True):
    """What may happen with one module of the kernel."""

    allowed: bool | None = None
    """False: it cannot be loaded. It stays loaded if it is already."""
    autoload: bool | None = None
    """Load it at boot, and as soon as this is set."""


class StaticHugePages(Table, frozen=True):
    """Huge pages that are set aside."""

    size: PageSize | None = None
    """Of one page; the architecture's default if missing."""
    count: Annotated[int, whole(0, 2**32 - 1)] | None = None


class Kernel(Table, frozen=True):
    """The running kernel."""

    lockdown: Literal["none", "integrity", "confidentiality"] | None = None
    """How far the kernel defends itself against root. Takes effect at once when it becomes stricter;
    to loosen it needs a reboot."""
    modules: dict[ModuleName, Module] | None = None
    """By module name."""
    sysctl: dict[SysctlKey, SingleLine] | None = None
    """Kernel parameters: name and value, both text. The image's own hardening can be overridden."""


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
