"""The keys that Bulkhead trusts."""

from __future__ import annotations

from pathlib import Path

import pytest

from bulkhead.build.debian import release
from bulkhead.lib.dirs import repository_root
from bulkhead.model.errors import UserError
from bulkhead.model.repository import debian

# As the archive team publishes them, and as the package debian-archive-keyring has them.
FINGERPRINTS = {
    "debian-archive-trixie-automatic.gpg": "04b54c3cdca79751b16bc6b5225629df75b188bd",
    "debian-archive-trixie-security-automatic.gpg": "5e04a1e3223a19a20706e20f9904613d4cce68c6",
    "debian-archive-trixie-stable.gpg": "41587f7db8c774bccf131416762f67a0b2c39de4",
}


def test_only_these_keys_are_in_the_repository() -> None:
    """A key that is added or exchanged has to be changed here too, where a reviewer sees it."""
    folder = repository_root() / "image" / "keys"
    found = {
        path.name: [cert.fingerprint for cert in release.certificates([path.name], where="test")]
        for path in folder.glob("*.gpg")
    }

    assert found == {name: [fingerprint] for name, fingerprint in FINGERPRINTS.items()}


def test_every_key_is_used() -> None:
    """No key lies around that vouches for nothing."""
    assert {key for repository in debian() for key in repository.keys} == set(FINGERPRINTS)


def test_missing_key_is_named() -> None:
    """The path of a key that cannot be read is in the message."""
    with pytest.raises(
        UserError, match=r"image/keys/nothing\.gpg: key cannot be read: No such file"
    ):
        release.certificates(["nothing.gpg"], where="test")


def test_file_that_is_no_key_is_named(tmp_path: Path) -> None:
    """A file with something else in it is refused."""
    (tmp_path / "x.asc").write_text("hello")

    with pytest.raises(UserError, match=r"x\.asc: is no OpenPGP key"):
        release.certificates([str(tmp_path / "x.asc")], where="test")
