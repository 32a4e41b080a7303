"""Boot parameters: what is refused, and that a value cannot become a parameter of its own.

The command line is read by three programs that split it in three ways: the
kernel (lib/cmdline.c, next_arg), what the kernel runs before that on x86
(arch/x86/lib/cmdline.c, which knows no quotes), and systemd. Each is imitated
here.
"""

from __future__ import annotations

import shlex

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bulkhead.model.settings import boot_parameters
from bulkhead.model.settings.check import SettingsError
from bulkhead.model.settings.groups import GENERAL, Groups

BASE = "roothash=00 ro lockdown=integrity"
VARIANT = "\n  hint: what an image starts with is in its variant: kernel.command-line"
SYSTEM = "it decides which system starts, and that is for the image alone"
DEFENCE = "it loosens how the kernel defends itself"
RESTART = "a machine that does not restart by itself cannot go back to the image's parameters"
MODE = "a node without a shell has nothing to offer in that mode"
SYSTEMD = "of systemd's parameters only those of messages and time limits may be set on a node"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("roothash", SYSTEM), ("root", SYSTEM), ("rootfstype", SYSTEM), ("init", SYSTEM), ("rdinit", SYSTEM),
        ("initrd", SYSTEM), ("dm-mod.create", SYSTEM), ("dm_mod.create", SYSTEM), ("rd.systemd.unit", SYSTEM),
        ("mount.usr", SYSTEM), ("rw", SYSTEM), ("efi", SYSTEM), ("dm-verity.require_signatures", SYSTEM),
        ("lockdown", DEFENCE), ("lsm", DEFENCE), ("security", DEFENCE), ("module.sig_enforce", DEFENCE),
        ("module.sig-enforce", DEFENCE), ("ima_appraise", DEFENCE), ("ipe.enforce", DEFENCE),
        ("initcall_blacklist", DEFENCE), ("initcall-blacklist", DEFENCE), ("acpi_rsdp", DEFENCE),
        ("iomem", DEFENCE), ("kgdboc", DEFENCE), ("kgdboc.kgdboc", DEFENCE), ("debugfs", DEFENCE),
        ("firmware_class.path", DEFENCE),
        ("panic", RESTART), ("oops", RESTART), ("emergency", MODE), ("single", MODE), ("1", MODE),
        ("sysctl.kernel.core_pattern", "settings.kernel.sysctl is for these"),
        ("bulkhead.parameters", "the node itself sets it"),
        ("systemd.run", SYSTEMD), ("systemd.unit", SYSTEMD), ("systemd.mask", SYSTEMD),
        ("systemd.wants", SYSTEMD), ("systemd.debug_shell", SYSTEMD), ("systemd.debug-shell", SYSTEMD),
        ("systemd.machine_id", SYSTEMD), ("systemd.set_credential", SYSTEMD), ("systemd.setenv", SYSTEMD),
        ("systemd.verity", SYSTEMD), ("systemd.volatile", SYSTEMD), ("systemd.mount-extra", SYSTEMD),
        ("systemd.crash_shell", SYSTEMD), ("systemd.watchdog_sec", SYSTEMD), ("udev.blockdev_read_only", SYSTEMD),
        ("--", "expected a name that starts with a letter, a digit or an underscore"),
        ("-b", "expected a name that starts with a letter, a digit or an underscore"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("group", ["kernel-parameters", "init-parameters"])
def test_what_would_undo_the_image_is_refused(group: str, name: str, why: str) -> None:
    """When it is set, with the reason, and whoever is meant to read it."""
    with pytest.raises(SettingsError) as raised:
        Groups(GENERAL).check({"boot": {group: {name: ["x"]}}})

    shown = f'"{name}"' if "." in name else name
    assert str(raised.value) == (
        f"settings.boot.{group}.{shown}: cannot be set on a node: {why}{VARIANT}"
    )


@pytest.mark.parametrize(
    "name",
    ["isolcpus", "console", "crashkernel", "hugepages", "mitigations", "module_blacklist", "rooted", "initial",
     "nvme_core.io_timeout", "usbcore.quirks", "systemd.log_level", "systemd.log-level", "udev.children_max",
     "net.ifnames", "log_level", "splash", "panic_on_warn", "slub_debug"],
)  # fmt: skip
def test_others_are_let_through(name: str) -> None:
    """Names that only look alike, and what people tune machines with."""
    assert boot_parameters.refusal(name, ("1",)) is None


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ('a" init=/x "', "the kernel cannot read a value with a double quote or a line end in it"),
        ("a\nb", "the kernel cannot read a value with a double quote or a line end in it"),
        ("a roothash=11", f"its value has 'roothash' as a word of its own, and {SYSTEM}"),
        (" acpi_rsdp=0x1", f"its value has 'acpi_rsdp' as a word of its own, and {DEFENCE}"),
        ("a  lockdown", f"its value has 'lockdown' as a word of its own, and {DEFENCE}"),
    ],
)
def test_a_value_cannot_smuggle_another_parameter_in(value: str, why: str) -> None:
    """Not by quotes, and not past readers that know no quotes."""
    assert boot_parameters.refusal("name", (value,)) == why


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((), ["k"]), (("",), ["k="]), (("1",), ["k=1"]), (("tty0", "ttyS1,115200n8"), ["k=tty0", "k=ttyS1,115200n8"]),
        (("a b",), ['k="a b"']), (("it's",), ['k="it\'s"']), (("a=b",), ["k=a=b"]), (("2G-:256M",), ["k=2G-:256M"]),
        (("a\\b",), ['k="a\\b"']), (("$x",), ['k="$x"']),
    ],
)  # fmt: skip
def test_values_are_quoted_where_they_need_it(values: tuple[str, ...], words: list[str]) -> None:
    """A word for each value, and the name alone for a flag."""
    assert list(boot_parameters.words("k", values)) == words


