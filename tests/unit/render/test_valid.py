"""What the models accept can be rendered: a commit that is right does not fail later."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from bulkhead.model.settings.check import SettingsError
from bulkhead.model.settings.groups import Groups
from bulkhead.render.services import SERVICES, render
from tests.support.settings import values

NAMES = sorted({key.partition(".")[0] for service in SERVICES for key in service.keys})
GROUPS = Groups(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_accepted_settings_can_be_rendered(name: str) -> None:
    """No renderer refuses what the store takes."""

    @settings(
        max_examples=40, deadline=None, suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )  # fmt: skip
    @given(value=values(GROUPS.kind(name)))
    def attempt(value: object) -> None:
        try:
            accepted = GROUPS.check({name: value}, complete=True)
        except SettingsError:
            return
        assert {file.path for file in render(accepted)} >= {"/etc/hosts", "/etc/motd"}

    attempt()
