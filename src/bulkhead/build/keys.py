"""A set of Secure Boot keys on disk."""

from __future__ import annotations

from pathlib import Path

import msgspec


class Keys(msgspec.Struct, frozen=True, kw_only=True):
    """Where the files of a key set are."""

    directory: Path

    @property
    def db_key(self) -> Path:
        """Private key that signs EFI programs."""
        return self.directory / "db.key"

    @property
    def db_certificate(self) -> Path:
        """Certificate of `db_key`."""
        return self.directory / "db.crt"

    @property
    def enrolment(self) -> tuple[Path, ...]:
        """Signed variable updates that systemd-boot enrols from loader/keys/auto."""
        return tuple(self.directory / name for name in ("PK.auth", "KEK.auth", "db.auth"))
