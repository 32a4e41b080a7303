"""What the kernel and the init program are started with, beside what the image gives them."""

from __future__ import annotations

from typing import Annotated

from bulkhead.model.settings import boot_parameters
from bulkhead.model.settings.check import SettingsError
from bulkhead.model.settings.values import BootConfigKey, BootConfigValue, Table, only

Parameters = Annotated[dict[BootConfigKey, tuple[BootConfigValue, ...]], only(BootConfigKey)]


class Boot(Table, frozen=True):
    """Parameters of the next start of the machine."""

    reboot_to_reconcile: bool | None = None
    """Start the machine again at once, when it has started, if what it runs with is not what the
    settings say. Once: parameters that failed are not tried again."""
    kernel_parameters: Parameters | None = None
    """For the kernel: each name with its values, none for a mere flag."""
    init_parameters: Parameters | None = None
    """For systemd, in the same form."""


def check(boot: Boot, *, complete: bool) -> None:
    """Refuse parameters that would undo what the image promises."""
    del complete
    given = {
        "kernel-parameters": boot.kernel_parameters,
        "init-parameters": boot.init_parameters,
    }
    for group, parameters in given.items():
        for name, values in (parameters or {}).items():
            if why := boot_parameters.refusal(name, values):
                raise SettingsError(
                    ("boot", group, name),
                    f"cannot be set on a node: {why}",
                    hint="what an image starts with is in its variant: kernel.command-line",
                )


Model = Boot
