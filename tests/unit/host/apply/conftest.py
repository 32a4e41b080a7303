"""A machine to apply settings to: directories instead of its own, and a first process."""

from __future__ import annotations

from pathlib import Path

import pytest

from bulkhead.host.apply.places import Places
from tests.support.apply_node import Node
from tests.support.first_process import FirstProcess


@pytest.fixture
def places(tmp_path: Path, systemd: FirstProcess) -> Places:
    """Make the directories of a machine that has just started."""
    made = Places(
        etc=tmp_path / "etc", image=tmp_path / "image", state=tmp_path / "state",
        settings=tmp_path / "settings", shipped=tmp_path / "shipped", systemd=systemd.path,
        lockdown=tmp_path / "lockdown", proc=tmp_path / "proc", boot=tmp_path / "boot",
    )  # fmt: skip
    for path in (
        made.etc,
        made.image,
        made.state,
        made.shipped,
        made.boot,
        made.proc / "sys" / "vm",
    ):
        path.mkdir(parents=True)
    (made.image / "ca-certificates.crt").write_bytes(b"authorities\n")
    (made.proc / "modules").write_text("tcp_bbr 20480 3 - Live 0x0\nsctp 1 0 - Live 0x0\n")
    (made.proc / "sys" / "vm" / "swappiness").write_text("60\n")
    made.lockdown.write_text("none [integrity] confidentiality\n")
    return made


@pytest.fixture
def node(places: Places, systemd: FirstProcess) -> Node:
    """Make a machine that runs with the image's settings."""
    return Node(places, systemd)
