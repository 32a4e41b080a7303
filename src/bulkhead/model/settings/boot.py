"""What the kernel and the init program are started with, beside what the image gives them."""

from __future__ import annotations

from bulkhead.model.settings.values import BootConfigKey, BootConfigValue, Table


class Boot(Table, frozen=True):
    """Parameters of the next start of the machine."""

    reboot_to_reconcile: bool | None = None
    """Start the machine again at once if what it runs with is not what the settings say."""
    kernel_parameters: dict[BootConfigKey, tuple[BootConfigValue, ...]] | None = None
    """For the kernel: each name with its values, none for a mere flag."""
    init_parameters: dict[BootConfigKey, tuple[BootConfigValue, ...]] | None = None
    """For systemd, in the same form."""


Model = Boot
