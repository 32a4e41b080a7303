"""Our reading of Debian's rules against Debian's own tools."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkhead.build.debian import locking, version
from bulkhead.lib import mirrors
from bulkhead.lib.dirs import repository_root
from bulkhead.lib.progress import SILENT
from bulkhead.lib.run import run

versions = st.from_regex(r"\A(?:[0-9]:)?[0-9][0-9a-cZ.+~]{0,6}(?:-[0-9a-cZ.+~]{1,4})?\Z")


@settings(max_examples=150, deadline=None)
@given(left=versions, right=versions)
def test_versions_compare_as_dpkg_compares_them(left: str, right: str) -> None:
    """For any two versions dpkg gives the same answer."""
    for operator in ("<<", "="):
        ours = version.satisfies(left, operator, right)
        dpkg = run(
            ["dpkg", "--compare-versions", left, operator.replace("<<", "lt"), right], check=False
        )

        assert ours == (dpkg.returncode == 0), (left, operator, right)


# What the project's images and tools are made of, and some knots to untie.
REQUESTS = [
    "systemd",
    "containerd",
    "linux-image-cloud-amd64",
    "systemd containerd crun containernetworking-plugins nftables dbus-broker systemd-timesyncd",
    "qemu-system-x86 ovmf qemu-utils",
    "erofs-utils cryptsetup-bin systemd-ukify systemd-repart mtools osslsigncode dosfstools zstd",
    "python3-starlette python3-uvicorn python3-msgspec python3-wsproto python3-grpclib",
    "clang gcc musl-dev gnu-efi",
    "mmdebstrap mkosi",
    "nginx",
    "gnome-core",
    "kde-plasma-desktop",
    "default-jdk",
]


@pytest.fixture(scope="module")
def apt(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return an environment in which apt-get sees Debian 13 and an empty machine."""
    root = tmp_path_factory.mktemp("apt")
    for folder in ("etc/preferences.d", "state/lists/partial", "cache/archives/partial"):
        (root / folder).mkdir(parents=True)
    (root / "status").touch()
    keys = repository_root() / "image" / "keys"
    (root / "keys.gpg").write_bytes(b"".join(p.read_bytes() for p in sorted(keys.glob("*.gpg"))))
    debian, security = (mirrors.candidates(role)[0] for role in ("debian", "debian-security"))
    (root / "etc" / "sources.list").write_text(
        f"deb [signed-by={root}/keys.gpg] {debian} trixie main\n"
        f"deb [signed-by={root}/keys.gpg] {debian} trixie-updates main\n"
        f"deb [signed-by={root}/keys.gpg] {security} trixie-security main\n"
    )
    options = {
        "Dir::Etc": f"{root}/etc/", "Dir::State": f"{root}/state/", "Dir::Cache": f"{root}/cache/",
        "Dir::State::status": f"{root}/status", "APT::Architecture": "amd64",
        "APT::Architectures": "amd64", "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "", "Acquire::Languages": "none", "Debug::NoLocking": "true",
        # Essential packages are what dpkg needs, and we have none.
        "pkgCacheGen::ForceEssential": "none",
    }  # fmt: skip
    (root / "apt.conf").write_text("".join(f'{k} "{v}";\n' for k, v in options.items()))
    environment = {**os.environ, "APT_CONFIG": f"{root}/apt.conf", "LC_ALL": "C"}
    run(["apt-get", "update"], env=environment)
    return environment


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an empty cache."""
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("request_", REQUESTS)
def test_resolver_agrees_with_apt(request_: str, apt: dict[str, str], cache: Path) -> None:
    """The same versions of the same packages as apt, but for groups that hold anyway.

    apt takes the first alternative of a group before it sees that another
    one comes along; we do not. So ours may lack what apt has, never the
    other way round, and everything in it must hold without the rest.
    """
    simulated = run(["apt-get", "-s", "install", *request_.split()], env=apt).stdout.decode()
    theirs = dict(re.findall(r"^Inst (\S+) \((\S+) ", simulated, re.MULTILINE))

    request = locking.Request(architecture="amd64", packages=tuple(request_.split()))
    lock = locking.resolve(request, cache=cache, progress=SILENT)

    ours = {package.name: package.version for package in lock.packages}
    assert ours.items() <= theirs.items()
    assert len(theirs) - len(ours) <= len(theirs) * 0.03
