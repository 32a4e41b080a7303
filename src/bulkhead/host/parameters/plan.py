"""What has to change on the ESP, and what to tell people: pure, from facts.

The image's own entry is never touched. Beside it there is at most one entry for
each image, with the parameters of the settings; one that failed all its tries
stays, so that it is known, until the settings change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from bulkhead.host.parameters import entries
from bulkhead.host.parameters.entries import Entry, Line
from bulkhead.host.parameters.uki import Uki
from bulkhead.model import boot
from bulkhead.model.boot import Parameters
from bulkhead.model.health import Condition

LINE_LIMIT = 1900
"""Bytes. The kernel cuts its line off after 2047 (COMMAND_LINE_SIZE, x86 and arm64), and a hypervisor may
append to it."""
_VARIANT = "Give them in the variant, kernel.command-line, or unset settings.boot."


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """All that a plan is made from."""

    wanted: Parameters | None
    command_line: str
    """What the kernel runs with."""
    secure_boot: bool
    image: str | None
    """Name of the image that runs; None if no boot loader started it."""
    images: Mapping[str, Uki]
    """Images on the ESP that have proved good, by name."""
    present: Sequence[Entry]
    """Entries of ours."""


class Write(msgspec.Struct, frozen=True, kw_only=True):
    """A new entry."""

    file: str
    text: str


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is done: first the new entry is written, then others are removed."""

    write: Write | None = None
    remove: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()
    reboot: bool = False
    """The machine should start again at once, if it has only just started."""


def plan(facts: Facts) -> Plan:
    """Decide."""
    lines = {} if facts.secure_boot else _lines(facts)
    unwanted = tuple(
        entry.file
        for entry in facts.present
        if entry.image not in lines or lines[entry.image].digest != entry.digest
    )
    if why := _impossible(facts):
        return Plan(remove=unwanted, conditions=(_condition_impossible(why),))
    runs = entries.running(facts.command_line)
    if facts.wanted is None or facts.image is None:
        pending = (_pending("without the parameters that were unset"),) if runs else ()
        return Plan(remove=unwanted, conditions=pending)
    wanted = lines[facts.image]
    there = [e for e in facts.present if (e.image, e.digest) == (facts.image, wanted.digest)]
    if not there:
        write = Write(
            file=entries.name(facts.image, wanted.digest),
            text=entries.text(facts.image, facts.images[facts.image], wanted),
        )
        told = () if runs == wanted.digest else (_pending("with the parameters of the settings"),)
        return Plan(
            write=write, remove=unwanted, conditions=told,
            reboot=facts.wanted.reboot and bool(told),
        )  # fmt: skip
    if runs == wanted.digest:
        return Plan(remove=unwanted)
    if all(entry.left == 0 for entry in there):
        return Plan(remove=unwanted, conditions=(_fell_back(facts.wanted),))
    return Plan(remove=unwanted, conditions=(_pending("with the parameters of the settings"),))


def _lines(facts: Facts) -> dict[str, Line]:
    """Return the line that each image should be started with: the other slot may run again."""
    if facts.wanted is None:
        return {}
    return {name: entries.line(uki, facts.wanted.line) for name, uki in facts.images.items()}


def _impossible(facts: Facts) -> str | None:
    """Return why parameters cannot be given to this machine's kernel."""
    if facts.wanted is None:
        return None
    uki = facts.images.get(facts.image or "")
    words = facts.wanted.line
    length = len(entries.line(uki, words).options) if uki else 0
    reasons = (
        (
            facts.secure_boot,
            "Secure Boot is on, and the command line is part of what the image's key has signed",
        ),
        (
            facts.image is None,
            "this machine's kernel was not started by the boot loader of its disk",
        ),
        (uki is None, f"the image {facts.image} has not proved good, or its file cannot be read"),
        (not (words.isascii() and words.isprintable()), "they are not one line of text"),
        (
            length > LINE_LIMIT,
            f"the command line would have {length} characters, and {LINE_LIMIT} are safe",
        ),
    )
    return next((why for holds, why in reasons if holds), None)


def _condition_impossible(why: str) -> Condition:
    return Condition(
        code=boot.IMPOSSIBLE, severity="error", where="settings.boot",
        title=f"boot parameters cannot take effect: {why}", text=_VARIANT,
    )  # fmt: skip


def _pending(how: str) -> Condition:
    return Condition(
        code=boot.PENDING, severity="warning", where="settings.boot",
        title=f"the machine starts {how} the next time",
        text="Restart it when that suits: bulkhead ctl reboot.",
    )  # fmt: skip


def _fell_back(wanted: Parameters) -> Condition:
    return Condition(
        code=boot.FELL_BACK, severity="error", where="settings.boot",
        title="the machine did not come up with the boot parameters of the settings, and runs without",
        text=f"It was tried {entries.TRIES} times with: {wanted.line}. Change or unset them; to try the "
        "same again, unset them first.",
    )  # fmt: skip
