"""An OCI image as one file: a tar of blobs named by their digests (OCI image layout).

The same tree gives the same bytes: one time for everything, sorted names, and
a layer compressed by the tool tree's zstd, not by whatever this machine has.
"""

from __future__ import annotations

import hashlib
import tarfile
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import msgspec

from bulkhead.build import tar
from bulkhead.build.tools import Tools
from bulkhead.build.tree import Tree
from bulkhead.model import reference

LAYER = "application/vnd.oci.image.layer.v1.tar+zstd"
CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"

LEVEL = "-19"

Json = dict[str, object]


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """How the image is run; also the table `[config]` of an `image.toml`."""

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: dict[str, str] = {}
    user: str = ""
    workdir: str = "/"
    ports: tuple[str, ...] = ()
    stop_signal: str = ""
    labels: dict[str, str] = {}


def write(
    tree: Tree, out: Path, *, name: str, config: Config, architecture: str, epoch: int, tools: Tools
) -> str:
    """Write an image with one layer to `out`; return the digest of its manifest.

    Args:
        tree: the image's root.
        out: the archive to make, in a directory that exists.
        name: full name that an import gives it.
        config: how it is run.
        architecture: in OCI's words.
        epoch: time of everything, in seconds since 1970.
        tools: a tool tree with zstd.

    Raises:
        HostError: no space left.
    """
    raw = out.with_name(f"{out.name}.layer")
    packed = raw.with_name(f"{raw.name}.zst")
    with raw.open("wb") as stream:
        tar.write(tree, stream, epoch=epoch)
    tools.run(
        ["zstd", "--quiet", "--force", LEVEL, "--single-thread", str(raw), "-o", str(packed)],
        writes=[raw.parent],
    )
    created = datetime.fromtimestamp(epoch, tz=UTC).isoformat().replace("+00:00", "Z")
    document = _config(config, _digest(raw), architecture=architecture, created=created)
    layer = {"mediaType": LAYER, "digest": _digest(packed), "size": packed.stat().st_size}
    manifest = _encode(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _descriptor(CONFIG, document),
            "layers": [layer],
        }
    )
    top = _descriptor(MANIFEST, manifest) | {
        "annotations": {
            "io.containerd.image.name": name,
            "org.opencontainers.image.ref.name": reference.tag(name),
        },
        "platform": {"architecture": architecture, "os": "linux"},
    }
    index = _encode({"schemaVersion": 2, "mediaType": INDEX, "manifests": [top]})
    with tarfile.open(out, "w", format=tarfile.GNU_FORMAT) as archive:
        _add(archive, "oci-layout", _encode({"imageLayoutVersion": "1.0.0"}), epoch)
        _add(archive, "index.json", index, epoch)
        for blob in (document, manifest):
            _add(archive, f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}", blob, epoch)
        _add(archive, f"blobs/sha256/{str(layer['digest'])[7:]}", packed.read_bytes(), epoch)
    raw.unlink()
    packed.unlink()
    return str(top["digest"])


def _config(config: Config, diff_id: str, *, architecture: str, created: str) -> bytes:
    run: Json = {
        "User": config.user,
        "ExposedPorts": {port: {} for port in config.ports},
        "Env": [f"{name}={value}" for name, value in config.env.items()],
        "Entrypoint": list(config.entrypoint),
        "Cmd": list(config.command),
        "WorkingDir": config.workdir,
        "Labels": config.labels,
        "StopSignal": config.stop_signal,
    }
    return _encode(
        {
            "created": created,
            "architecture": architecture,
            "os": "linux",
            "config": {key: value for key, value in run.items() if value},
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
            "history": [{"created": created, "created_by": "bulkhead"}],
        }
    )


def _descriptor(media_type: str, data: bytes) -> Json:
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    return {"mediaType": media_type, "digest": digest, "size": len(data)}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _encode(document: Json) -> bytes:
    return msgspec.json.encode(document)


def _add(archive: tarfile.TarFile, name: str, data: bytes, epoch: int) -> None:
    header = tarfile.TarInfo(name)
    header.size, header.mtime, header.mode = len(data), epoch, 0o644
    archive.addfile(header, BytesIO(data))
