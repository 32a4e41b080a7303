"""Our reading of Debian's rules against Debian's own tools, from the tool tree."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkhead.build.debian import locking, version
from bulkhead.build.tools import Tools, tools
from bulkhead.lib import mirrors
from bulkhead.lib.dirs import cache_dir, repository_root
from bulkhead.lib.progress import SILENT

versions = st.from_regex(r"\A(?:[0-9]:)?[0-9][0-9a-cZ.+~]{0,6}(?:-[0-9a-cZ.+~]{1,4})?\Z")


@pytest.fixture(scope="module")
def debian_tools() -> Tools:
    """Return a tree with apt and dpkg."""
    return tools("bench", cache=cache_dir(), progress=SILENT)


@settings(max_examples=12, deadline=None)
@given(pairs=st.lists(st.tuples(versions, versions), min_size=20, max_size=20))
def test_versions_compare_as_dpkg_compares_them(
    debian_tools: Tools, pairs: list[tuple[str, str]]
) -> None:
    """For any two versions dpkg gives the same answer."""
    questions = [(left, operator, right) for left, right in pairs for operator in ("lt", "eq")]
    script = "; ".join(
        f"dpkg --compare-versions '{left}' {operator} '{right}' && echo yes || echo no"
        for left, operator, right in questions
    )
    answers = debian_tools.run(["bash", "-c", script]).stdout.decode().split()

    signs = {"lt": "<<", "eq": "="}
    ours = [version.satisfies(left, signs[operator], right) for left, operator, right in questions]
    assert dict(zip(questions, ours, strict=True)) == {
        question: answer == "yes" for question, answer in zip(questions, answers, strict=True)
    }


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
    "build-essential",
    "default-jdk",
]


class Apt:
    """apt-get of the tool tree, on a machine where nothing is installed."""

    def __init__(self, programs: Tools, root: Path) -> None:
        self._programs = programs
        self._root = root
        for folder in ("etc/preferences.d", "state/lists/partial", "cache/archives/partial"):
            (root / folder).mkdir(parents=True)
        (root / "status").touch()
        keys = sorted((repository_root() / "image" / "keys").glob("*.gpg"))
        (root / "keys.gpg").write_bytes(b"".join(path.read_bytes() for path in keys))
        main, security = (mirrors.candidates(role)[0] for role in ("debian", "debian-security"))
        suites = [(main, "trixie"), (main, "trixie-updates"), (security, "trixie-security")]
        (root / "etc" / "sources.list").write_text(
            "".join(
                f"deb [signed-by={root}/keys.gpg] {url} {suite} main\n" for url, suite in suites
            )
        )
        options = {
            "Dir::Etc": f"{root}/etc/", "Dir::State": f"{root}/state/",
            "Dir::State::status": f"{root}/status", "Dir::Cache": f"{root}/cache/",
            "APT::Architecture": "amd64", "APT::Architectures": "amd64",
            "APT::Install-Recommends": "false", "APT::Sandbox::User": "",
            "Acquire::Languages": "none", "Debug::NoLocking": "true",
            # Essential packages are what dpkg needs, and we have none.
            "pkgCacheGen::ForceEssential": "none",
        }  # fmt: skip
        text = "".join(f'{name} "{value}";\n' for name, value in options.items())
        (root / "apt.conf").write_text(text)
        self.run("update", network=True)

    def run(self, *arguments: str, network: bool = False) -> str:
        """Run apt-get and return its output."""
        proxies = {name: value for name, value in os.environ.items() if name.endswith("_proxy")}
        done = self._programs.run(
            ["apt-get", *arguments], writes=[self._root], network=network,
            env={"APT_CONFIG": f"{self._root}/apt.conf", **proxies},
        )  # fmt: skip
        return done.stdout.decode()

    def choice(self, packages: str) -> dict[str, str]:
        """Return the versions that apt would install."""
        simulated = self.run("-s", "install", *packages.split())
        return dict(re.findall(r"^Inst (\S+) \((\S+) ", simulated, re.MULTILINE))


@pytest.fixture(scope="module")
def apt(debian_tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Apt:
    """Return an apt that has read the indexes of Debian 13."""
    return Apt(debian_tools, tmp_path_factory.mktemp("apt"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an empty cache."""
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("request_", REQUESTS)
def test_resolver_agrees_with_apt(request_: str, apt: Apt, cache: Path) -> None:
    """The same versions of the same packages as apt, but for groups that hold anyway.

    apt takes the first alternative of a group before it sees that another
    one comes along; we do not. So ours may lack what apt has, never the
    other way round, and everything in it must hold without the rest.
    """
    theirs = apt.choice(request_)

    request = locking.Request(architecture="amd64", packages=tuple(request_.split()))
    lock = locking.resolve(request, cache=cache, progress=SILENT)

    ours = {package.name: package.version for package in lock.packages}
    assert ours.items() <= theirs.items()
    assert len(theirs) - len(ours) <= len(theirs) * 0.03
