"""Secure Boot keys: making a set, and the files by which firmware takes it in.

Three pairs, as the UEFI Specification (32.3) has them: the platform key (PK)
owns the machine, key exchange keys (KEK) may change what is allowed to start,
and `db` signs what starts. Only `db` is needed to build images.

    NAME.key    private key (PKCS #8, PEM), readable by its owner alone
    NAME.crt    its certificate (PEM)
    NAME.esl    the certificate as an EFI_SIGNATURE_LIST
    NAME.auth   the same as a signed update of the variable NAME; systemd-boot
                enrols these from loader/keys/auto of the ESP
"""

from __future__ import annotations

import struct
import uuid as uuids
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bulkhead.lib import atomicfile
from bulkhead.lib.dirs import absolute
from bulkhead.model.errors import UserError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.x509 import Certificate

# Every firmware has RSA-2048 with SHA-256; many have nothing stronger.
RSA_BITS = 2048
YEARS = 20

_GLOBAL_VARIABLE = uuids.UUID("8be4df61-93ca-11d2-aa0d-00e098032b8c")
_IMAGE_SECURITY_DATABASE = uuids.UUID("d719b2cb-3d3a-4596-a3bc-dad00e67656f")
_CERT_X509 = uuids.UUID("a5c059a1-94e4-4aa7-87b5-ab155c2bf072")
_CERT_TYPE_PKCS7 = uuids.UUID("4aafd29d-68df-49ee-8aa9-347d375665a7")
_WIN_CERT_REVISION, _WIN_CERT_TYPE_EFI_GUID = 0x0200, 0x0EF1
# Non-volatile, boot services, run time, time-based authenticated write access.
_ATTRIBUTES = 0x27

# Variable: its namespace, and whose key signs its first value.
_VARIABLES = {
    "PK": (_GLOBAL_VARIABLE, "PK"),
    "KEK": (_GLOBAL_VARIABLE, "PK"),
    "db": (_IMAGE_SECURITY_DATABASE, "KEK"),
}


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
        return tuple(self.directory / f"{name}.auth" for name in _VARIABLES)


class KeySet(msgspec.Struct, frozen=True, kw_only=True):
    """What `make` made; `bulkhead keys --json` prints it."""

    directory: str
    owner: uuids.UUID
    """Names us in the firmware's lists."""
    not_after: datetime
    fingerprints: dict[str, str]
    """SHA-256 of each certificate, by variable."""


def load(directory: Path) -> Keys:
    """Return the key set in `directory`.

    Raises:
        UserError: a file is missing or unreadable, or `db.key` is not the key of `db.crt`.
    """
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    keys = Keys(directory=absolute(directory))
    raw: list[bytes] = []
    for path in (keys.db_key, keys.db_certificate, *keys.enrolment):
        try:
            raw.append(path.read_bytes())
        except OSError as error:
            raise UserError(
                f"cannot read this file of the key set: {error.strerror}",
                where=str(path),
                hint=f"make a key set with: bulkhead keys -o {directory}",
            ) from error
    try:
        public = load_pem_private_key(raw[0], password=None).public_key()
        certified = x509.load_pem_x509_certificate(raw[1]).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UserError(f"db.key or db.crt is damaged: {error}", where=str(directory)) from error
    if public != certified:
        raise UserError("db.key is not the private key of db.crt", where=str(directory))
    return keys


