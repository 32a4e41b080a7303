"""A machine with an ESP, firmware variables and a running kernel: directories instead of its own."""

from __future__ import annotations

from pathlib import Path

import msgspec

from bulkhead.host.parameters.__main__ import run
from bulkhead.host.parameters.places import Places
from bulkhead.model.boot import Parameters
from bulkhead.model.health import Condition
from tests.support.uki import uki

BASE = "roothash=00 ro quiet panic=10"
LOADER = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"


class Machine:
    """A machine that runs the image `test_1.0`, which has proved good."""

    def __init__(self, directory: Path) -> None:
        self.places = Places(
            wanted=directory / "boot.json", esp=directory / "esp", variables=directory / "efivars",
            command_line=directory / "cmdline", state=directory / "state",
        )  # fmt: skip
        self.images = self.places.esp / "EFI/Linux"
        self.entries = self.places.esp / "loader/entries"
        for path in (
            self.images,
            self.places.esp / "loader",
            self.places.variables,
            self.places.state,
        ):
            path.mkdir(parents=True)
        (self.images / "test_1.0.efi").write_bytes(uki(BASE))
        self.variable(f"LoaderInfo-{LOADER}", "systemd-boot 257\0")
        self.variable(f"StubImageIdentifier-{LOADER}", "\\EFI\\Linux\\test_1.0+2-1.efi\0")
        self.variable(f"SecureBoot-{GLOBAL}", b"\0")
        self.start_with(BASE)

    def variable(self, name: str, value: str | bytes) -> None:
        """Set a variable of the firmware."""
        raw = value.encode("utf-16-le") if isinstance(value, str) else value
        (self.places.variables / name).write_bytes(b"\6\0\0\0" + raw)

    def start_with(self, line: str) -> None:
        """Let the kernel run with a command line, and what an earlier start said be gone."""
        self.places.command_line.write_text(f"{line}\n")
        for path in self.places.state.iterdir():
            path.unlink()

    def want(self, line: str | None, *, reboot: bool = False) -> None:
        """Let the settings have parameters, or none."""
        self.places.wanted.unlink(missing_ok=True)
        if line is not None:
            self.places.wanted.write_bytes(
                msgspec.json.encode(Parameters(line=line, reboot=reboot))
            )

    def run(self, *, starting: bool = False) -> list[str]:
        """Run the program; return what it says."""
        return [condition.title for condition in self.told(starting=starting)]

    def told(self, *, starting: bool = False) -> tuple[Condition, ...]:
        """Run the program; return all of what it says."""
        return run(self.places, starting=starting)

    def names(self) -> list[str]:
        """Return the names of all entries."""
        return sorted(path.name for path in self.entries.iterdir()) if self.entries.is_dir() else []

    def next_start(self, *, tries: int = 0) -> None:
        """Start as systemd-boot and systemd-bless-boot do, after so many starts that failed."""
        (name,) = self.names()
        stem, counter, _ = name.removesuffix(".conf").partition("+")
        options = (self.entries / name).read_text().split("\noptions ")[1].strip()
        if not counter or tries < 3:
            (self.entries / name).rename(self.entries / f"{stem}.conf")
            self.start_with(options)
        else:
            (self.entries / name).rename(self.entries / f"{stem}+0-3.conf")
            self.start_with(BASE)
