"""Software bills of materials."""

from __future__ import annotations

import re

import msgspec

from bulkhead.build import sbom
from bulkhead.model.lock import Lock, LockedFile, LockedPackage, SuiteSnapshot
from bulkhead.model.manifest import Builder, Manifest

ROOT_HASH = "0123456789abcdef" * 4
LIBC = LockedPackage(
    name="libc6",
    version="2.41-12",
    architecture="amd64",
    repository="debian",
    path="pool/main/g/glibc/libc6_2.41-12_amd64.deb",
    size=1,
    sha256="a" * 64,
    source="glibc (2.41-12)",
)
STDCPP = LockedPackage(
    name="libstdc++6",
    version="1:14.2.0-19",
    architecture="amd64",
    repository="debian",
    path="pool/main/g/gcc-14/libstdc++6_14.2.0-19_amd64.deb",
    size=1,
    sha256="b" * 64,
    source="gcc-14 (14.2.0-19)",
)
KUBELET = LockedFile(name="kubelet", url="https://files.example/kubelet", size=1, sha256="c" * 64)
LOCK = Lock(
    architecture="amd64",
    request="d" * 64,
    suites=(
        SuiteSnapshot(
            repository="debian", suite="trixie", date="2026-11-21T09:15:44Z", sha256="e" * 64
        ),
    ),
    packages=(LIBC, STDCPP),
    files=(KUBELET,),
    sets={"agent": ("libc6",), "host": ("libc6", "libstdc++6")},
)
MANIFEST = Manifest(
    variant="standalone",
    version="0.1.0",
    architecture="amd64",
    epoch=1763700000,
    root_hash=ROOT_HASH,
    verity_salt="00",
    root_uuid="01234567-89ab-cdef-0123-456789abcdef",
    verity_uuid="01234567-89ab-cdef-0123-456789abcdef",
    signed=False,
    kernel_release="6.12.0",
    command_line="console=ttyS0",
    outputs=(),
    builder=Builder(version="0.1.0", fingerprint="f" * 64, tools={}),
    inputs={},
    lock=LOCK,
)
LICENCES = {"libc6": "LGPL-2.1-or-later", "libstdc++6": "GPL-3.0-only AND LicenseRef-odd"}


class _Relation(msgspec.Struct):
    spdxElementId: str  # noqa: N815  # as SPDX calls it
    relationshipType: str  # noqa: N815
    relatedSpdxElement: str  # noqa: N815


class _Package(msgspec.Struct):
    SPDXID: str
    name: str
    downloadLocation: str  # noqa: N815
    licenseDeclared: str  # noqa: N815
    externalRefs: list[dict[str, str]] = []  # noqa: N815


class _Document(msgspec.Struct):
    SPDXID: str
    spdxVersion: str  # noqa: N815
    dataLicense: str  # noqa: N815
    name: str
    documentNamespace: str  # noqa: N815
    creationInfo: dict[str, object]  # noqa: N815
    packages: list[_Package]
    relationships: list[_Relation]
    hasExtractedLicensingInfos: list[dict[str, str]]  # noqa: N815


def document() -> _Document:
    """Return the SPDX document of the example."""
    return msgspec.json.decode(sbom.spdx(LOCK, MANIFEST, licences=LICENCES), type=_Document)


def test_package_urls_name_the_source_where_it_differs() -> None:
    """Scanners look up advisories by source package and its version."""
    assert sbom.purl(LIBC) == "pkg:deb/debian/libc6@2.41-12?arch=amd64&upstream=glibc%402.41-12"
    assert sbom.purl(STDCPP) == (
        "pkg:deb/debian/libstdc%2B%2B6@1:14.2.0-19?arch=amd64&upstream=gcc-14%4014.2.0-19"
    )


def test_spdx_identifiers_are_well_formed_and_refer_to_what_is_there() -> None:
    """SPDX 2.3: identifiers of letters, digits, `.` and `-`, unique; relations have two ends."""
    spdx = document()
    ids = [package.SPDXID for package in spdx.packages]
    ends = {r.spdxElementId for r in spdx.relationships} | {
        r.relatedSpdxElement for r in spdx.relationships
    }

    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"SPDXRef-[A-Za-z0-9.-]+", name) for name in ids)
    assert ends == {*ids, "SPDXRef-DOCUMENT"}


def test_spdx_says_what_the_image_contains() -> None:
    """The image contains all packages and files, each package is made from its source."""
    relations = [msgspec.structs.astuple(relation) for relation in document().relationships]

    assert relations == [
        ("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-image"),
        ("SPDXRef-image", "CONTAINS", "SPDXRef-package-libc6"),
        ("SPDXRef-package-libc6", "GENERATED_FROM", "SPDXRef-source-glibc-2.41-12"),
        ("SPDXRef-image", "CONTAINS", "SPDXRef-package-libstdc-x2b--x2b-6"),
        ("SPDXRef-package-libstdc-x2b--x2b-6", "GENERATED_FROM", "SPDXRef-source-gcc-14-14.2.0-19"),
        ("SPDXRef-image", "CONTAINS", "SPDXRef-file-kubelet"),
    ]


def test_spdx_declares_every_licence_reference_it_uses() -> None:
    """A `LicenseRef-` without an entry makes a document invalid."""
    spdx = document()

    assert spdx.packages[2].licenseDeclared == "GPL-3.0-only AND LicenseRef-odd"
    assert spdx.hasExtractedLicensingInfos == [
        {
            "licenseId": "LicenseRef-odd",
            "extractedText": "See the copyright files of the packages: libstdc++6",
        }
    ]


def test_sboms_are_the_same_twice_and_carry_the_images_time() -> None:
    """Nothing in them is random or of today."""
    for make in (sbom.spdx, sbom.cyclonedx):
        first, second = make(LOCK, MANIFEST), make(LOCK, MANIFEST)

        assert first == second
        assert b"2025-11-21T04:40:00Z" in first


class _Component(msgspec.Struct):
    type: str
    name: str
    hashes: list[dict[str, str]]
    bom_ref: str = msgspec.field(name="bom-ref")
    licenses: list[dict[str, str]] = []
    properties: list[dict[str, str]] = []


class _Bom(msgspec.Struct):
    bomFormat: str  # noqa: N815  # as CycloneDX calls it
    specVersion: str  # noqa: N815
    serialNumber: str  # noqa: N815
    components: list[_Component]
    dependencies: list[dict[str, object]]


def test_cyclonedx_lists_what_the_image_depends_on() -> None:
    """Every component is in the image's dependencies, with hash, licence and the trees it is in."""
    bom = msgspec.json.decode(sbom.cyclonedx(LOCK, MANIFEST, licences=LICENCES), type=_Bom)

    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", bom.serialNumber)
    assert bom.dependencies == [
        {
            "ref": "bulkhead-standalone@0.1.0",
            "dependsOn": [component.bom_ref for component in bom.components],
        }
    ]
    assert [(c.name, c.hashes, c.licenses) for c in bom.components] == [
        (
            "libc6",
            [{"alg": "SHA-256", "content": "a" * 64}],
            [{"expression": "LGPL-2.1-or-later", "acknowledgement": "declared"}],
        ),
        (
            "libstdc++6",
            [{"alg": "SHA-256", "content": "b" * 64}],
            [{"expression": "GPL-3.0-only AND LicenseRef-odd", "acknowledgement": "declared"}],
        ),
        ("kubelet", [{"alg": "SHA-256", "content": "c" * 64}], []),
    ]
    assert [p["value"] for p in bom.components[0].properties] == [
        LIBC.path,
        "debian",
        "glibc@2.41-12",
        "agent",
        "host",
    ]
