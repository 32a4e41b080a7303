"""The program.

    python3 -I -m bulkhead.host.parameters now     settings have changed
    python3 -I -m bulkhead.host.parameters boot    the machine has started, and its boot is complete

Gives the boot loader an entry with the parameters of the settings, or takes it
away, and says what comes of it. The boot loader tries an entry three times and
then goes back to the image's own by itself. Where the settings ask for it, the
machine is started again after a boot with something else; once, because by then
the entry is there.
"""

from __future__ import annotations

import logging
import sys

from bulkhead.host.parameters.execute import execute
from bulkhead.host.parameters.gather import gather
from bulkhead.host.parameters.places import Places
from bulkhead.host.parameters.plan import Plan, plan
from bulkhead.lib import atomicfile, conditions
from bulkhead.model import boot
from bulkhead.model.errors import BulkheadError
from bulkhead.model.health import Condition

log = logging.getLogger("bulkhead.parameters")


def run(places: Places, *, starting: bool) -> tuple[Condition, ...]:
    """Do all of it; return what people should know, which is also left in a file.

    Args:
        places: where everything is.
        starting: the machine has just started.
    """
    reboot = False
    try:
        planned: Plan = plan(gather(places))
        execute(planned, places.esp)
    except BulkheadError as error:
        told: tuple[Condition, ...] = (_failed(error),)
    else:
        told = planned.conditions
        reboot = planned.reboot and starting
    conditions.write(places.state / "parameters.json", told)
    if reboot:
        # bulkhead-parameters-reboot.service looks for it.
        atomicfile.write(places.state / "reboot", b"")
    return told


def _failed(error: BulkheadError) -> Condition:
    where = f" ({error.where})" if error.where else ""
    return Condition(
        code=boot.FAILED, severity="error", where="settings.boot",
        title=f"boot parameters are as before: {error.what}{where}",
        text=f"{error.hint or 'When the reason is gone: bulkhead ctl reapply'}.",
    )  # fmt: skip


def main() -> int:
    """Run the program."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    for condition in run(Places(), starting=sys.argv[1:] == ["boot"]):
        level = logging.ERROR if condition.severity == "error" else logging.WARNING
        log.log(level, "%s", condition.title)
    return 0


if __name__ == "__main__":
    sys.exit(main())
