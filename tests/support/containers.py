"""Container images and archives for tests, made from Debian's packages."""

from __future__ import annotations

import hashlib
import json
import tarfile
from io import BytesIO
from pathlib import Path

import zstandard

from bulkhead.build import oci
from bulkhead.lib.dirs import cache_dir, repository_root
from bulkhead.lib.progress import SILENT
from bulkhead.model.arch import AMD64


def busybox() -> Path:
    """Return an OCI archive of `bulkhead/busybox`."""
    folder = repository_root() / "tests" / "data" / "containers" / "busybox"
    return oci.build(str(folder), arch=AMD64, cache=cache_dir(), progress=SILENT).path


def blobs(archive: Path) -> dict[str, bytes]:
    """Return the files of an archive by name."""
    with tarfile.open(archive) as tar:
        found = {}
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None
            found[member.name] = file.read()
        return found


def docker_archive(source: Path, target: Path, *, name: str) -> None:
    """Turn an OCI archive into what `docker save` writes, under another name."""
    files = blobs(source)
    (entry,) = json.loads(files["index.json"])["manifests"]
    manifest = json.loads(_blob(files, entry["digest"]))
    (layer,) = manifest["layers"]
    raw = zstandard.ZstdDecompressor().decompressobj().decompress(_blob(files, layer["digest"]))
    described = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    _write(
        target,
        {
            "config.json": _blob(files, manifest["config"]["digest"]),
            "layer.tar": raw,
            "manifest.json": json.dumps(described).encode(),
        },
    )


def docker_schema_2(source: Path, target: Path, *, name: str) -> None:
    """Turn an OCI archive into one with Docker's own media types (image manifest 2, schema 2)."""
    files = blobs(source)
    (entry,) = json.loads(files["index.json"])["manifests"]
    manifest = json.loads(_blob(files, entry["digest"]))
    (layer,) = manifest["layers"]
    raw = zstandard.ZstdDecompressor().decompressobj().decompress(_blob(files, layer["digest"]))
    config = _blob(files, manifest["config"]["digest"])
    prefix = "application/vnd.docker"
    made = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": f"{prefix}.distribution.manifest.v2+json",
            "config": _descriptor(f"{prefix}.container.image.v1+json", config),
            "layers": [_descriptor(f"{prefix}.image.rootfs.diff.tar", raw)],
        }
    ).encode()
    top = _descriptor(f"{prefix}.distribution.manifest.v2+json", made)
    top["annotations"] = {"io.containerd.image.name": name}
    index = {"schemaVersion": 2, "manifests": [top]}
    content = {
        "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
        "index.json": json.dumps(index).encode(),
    }
    for blob in (config, raw, made):
        content[f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}"] = blob
    _write(target, content)


def _descriptor(media_type: str, data: bytes) -> dict[str, object]:
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    return {"mediaType": media_type, "digest": digest, "size": len(data)}


def _blob(files: dict[str, bytes], digest: str) -> bytes:
    return files[f"blobs/{digest.replace(':', '/')}"]


def _write(target: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(target, "w") as tar:
        for name, data in files.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, BytesIO(data))
