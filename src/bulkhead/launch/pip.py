"""Finds a pip: on this machine if there is one in any form, else in Debian's archive.

In this order: the interpreter's own pip; the wheel that `ensurepip` carries;
the wheel that Debian's packages put below `/usr/share/python-wheels`, if it is
not too old for this Python; the package `python3-pip-whl`, pinned by path and
SHA-256 in `requirements/pip.toml` and fetched from Debian's archive. A wheel is
run as it is, never installed.
Where packages come from is pip's own business: its index and configuration
are the machine's.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from zipfile import ZipFile

from bulkhead.launch import debian

OLDEST = (22, 3)
"""The first pip with `--python`."""
NEW_PYTHON, NEW_PIP = (3, 12), (23, 2)
"""From this Python on, pips before this one fail (pkgutil.ImpImporter is gone)."""
WHEELS = Path("/usr/share/python-wheels")
PINS = Path(__file__).resolve().parents[3] / "requirements" / "pip.toml"
CERTIFI = "pip/_vendor/certifi"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
UNWANTED = ("PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PYTHONPATH", "PYTHONHOME")
"""Variables that would send packages elsewhere, or bring foreign modules in."""


@contextmanager
def command(python: Path) -> Iterator[tuple[Sequence[str], dict[str, str]]]:
    """Yield (argv, environment) of a pip that installs into `python`'s environment.

    Raises:
        RemoteError: there is none here and Debian's could not be fetched.
        Untrusted: what was fetched is not what is pinned.
    """
    # PIP_USER=0, not unset: a configuration file may say `user = true`.
    variables = {name: value for name, value in os.environ.items() if name not in UNWANTED}
    variables["PIP_USER"] = "0"
    if _has_pip():
        yield (sys.executable, "-I", "-m", "pip", "--python", str(python)), variables
        return
    if wheel := _bundled() or _packaged():
        with tempfile.TemporaryDirectory(prefix="bulkhead-pip-") as folder:
            yield _from_wheel(python, wheel, variables, Path(folder))
        return
    with tempfile.TemporaryDirectory(prefix="bulkhead-pip-") as folder:
        files = debian.fetch(PINS, "pip", "usr/share/python-wheels/pip-", Path(folder))
        yield _from_wheel(python, files[0], variables, Path(folder))


def _has_pip() -> bool:
    if importlib.util.find_spec("pip") is None:
        return False
    try:
        version = importlib.metadata.version("pip")
    except importlib.metadata.PackageNotFoundError:
        return False
    return _numbers(version) >= (NEW_PIP if sys.version_info >= NEW_PYTHON else OLDEST)


def _bundled() -> Path | None:
    spec = importlib.util.find_spec("ensurepip")
    if spec is None or spec.origin is None:
        return None
    return _newest(Path(spec.origin).parent / "_bundled")


def _packaged() -> Path | None:
    """Return Debian's wheel, unless it is for the system's own Python and this one is newer."""
    wheel = _newest(WHEELS)
    if wheel is not None and sys.version_info >= NEW_PYTHON and _version(wheel) < NEW_PIP:
        return None
    return wheel


def _newest(folder: Path) -> Path | None:
    return max(folder.glob("pip-*-py3-none-any.whl"), key=_version, default=None)


def _version(wheel: Path) -> tuple[int, ...]:
    return _numbers(wheel.name.split("-")[1])


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _from_wheel(
    python: Path, wheel: Path, variables: dict[str, str], scratch: Path
) -> tuple[Sequence[str], dict[str, str]]:
    with ZipFile(wheel) as archive:
        patched = b"DEBIAN_CA_CERTS_PATH" in archive.read(f"{CERTIFI}/core.py")
        if CERTIFICATES.exists() or not patched:
            return (str(python), "-I", str(wheel / "pip")), variables
        bundle = scratch / "cacert.pem"
        bundle.write_bytes(archive.read(f"{CERTIFI}/cacert.pem"))
    # Debian's build of pip trusts the machine's certificates and fails where
    # there are none; the list that pip's authors put in is still in it.
    program = (
        "import sys; wheel, bundle = sys.argv[1:3]; sys.path.insert(0, wheel); "
        "import pip._vendor.certifi as certifi; certifi.where = lambda: bundle; "
        "from pip._internal.cli.main import main; sys.exit(main(sys.argv[3:]))"
    )
    return (str(python), "-I", "-c", program, str(wheel), str(bundle)), variables