def make(directory: Path, *, now: datetime | None = None, bits: int = RSA_BITS) -> KeySet:
    """Make a new key set in the new directory `directory`; it appears whole or not at all.

    Raises:
        UserError: `directory` exists already: keys are never overwritten.
    """
    if directory.exists():
        raise UserError(
            "exists already; keys are never overwritten",
            where=str(directory),
            hint="choose another directory with -o, or move the old keys away",
        )
    start = (now or datetime.now(UTC)).astimezone(UTC).replace(microsecond=0)
    owner = uuids.uuid4()
    pairs = {name: _pair(f"Bulkhead {name}", start, bits) for name in _VARIABLES}
    with atomicfile.new_directory(directory) as scratch:
        for name, (key, certificate) in pairs.items():
            _write_pair(scratch, name, key, certificate)
            entries = signature_list(certificate, owner)
            (scratch / f"{name}.esl").write_bytes(entries)
            namespace, signer = _VARIABLES[name]
            (scratch / f"{name}.auth").write_bytes(
                signed_update(name, namespace, entries, signer=pairs[signer], at=start)
            )
        # Somebody will put this directory below a checkout.
        (scratch / ".gitignore").write_text("*.key\n")
    from cryptography.hazmat.primitives.hashes import SHA256

    return KeySet(
        directory=str(absolute(directory)),
        owner=owner,
        not_after=pairs["db"][1].not_valid_after_utc,
        fingerprints={name: pair[1].fingerprint(SHA256()).hex() for name, pair in pairs.items()},
    )


def _pair(name: str, start: datetime, bits: int) -> tuple[RSAPrivateKey, Certificate]:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.hashes import SHA256

    key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # Firmware does not look at the clock, which is often wrong.
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=365 * YEARS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    return key, certificate


def _write_pair(directory: Path, name: str, key: RSAPrivateKey, certificate: Certificate) -> None:
    from cryptography.hazmat.primitives import serialization

    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    atomicfile.write(directory / f"{name}.key", private, mode=0o600)
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    (directory / f"{name}.crt").write_bytes(pem)


def signature_list(certificate: Certificate, owner: uuids.UUID) -> bytes:
    """Return an EFI_SIGNATURE_LIST with one certificate (UEFI 32.4.1)."""
    from cryptography.hazmat.primitives.serialization import Encoding

    der = certificate.public_bytes(Encoding.DER)
    size = 16 + len(der)
    header = _CERT_X509.bytes_le + struct.pack("<III", 28 + size, 0, size)
    return header + owner.bytes_le + der


def signed_update(
    name: str,
    namespace: uuids.UUID,
    value: bytes,
    *,
    signer: tuple[RSAPrivateKey, Certificate],
    at: datetime,
) -> bytes:
    """Return `value` with the EFI_VARIABLE_AUTHENTICATION_2 that firmware wants before it.

    UEFI 8.2.2: what is signed is the variable's name, namespace and
    attributes, the time, and the value.
    """
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

    time = struct.pack(
        "<HBBBBBBIhBB", at.year, at.month, at.day, at.hour, at.minute, at.second, 0, 0, 0, 0, 0
    )
    signed = name.encode("utf-16-le") + namespace.bytes_le + struct.pack("<I", _ATTRIBUTES)
    options = [
        pkcs7.PKCS7Options.DetachedSignature,
        pkcs7.PKCS7Options.Binary,
        pkcs7.PKCS7Options.NoAttributes,
    ]
    content_info = (
        pkcs7.PKCS7SignatureBuilder()
        .set_data(signed + time + value)
        .add_signer(signer[1], signer[0], SHA256())
        .sign(Encoding.DER, options)
    )
    signature = _CERT_TYPE_PKCS7.bytes_le + _signed_data(content_info)
    certificate = struct.pack(
        "<IHH", 8 + len(signature), _WIN_CERT_REVISION, _WIN_CERT_TYPE_EFI_GUID
    )
    return time + certificate + signature + value


def _signed_data(content_info: bytes) -> bytes:
    """Return the SignedData inside a ContentInfo: UEFI wants it without its wrapper.

    ContentInfo is SEQUENCE { contentType OID, content [0] EXPLICIT SignedData }.
    """
    inside = _der_value(content_info)
    _, after_oid = _der_length(inside)
    return _der_value(inside[after_oid:])


def _der_value(element: bytes) -> bytes:
    start, end = _der_length(element)
    return element[start:end]


def _der_length(element: bytes) -> tuple[int, int]:
    """Return where the value of the first element begins and ends."""
    length, start = element[1], 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(element[2:start], "big")
    return start, start + length