def kernel(line: str) -> list[tuple[str, str | None]]:
    """Split a line as the kernel does."""
    found: list[tuple[str, str | None]] = []
    rest = line.strip(" ")
    while rest:
        quoted, equals, at = False, 0, 0
        start = 1 if rest[0] == '"' else 0
        quoted = bool(start)
        body = rest[start:]
        for at in range(len(body) + 1):
            if at == len(body) or (body[at] == " " and not quoted):
                break
            if equals == 0 and body[at] == "=":
                equals = at
            if body[at] == '"':
                quoted = not quoted
        word, rest = body[:at], body[at:].lstrip(" ")
        if not equals:
            found.append((word.removesuffix('"') if start else word, None))
            continue
        name, value = word[:equals], word[equals + 1 :]
        if value.startswith('"'):
            value = value[1:].removesuffix('"')
        found.append((name, value))
    return found


def systemd(line: str) -> list[tuple[str, str | None]]:
    """Split a line as systemd does: both kinds of quotes, a backslash is a letter."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="")
    lexer.whitespace_split, lexer.commenters, lexer.escape = True, "", ""
    pairs = (word.partition("=") for word in lexer)
    return [(name, value if equals else None) for name, equals, value in pairs]


NAMES = st.from_regex(r"[A-Za-z0-9_-]{1,8}(\.[A-Za-z0-9_-]{1,8})?", fullmatch=True)
VALUES = st.text(st.sampled_from("ab =\"'\\-$#,;:\t\n"), max_size=12) | st.sampled_from(
    ["roothash=1 x", "x roothash=1", "' roothash=1 '", "-- x", "a --", "x lockdown", '" init=/x']
)


@given(st.lists(st.tuples(NAMES, st.lists(VALUES, max_size=2)), max_size=4))
@example([("a", ["x roothash=1"])])
@example([("a", ["'"]), ("b", ["'"])])
@example([("a", ["\\"]), ("b", ["x y"])])
def test_every_reader_sees_what_was_set(parameters: list[tuple[str, list[str]]]) -> None:
    """Kernel and systemd agree on names and values, and nothing else is on the line."""
    taken = [(n, tuple(v)) for n, v in parameters if boot_parameters.refusal(n, tuple(v)) is None]
    line = " ".join([BASE, *(word for n, v in taken for word in boot_parameters.words(n, v))])
    meant = [(n, value) for n, v in taken for value in (v or (None,))]
    image = [("roothash", "00"), ("ro", None), ("lockdown", "integrity")]

    assert kernel(line) == [*image, *meant]
    assert systemd(line) == [*image, *meant]
    early = [word.partition("=")[0] for word in line.split()]
    assert [early.count(name) for name in ("roothash", "lockdown", "init", "acpi_rsdp")] == [
        1,
        1,
        0,
        0,
    ]
