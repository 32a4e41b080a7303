"""What programs of a node talk to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.first_process import FirstProcess, first_process


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[FirstProcess]:
    """Run a first process."""
    with first_process(tmp_path) as served:
        yield served
