"""Software bills of materials: SPDX 2.3 and CycloneDX 1.6, both as JSON.

Made from the lock, which names every package by hash, so nothing is guessed
from the image. The same image gives the same bytes: identifiers derive from
the root hash and times from the image's epoch.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from bulkhead.model.lock import Lock, LockedFile, LockedPackage
from bulkhead.model.manifest import Manifest

# Name-based UUIDs (RFC 9562, version 5) need a namespace; this one is ours.
NAMESPACE = uuid.UUID("6d4a5a7c-3f0e-5d7b-9f0a-3b9d0b6f2c11")
_NO_ASSERTION = "NOASSERTION"


def spdx(
    lock: Lock, manifest: Manifest, *, licences: Mapping[str, str | None] | None = None
) -> bytes:
    """Return the SPDX 2.3 document of an image.

    Args:
        lock: what went into it.
        manifest: of the image; its `outputs` may be empty yet.
        licences: SPDX expression by package name, where it is known.
    """
    known = licences or {}
    image_id = "SPDXRef-image"
    image = {
        "SPDXID": image_id,
        "name": f"bulkhead-{manifest.variant}",
        "versionInfo": manifest.version,
        "supplier": _NO_ASSERTION,
        "downloadLocation": _NO_ASSERTION,
        "filesAnalyzed": False,
        "primaryPackagePurpose": "OPERATING-SYSTEM",
        "licenseConcluded": _NO_ASSERTION,
        "licenseDeclared": _NO_ASSERTION,
        "copyrightText": _NO_ASSERTION,
        "comment": f"dm-verity root hash {manifest.root_hash}",
    }
    packages: list[dict[str, object]] = [image]
    relations = [_relation("SPDXRef-DOCUMENT", "DESCRIBES", image_id)]
    sources: dict[str, dict[str, object]] = {}
    for package in lock.packages:
        entry = _spdx_package(package, known.get(package.name))
        source = _spdx_source(package)
        sources[str(source["SPDXID"])] = source
        packages.append(entry)
        relations.append(_relation(image_id, "CONTAINS", str(entry["SPDXID"])))
        relations.append(_relation(str(entry["SPDXID"]), "GENERATED_FROM", str(source["SPDXID"])))
    for file in lock.files:
        entry = _spdx_file(file)
        packages.append(entry)
        relations.append(_relation(image_id, "CONTAINS", str(entry["SPDXID"])))
    packages += [sources[name] for name in sorted(sources)]
    document: dict[str, object] = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"bulkhead-{manifest.variant}-{manifest.version}-{manifest.architecture}",
        "documentNamespace": f"urn:uuid:{_identity(manifest, 'spdx')}",
        "creationInfo": {
            "created": _time(manifest),
            "creators": [f"Tool: bulkhead-{manifest.builder.version}"],
        },
        "packages": packages,
        "relationships": relations,
    }
    if references := _licence_references(known, lock):
        document["hasExtractedLicensingInfos"] = references
    return _json(document)


def _spdx_package(package: LockedPackage, licence: str | None) -> dict[str, object]:
    return {
        "SPDXID": _spdx_id("package", package.name),
        "name": package.name,
        "versionInfo": package.version,
        "supplier": _supplier(package),
        "downloadLocation": _NO_ASSERTION,
        "packageFileName": package.path.rpartition("/")[2],
        "filesAnalyzed": False,
        "checksums": [{"algorithm": "SHA256", "checksumValue": package.sha256}],
        "sourceInfo": f"built from source package {package.source}; archive path {package.path}",
        "licenseConcluded": _NO_ASSERTION,
        "licenseDeclared": licence or _NO_ASSERTION,
        "copyrightText": _NO_ASSERTION,
        "externalRefs": [_purl_reference(purl(package))],
    }


def _spdx_source(package: LockedPackage) -> dict[str, object]:
    name, version = source_of(package)
    return {
        "SPDXID": _spdx_id("source", f"{name}-{version}"),
        "name": name,
        "versionInfo": version,
        "supplier": _supplier(package),
        "downloadLocation": _NO_ASSERTION,
        "filesAnalyzed": False,
        "primaryPackagePurpose": "SOURCE",
        "licenseConcluded": _NO_ASSERTION,
        "licenseDeclared": _NO_ASSERTION,
        "copyrightText": _NO_ASSERTION,
        "externalRefs": [
            _purl_reference(f"pkg:deb/debian/{_quoted(name)}@{_quoted(version)}?arch=source")
        ],
    }


def _spdx_file(file: LockedFile) -> dict[str, object]:
    return {
        "SPDXID": _spdx_id("file", file.name),
        "name": file.name,
        "supplier": _NO_ASSERTION,
        "downloadLocation": file.url,
        "filesAnalyzed": False,
        "checksums": [{"algorithm": "SHA256", "checksumValue": file.sha256}],
        "licenseConcluded": _NO_ASSERTION,
        "licenseDeclared": _NO_ASSERTION,
        "copyrightText": _NO_ASSERTION,
    }


def _spdx_id(kind: str, name: str) -> str:
    # SPDX 2.3, 3.2: letters, numbers, "." and "-" only; two names must not become one.
    safe = re.sub(r"[^A-Za-z0-9.-]", lambda match: f"-x{ord(match[0]):02x}-", name)
    return f"SPDXRef-{kind}-{safe}"


def _relation(subject: str, kind: str, other: str) -> dict[str, str]:
    return {
        "spdxElementId": subject,
        "relationshipType": kind,
        "relatedSpdxElement": other,
    }


def _purl_reference(locator: str) -> dict[str, str]:
    return {
        "referenceCategory": "PACKAGE-MANAGER",
        "referenceType": "purl",
        "referenceLocator": locator,
    }


def _licence_references(licences: Mapping[str, str | None], lock: Lock) -> list[dict[str, str]]:
    """Return the declarations that SPDX wants for every `LicenseRef-` that is used."""
    users: dict[str, list[str]] = {}
    for package in lock.packages:
        for name in re.findall(r"LicenseRef-[A-Za-z0-9.-]+", licences.get(package.name) or ""):
            users.setdefault(name, []).append(package.name)
    return [
        {
            "licenseId": name,
            "extractedText": "See the copyright files of the packages: "
            + ", ".join(dict.fromkeys(users[name])),
        }
        for name in sorted(users)
    ]


def cyclonedx(
    lock: Lock, manifest: Manifest, *, licences: Mapping[str, str | None] | None = None
) -> bytes:
    """Return the CycloneDX 1.6 document of an image; the arguments are those of `spdx`."""
    known = licences or {}
    image = {
        "type": "operating-system",
        "bom-ref": f"bulkhead-{manifest.variant}@{manifest.version}",
        "name": f"bulkhead-{manifest.variant}",
        "version": manifest.version,
        "properties": [
            {"name": "bulkhead:architecture", "value": manifest.architecture},
            {"name": "bulkhead:root-hash", "value": manifest.root_hash},
        ],
    }
    components = [_component(package, known.get(package.name), lock) for package in lock.packages]
    components += [_file_component(file) for file in lock.files]
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{_identity(manifest, 'cyclonedx')}",
        "version": 1,
        "metadata": {
            "timestamp": _time(manifest),
            "tools": {
                "components": [
                    {"type": "application", "name": "bulkhead", "version": manifest.builder.version}
                ]
            },
            "component": image,
        },
        "components": components,
        "dependencies": [
            {"ref": image["bom-ref"], "dependsOn": [item["bom-ref"] for item in components]}
        ],
    }
    return _json(document)


def _component(package: LockedPackage, licence: str | None, lock: Lock) -> dict[str, object]:
    source, version = source_of(package)
    properties = [
        {"name": "bulkhead:archive-path", "value": package.path},
        {"name": "bulkhead:repository", "value": package.repository},
        {"name": "bulkhead:source", "value": f"{source}@{version}"},
    ]
    properties += [
        {"name": "bulkhead:tree", "value": name}
        for name, members in sorted(lock.sets.items())
        if package.name in members
    ]
    entry: dict[str, object] = {
        "type": "library",
        "bom-ref": purl(package),
        "name": package.name,
        "version": package.version,
        "purl": purl(package),
        "hashes": [{"alg": "SHA-256", "content": package.sha256}],
        "properties": properties,
    }
    if licence:
        entry["licenses"] = [{"expression": licence, "acknowledgement": "declared"}]
    return entry


def _file_component(file: LockedFile) -> dict[str, object]:
    return {
        "type": "file",
        "bom-ref": f"file:{file.name}",
        "name": file.name,
        "hashes": [{"alg": "SHA-256", "content": file.sha256}],
        "externalReferences": [{"type": "distribution", "url": file.url}],
    }


def purl(package: LockedPackage) -> str:
    """Return the package URL of a Debian package, with its source where the names differ."""
    source, version = source_of(package)
    qualifiers = f"arch={package.architecture}"
    if (source, version) != (package.name, package.version):
        qualifiers += f"&upstream={_quoted(source)}%40{_quoted(version)}"
    return f"pkg:deb/debian/{_quoted(package.name)}@{_quoted(package.version)}?{qualifiers}"


def source_of(package: LockedPackage) -> tuple[str, str]:
    """Return name and version of the source package."""
    name, _, version = package.source.partition(" (")
    return name, version.removesuffix(")") or package.version


def _quoted(text: str) -> str:
    from urllib.parse import quote

    # As the purl specification has it: `:` stays, `+` and `~` differ.
    return quote(text, safe=":~")


def _supplier(package: LockedPackage) -> str:
    own = package.repository.startswith("debian")
    return "Organization: Debian" if own else _NO_ASSERTION


def _identity(manifest: Manifest, kind: str) -> uuid.UUID:
    name = f"{kind} {manifest.variant} {manifest.version} {manifest.root_hash}"
    return uuid.uuid5(NAMESPACE, name)


def _time(manifest: Manifest) -> str:
    return datetime.fromtimestamp(manifest.epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _json(document: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"
