"""Rules for all tests."""

from __future__ import annotations

import signal
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

TESTS = Path(__file__).parent

# Times say more about what else the machine does than about the code; they are measured in bench/.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# For `bulkhead check`, which is run at every commit; `bulkhead test` tries the usual hundred.
settings.register_profile("quick", settings.get_profile("busy"), max_examples=15)


def pytest_configure(config: pytest.Config) -> None:
    """Load the usual profile unless `--hypothesis-profile` names one; take Ctrl-C as usual."""
    # A shell has what it runs in the background ignore it, and the programs that tests interrupt
    # would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if not config.getoption("--hypothesis-profile"):
        settings.load_profile("busy")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Spread the machines over the other slow tests, and have the quick files last.

    Two files run beside each other (`-n 2 --dist=loadfile`). A machine keeps two processors busy
    only now and then; what is left over in the end should be short.
    """
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    lanes: dict[str, list[Path]] = {}
    for path in files:
        lanes.setdefault(path.relative_to(TESTS).parts[0], []).append(path)
    unit = lanes.pop("unit", [])
    boot = lanes.pop("boot", [])
    slow = [path for lane in lanes.values() for path in lane]
    place = {path: at / len(lane) for lane in (boot, slow) for at, path in enumerate(lane)}
    items[:] = [
        item for path in (*sorted(place, key=place.__getitem__), *unit) for item in files[path]
    ]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let a test that cannot run fail: a skipped test proves nothing and looks like success."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} could not run: {report.longrepr}"
    return report
