"""What the tests of repositories share."""

from __future__ import annotations

import pytest

from bulkhead.build.debian import transport


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try failing transfers again at once; the server of a test needs no time to recover."""
    monkeypatch.setattr(transport, "FIRST_PAUSE_S", 0.01)
