"""Rules for all tests."""

from __future__ import annotations

import signal
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

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


class ByFile(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
    """Gives whole files to the processes that run tests (`-n`), so that what a file's tests share is made once.

    The boot lane stays in one process: an emulated machine takes two processors.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "boot" if file.startswith("tests/boot/") else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByFile:
    """Have tests distributed as above."""
    return ByFile(config, log)


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
