"""Secure Boot keys: what is written, and what firmware would check."""

from __future__ import annotations

import random
import shutil
import struct
import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from bulkhead.build import keys
from bulkhead.model.errors import UserError

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a new key set."""
    directory = tmp_path_factory.mktemp("keys") / "set"
    keys.make(directory, now=NOW)
    return directory


def certificate(made: Path, name: str) -> x509.Certificate:
    """Return a certificate of the set."""
    return x509.load_pem_x509_certificate((made / f"{name}.crt").read_bytes())


def test_private_keys_are_for_their_owner_alone(made: Path) -> None:
    """Mode 0600 whatever the umask, and out of version control."""
    modes = {path.name: path.stat().st_mode & 0o777 for path in made.glob("*.key")}

    assert modes == {"PK.key": 0o600, "KEK.key": 0o600, "db.key": 0o600}
    assert (made / ".gitignore").read_text() == "*.key\n"


def test_keys_are_never_overwritten(made: Path) -> None:
    """A second run into the same directory changes nothing and says what to do."""
    before = {path.name: path.read_bytes() for path in made.iterdir()}

    with pytest.raises(UserError, match="keys are never overwritten") as caught:
        keys.make(made)

    assert "choose another directory with -o" in str(caught.value)
    assert {path.name: path.read_bytes() for path in made.iterdir()} == before


def test_signature_list_holds_the_certificate(made: Path) -> None:
    """EFI_SIGNATURE_LIST as in UEFI 32.4.1: type, sizes, owner, DER."""
    from cryptography.hazmat.primitives.serialization import Encoding

    raw = (made / "db.esl").read_bytes()
    der = certificate(made, "db").public_bytes(Encoding.DER)

    kind, size, header, entry = struct.unpack("<16sIII", raw[:28])
    assert uuid.UUID(bytes_le=kind) == uuid.UUID("a5c059a1-94e4-4aa7-87b5-ab155c2bf072")
    assert (size, header, entry) == (len(raw), 0, 16 + len(der))
    assert raw[44:] == der


@pytest.mark.parametrize(
    ("name", "signer", "namespace"),
    [
        ("PK", "PK", "8be4df61-93ca-11d2-aa0d-00e098032b8c"),
        ("KEK", "PK", "8be4df61-93ca-11d2-aa0d-00e098032b8c"),
        ("db", "KEK", "d719b2cb-3d3a-4596-a3bc-dad00e67656f"),
    ],
)
def test_update_is_signed_by_whom_firmware_asks_for(
    made: Path, name: str, signer: str, namespace: str
) -> None:
    """The RSA signature at its end covers name, namespace, attributes, time and value."""
    raw = (made / f"{name}.auth").read_bytes()
    value = (made / f"{name}.esl").read_bytes()
    time, (length, revision, kind) = raw[:16], struct.unpack("<IHH", raw[16:24])
    signed_data = raw[40 : 16 + length]
    covered = name.encode("utf-16-le") + uuid.UUID(namespace).bytes_le + struct.pack("<I", 0x27)
    public = certificate(made, signer).public_key()

    assert (revision, kind) == (0x0200, 0x0EF1)
    assert struct.unpack("<HBBBBB", time[:7]) == (2026, 11, 23, 12, 0, 0)
    assert raw[16 + length :] == value
    # SEQUENCE, then version 1: no ContentInfo around it.
    assert signed_data[:1] == b"\x30"
    assert signed_data[4:7] == b"\x02\x01\x01"
    assert isinstance(public, RSAPublicKey)
    public.verify(signed_data[-256:], covered + time + value, padding.PKCS1v15(), SHA256())


def test_a_set_with_a_missing_file_is_refused(made: Path, tmp_path: Path) -> None:
    """The message names the file and the command that makes a set."""
    with pytest.raises(UserError, match="cannot read this file of the key set") as caught:
        keys.load(tmp_path / "none")

    assert str(tmp_path / "none" / "db.key") in str(caught.value)
    assert f"bulkhead keys -o {tmp_path / 'none'}" in str(caught.value)


@pytest.mark.slow
@pytest.mark.slow
@pytest.mark.parametrize("name", ["db.key", "db.crt"])
def test_a_damaged_set_is_refused(made: Path, tmp_path: Path, name: str) -> None:
    """Whichever characters are changed, there is a message or a set that fits together."""
    copy = tmp_path / "copy"
    shutil.copytree(made, copy)
    whole = (made / name).read_bytes()
    dice = random.Random(9)
    refused = 0
    for _ in range(40):
        data = bytearray(whole)
        for _ in range(dice.randrange(1, 5)):
            data[dice.randrange(len(data))] = dice.choice(b"A0\n-=z/\x00\xff")
        (copy / name).write_bytes(data)
        try:
            keys.load(copy)
        except UserError:
            refused += 1

    assert refused > 20


def test_a_key_of_another_set_is_refused(made: Path, tmp_path: Path) -> None:
    """Signing with a key that no certificate belongs to would give an image that cannot start."""
    mixed = tmp_path / "mixed"
    keys.make(mixed, now=NOW)
    (mixed / "db.crt").write_bytes((made / "db.crt").read_bytes())

    with pytest.raises(UserError, match=r"db\.key is not the private key of db\.crt"):
        keys.load(mixed)


def test_a_whole_set_is_accepted(made: Path) -> None:
    """What `make` makes, `load` takes."""
    assert keys.load(made) == keys.Keys(directory=made)
