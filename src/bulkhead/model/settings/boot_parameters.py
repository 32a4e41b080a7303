"""Which parameters of the kernel and of systemd a node may set, and how they are written.

Parameters that decide which system starts, that loosen how the kernel defends
itself, or that keep a machine from restarting by itself are refused: they would
undo what the image promises. The kernel has thousands of others, so for it this
is a list of refusals; systemd has few, and some of them run programs, so for it
this is a list of what is allowed. Whether a parameter is set for the kernel or
for systemd makes no difference: both read the whole line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_SYSTEM = "it decides which system starts, and that is for the image alone"
_DEFENCE = "it loosens how the kernel defends itself"
_RESTART = "a machine that does not restart by itself cannot go back to the image's parameters"
_MODE = "a node without a shell has nothing to offer in that mode"
_SYSCTL = "settings.kernel.sysctl is for these"
_OURS = "the node itself sets it"

# Names as the kernel compares them: a dash is an underscore (kernel/params.c).
_REFUSED = {
    **dict.fromkeys(
        ("root", "rootfstype", "rootflags", "rootdelay", "rootwait", "roothash", "usrhash", "ro", "rw",
         "nfsroot", "init", "rdinit", "initrd", "initrdmem", "noinitrd", "bootconfig", "resume",
         "fstab", "usrflags", "usrfstype", "efi", "noefi"), _SYSTEM),
    **dict.fromkeys(
        ("lockdown", "lsm", "security", "apparmor", "selinux", "enforcing", "landlock", "evm", "ima",
         "initcall_blacklist", "iomem", "elfcorehdr", "acpi_rsdp", "efivar_ssdt", "debugfs", "kdb", "ekgdboc",
         "kgdboc", "kgdbcon", "kgdbwait", "kgdbdbgp"), _DEFENCE),
    **dict.fromkeys(("panic", "oops"), _RESTART),
    **dict.fromkeys(
        ("emergency", "rescue", "single", "s", "S", "1", "2", "3", "4", "5"), _MODE),
}  # fmt: skip
_REFUSED_BELOW = {
    **dict.fromkeys(("dm_mod.", "dm_verity.", "verity.", "mount.", "rd."), _SYSTEM),
    **dict.fromkeys(
        ("module.", "apparmor.", "ipe.", "ima_", "integrity.", "firmware_class.", "kgdboc.",
         "kgdboc_earlycon"), _DEFENCE),
    "sysctl.": _SYSCTL,
    "bulkhead.": _OURS,
}  # fmt: skip

_SYSTEMD = frozenset({
    "systemd.log_level", "systemd.log_target", "systemd.log_color", "systemd.log_location",
    "systemd.log_tid", "systemd.log_time", "systemd.show_status", "systemd.status_unit_format",
    "systemd.dump_core", "systemd.default_device_timeout_sec", "systemd.default_timeout_start_sec",
    "systemd.cpu_affinity",
    "systemd.journald.forward_to_console", "systemd.journald.forward_to_kmsg",
    "systemd.journald.max_level_console", "systemd.journald.max_level_kmsg",
    "systemd.journald.max_level_store",
    "udev.log_level", "udev.children_max", "udev.event_timeout", "udev.exec_delay",
})  # fmt: skip

_VALUE = re.compile(r"[\x20\x21\x23-\x7e]*(?!\n)")
_BARE = re.compile(r"[A-Za-z0-9_.,:;/@+=%*~^!?-]+(?!\n)")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*(?!\n)")


def refusal(name: str, values: tuple[str, ...] = ()) -> str | None:
    """Return why a parameter cannot be set; None if it can be.

    A value with blanks is judged word by word too: what the kernel reads before
    it has a console does not know quotes (arch/x86/lib/cmdline.c).
    """
    if not _NAME.fullmatch(name):
        return "expected a name that starts with a letter, a digit or an underscore"
    if why := _refused_name(name):
        return why
    for value in values:
        if not _VALUE.fullmatch(value):
            return "the kernel cannot read a value with a double quote or a line end in it"
        for word in value.split(" ")[1:]:
            inner = word.partition("=")[0]
            if why := _refused_name(inner):
                return f"its value has {inner!r} as a word of its own, and {why}"
    return None


def words(name: str, values: tuple[str, ...]) -> Iterator[str]:
    """Return what a parameter is on the command line: a word for each value, one for a mere flag."""
    if not values:
        yield name
    for value in values:
        # Quotes around the value alone: kernel, systemd and our init take them off (next_arg in
        # lib/cmdline.c; EXTRACT_UNQUOTE). A single quote would begin a text for systemd outside of them.
        yield f"{name}={value}" if not value or _BARE.fullmatch(value) else f'{name}="{value}"'


def _refused_name(name: str) -> str | None:
    known = name.replace("-", "_")
    if known in _REFUSED:
        return _REFUSED[known]
    for start, why in _REFUSED_BELOW.items():
        if known.startswith(start):
            return why
    if known.startswith(("systemd.", "udev.")) and known not in _SYSTEMD:
        return "of systemd's parameters only those of messages and time limits may be set on a node"
    return None
