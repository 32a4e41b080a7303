"""Rules for all tests."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

# Times say more about what else the machine does than about the code; they are measured in bench/.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# For `bulkhead check`, which is run at every commit; `bulkhead test` tries the usual hundred.
settings.register_profile("quick", settings.get_profile("busy"), max_examples=15)


def pytest_configure(config: pytest.Config) -> None:
    """Load the usual profile unless `--hypothesis-profile` names one."""
    if not config.getoption("--hypothesis-profile"):
        settings.load_profile("busy")


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
