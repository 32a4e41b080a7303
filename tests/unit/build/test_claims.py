"""What a manifest says, held against a variant, its lock and a rebuild: manifests that lie."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from bulkhead.build import claims, variants
from bulkhead.build.debian import lockfile
from bulkhead.build.pipeline import Plan
from bulkhead.model.arch import AMD64
from bulkhead.model.lock import Lock, LockedFile, LockedPackage
from bulkhead.model.manifest import Builder, Manifest

PINNED = """\
name = "own"
inherit = ["standalone"]
[[files]]
path = "usr/bin/kubelet"
url = "https://good.example/kubelet"
size = 3
sha256 = "{}"
""".format("a" * 64)
GOOD = LockedFile(
    name="usr/bin/kubelet", url="https://good.example/kubelet", size=3, sha256="a" * 64
)
ROOT = "0123456789abcdef" * 4


def package(name: str, version: str) -> LockedPackage:
    """Return a package of a lock."""
    return LockedPackage(
        name=name, version=version, architecture="amd64", repository="debian",
        path=f"pool/{name}", size=1, sha256="b" * 64, source=f"{name} ({version})",
    )  # fmt: skip


def lock(request: str, *files: LockedFile, sets: dict[str, tuple[str, ...]] | None = None) -> Lock:
    """Return a lock of two packages."""
    return Lock(
        architecture="amd64", request=request, suites=(), files=files,
        packages=(package("bash", "5"), package("crun", "1")), sets=sets or {"host": ("crun",)},
    )  # fmt: skip


@pytest.fixture
def planned(tmp_path: Path) -> Plan:
    """Return a plan for a variant that pins a file by its hash."""
    (tmp_path / "variant.toml").write_text(PINNED)
    resolved = variants.load(str(tmp_path))
    request = variants.request(resolved, AMD64).digest()
    return Plan(
        resolved=resolved, arch=AMD64, lock=lock(request, GOOD), version="0.1.0", epoch=0,
        formats=(), keys=None, inputs={}, out=tmp_path, cache=tmp_path,
        builder=Builder(version="0.1.0", fingerprint="f" * 64, tools={}),
    )  # fmt: skip


def manifest(planned: Plan, its: Lock) -> Manifest:
    """Return a manifest of the plan's variant with a lock of its own."""
    return Manifest(
        variant="own", version="0.1.0", architecture="amd64", epoch=0, root_hash=ROOT,
        verity_salt="", root_uuid="01234567-89ab-cdef-0123-456789abcdef", outputs=(), inputs={},
        verity_uuid="01234567-89ab-cdef-0123-456789abcdef", kernel_release="6.12.0",
        command_line="quiet", signed=False, builder=planned.builder, lock=its,
    )  # fmt: skip


def test_a_manifest_of_these_inputs_has_no_differences(planned: Plan) -> None:
    """Its lock was made for the variant."""
    assert claims.input_differences(manifest(planned, planned.lock), planned) == []


@pytest.mark.parametrize(
    "lie",
    [{"sha256": "e" * 64}, {"url": "http://evil.example/kubelet"}, {"size": 4}],
)
def test_a_lock_cannot_bring_another_file_than_the_variant_pins(
    planned: Plan, lie: dict[str, object]
) -> None:
    """Neither the file's hash nor where it comes from is the manifest's to choose."""
    evil = msgspec.structs.replace(GOOD, **lie)
    its = lock(planned.lock.request, evil)

    (told,) = claims.input_differences(manifest(planned, its), planned)

    assert "its lock was not made for this variant" in told


def test_a_lock_for_other_packages_is_told(planned: Plan) -> None:
    """It says itself that it was made for another request."""
    (told,) = claims.input_differences(manifest(planned, lock("d" * 64, GOOD)), planned)

    assert "its lock was not made for this variant" in told


def test_packages_that_the_manifest_chose_are_told(planned: Plan) -> None:
    """A rebuild takes them from its lock, so a person has to see them."""
    lockfile.write_lock(planned.resolved.lock_path, planned.lock)
    its = lock(planned.lock.request, GOOD, sets={"host": ("bash", "crun")})
    its = msgspec.structs.replace(its, packages=(package("bash", "4"), *its.packages[1:]))

    assert claims.lock_differences(manifest(planned, its), planned) == [
        "downgraded bash 5 → 4",
        "added bash to the set 'host'",
    ]


def test_no_field_counts_because_the_manifest_says_it(planned: Plan) -> None:
    """The command line is what a direct boot uses, and is in no output."""
    honest = manifest(planned, planned.lock)
    lying = msgspec.structs.replace(honest, command_line="init=/evil", root_hash="ab" * 32)

    assert claims.contradictions(honest, honest) == []
    assert claims.contradictions(lying, honest) == [
        f"root_hash is '{ROOT}', the manifest says '{'ab' * 32}'",
        "command_line is 'quiet', the manifest says 'init=/evil'",
    ]
