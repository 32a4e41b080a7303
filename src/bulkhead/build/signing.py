"""Secure Boot signatures, the same bytes for the same input.

sbsign and systemd-sbsign write the current time into the signature and have
no option for it; osslsigncode has. RSA with PKCS #1 v1.5, which Authenticode
demands, has no randomness of its own.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bulkhead.build.keys import Keys

if TYPE_CHECKING:
    from bulkhead.build.tools import Tools


def sign(path_in: Path, path_out: Path, *, keys: Keys, tools: Tools, epoch: int) -> None:
    """Write the EFI program `path_in` with the signature of the `db` key to `path_out`.

    Args:
        path_in: an EFI program; a signature that it already has is replaced.
        path_out: the result, may be `path_in`; it appears whole or not at all.
        keys: whose `db` key signs.
        tools: a tool tree with osslsigncode.
        epoch: the signing time that is written into it.

    Raises:
        HostError: osslsigncode failed, for example because `path_in` is no EFI program.
    """
    with tempfile.TemporaryDirectory(dir=path_out.parent, prefix=f".{path_out.name}.") as name:
        signed = Path(name) / "signed.efi"
        argv = [
            "osslsigncode", "sign", "-h", "sha256", "-time", str(epoch),
            "-certs", str(keys.db_certificate), "-key", str(keys.db_key),
            "-in", str(path_in), "-out", str(signed),
        ]  # fmt: skip
        tools.run(argv, reads=[path_in, keys.db_certificate, keys.db_key], writes=[signed.parent])
        os.chmod(signed, 0o644)
        os.replace(signed, path_out)
