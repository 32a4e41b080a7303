"""The program.

    python3 -I -m bulkhead.host.hugepages now     settings have changed
    python3 -I -m bulkhead.host.hugepages boot    early, while memory is still in one piece

The kernel gives as many huge pages as it can, to the last byte, and does not
say when these are fewer. So it is not asked for more than can be spared, and
each number is read back. At a start it fails without those that are
essential, and with it the boot.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from bulkhead.host.hugepages import kernel
from bulkhead.host.hugepages.kernel import Target
from bulkhead.host.hugepages.places import Places
from bulkhead.lib import atomicfile, conditions
from bulkhead.model import boot
from bulkhead.model.boot import HugePages
from bulkhead.model.errors import HostError
from bulkhead.model.health import Condition

log = logging.getLogger("bulkhead.hugepages")


KEPT_MIB = 256
"""What is left for everything else. The kernel gives away all that there is, and then nothing can be started
that would take it back, at this start or the next."""


def run(places: Places, *, starting: bool, ask: Callable[[Path, str], str] = kernel.write) -> bool:
    """Do all of it; leave in a file what people should know.

    Args:
        places: where everything is.
        starting: the machine has just started.
        ask: asks the kernel for a value and returns what it has then; for tests.

    Returns:
        Whether the boot may go on.

    Raises:
        HostError: what the settings became cannot be read.
    """
    wanted = _wanted(places.wanted)
    targets = list(kernel.targets(wanted, places))
    remembered = places.state / "hugepages-before.json"
    before = _before(remembered)
    missing = _restore(before, {str(target.path) for target in targets}, ask)
    for target in targets:
        try:
            _set(target, before, places, ask)
        except HostError as error:
            missing.append(f"{_what(target)}: {error}")
    atomicfile.write(remembered, msgspec.json.encode(before))
    told = tuple(map(_condition, missing))
    conditions.write(places.state / "hugepages.json", told)
    for condition in told:
        log.error("%s", condition.title)
    return not (starting and wanted.essential and told)


def _wanted(path: Path) -> HugePages:
    try:
        return msgspec.json.decode(path.read_bytes(), type=HugePages)
    except FileNotFoundError:
        return HugePages()
    except (OSError, msgspec.MsgspecError) as error:
        raise HostError(f"is not what settings are made into: {error}", where=str(path)) from error


def _before(path: Path) -> dict[str, str]:
    """Return what was in the kernel's files before settings changed it, since the start."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except (FileNotFoundError, msgspec.MsgspecError):
        return {}


def _restore(before: dict[str, str], kept: set[str], ask: Callable[[Path, str], str]) -> list[str]:
    """Put back what settings do not concern any more; return what could not be."""
    failed = []
    for path in [path for path in before if path not in kept]:
        try:
            ask(Path(path), before.pop(path))
        except HostError as error:
            failed.append(str(error))
    return failed


def _set(
    target: Target, before: dict[str, str], places: Places, ask: Callable[[Path, str], str]
) -> None:
    """Bring a file of the kernel to its value.

    Raises:
        HostError: it has another one then, or was not asked.
    """
    now = kernel.read(target.path)
    before.setdefault(str(target.path), now)
    pages = target.pages
    if pages is None:
        if (got := ask(target.path, target.value)) != target.value:
            raise HostError(f"the kernel has {got}")
        return
    more_kib = (pages.count - int(now)) * pages.size_kib
    if more_kib > 0 and more_kib + KEPT_MIB * 1024 > kernel.available_kib(places):
        raise HostError(f"they would leave less than {KEPT_MIB} MiB of memory for everything else")
    if int(got := ask(target.path, target.value)) < pages.count:
        raise HostError(f"the kernel gave {got}")


def _what(target: Target) -> str:
    pages = target.pages
    if pages is None:
        return f"transparent huge pages, {target.path.name} = {target.value}"
    mib, kib = divmod(pages.size_kib, 1024)
    size = f"{pages.size_kib} KiB" if kib else f"{mib} MiB"
    where = "" if pages.node is None else f" on NUMA node {pages.node}"
    return f"{pages.count} huge pages of {size}{where}"


def _condition(what: str) -> Condition:
    return Condition(
        code=boot.TOO_FEW, severity="error", where="settings.kernel.hugepages", title=what,
        text="Ask for fewer, or restart the machine: at its start memory is in one piece. The sizes that "
        "a processor knows are in the files of /sys/kernel/mm/hugepages.",
    )  # fmt: skip


def main() -> int:
    """Run the program."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        return 0 if run(Places(), starting=sys.argv[1:] == ["boot"]) else 1
    except HostError as error:
        log.error("%s", error)  # noqa: TRY400 - in words
        return 1


if __name__ == "__main__":
    sys.exit(main())
