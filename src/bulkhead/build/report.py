"""What takes the space in a root: by package, by kind of file, by path.

Sizes are those of the files and, because erofs compresses, an estimate of
what each file takes in the image: its bytes compressed in clusters as erofs
does it, with a quick compressor, scaled so that all together make the real
image. Written as JSON for programs and as one HTML page for people.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
import zstandard

from bulkhead.build import report_page
from bulkhead.build.tree import Entry, Kind, Tree
from bulkhead.lib.atomicfile import write
from bulkhead.model.report import FileSize, PackageSize, Report

CLUSTER = 64 * 1024
BLOCK = 4096


def make(
    tree: Tree,
    *,
    packages: Mapping[str, str],
    compressed: int | None,
    title: str,
    out_html: Path,
    out_json: Path,
) -> Report:
    """Measure a root and write the report about it.

    Args:
        tree: the root.
        packages: their versions by name; `origin` in the tree's entries names them.
        compressed: size of the root image in bytes; the estimates add up to it. Without it
            they are left as they are.
        title: of the page, such as `standalone 0.1.0`.
        out_html: where the page goes.
        out_json: where the JSON goes.
    """
    report = measure(tree, packages=packages, compressed=compressed, title=title)
    write(out_json, msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    write(out_html, report_page.page(report))
    return report


def measure(
    tree: Tree, *, packages: Mapping[str, str], compressed: int | None, title: str
) -> Report:
    """Return the sizes of everything in a root; the arguments are those of `make`."""
    seen: dict[tuple[int, int], str] = {}
    raw = []
    for path, entry in tree.items():
        if entry.kind is Kind.FILE and not _is_second_name(path, entry, seen):
            raw.append(_file(path, entry))
    files = _scaled(raw, compressed)
    return Report(
        title=title,
        image_bytes=compressed if compressed is not None else sum(f.image_bytes for f in files),
        bytes=sum(file.bytes for file in files),
        entries=len(tree),
        packages=_packages(files, packages),
        files=tuple(sorted(files, key=lambda file: (-file.image_bytes, file.path))),
    )


def _is_second_name(path: str, entry: Entry, seen: dict[tuple[int, int], str]) -> bool:
    """Tell whether the bytes are in the image already under another name (a hard link)."""
    if entry.source is None:
        return False
    found = entry.source.stat()
    identity = (found.st_dev, found.st_ino)
    return found.st_size > 0 and seen.setdefault(identity, path) != path


def _file(path: str, entry: Entry) -> FileSize:
    data = entry.read()
    return FileSize(
        path=path,
        package=entry.origin,
        kind=kind_of(path, entry.mode, data),
        bytes=len(data),
        image_bytes=compressed_size(data),
    )


def compressed_size(data: bytes) -> int:
    """Return about what erofs needs for a file: clusters compressed one by one, in whole blocks."""
    compressor = zstandard.ZstdCompressor(level=1)
    total = 0
    for start in range(0, len(data), CLUSTER):
        cluster = data[start : start + CLUSTER]
        blocks = -(-len(compressor.compress(cluster)) // BLOCK)
        # A cluster that does not shrink is stored as it is.
        total += min(blocks * BLOCK, len(cluster))
    return total


def kind_of(path: str, mode: int, data: bytes) -> str:
    """Return which kind of file it is: one of `report_page.KINDS`."""
    name = path.rpartition("/")[2]
    if "/modules/" in path and ".ko" in name:
        return "module"
    if name.endswith((".py", ".pyc")):
        return "python"
    if data.startswith(b"\x7fELF"):
        return "library" if ".so" in name else "program"
    if path.startswith(("etc/", "usr/lib/systemd/")) or name.endswith(".conf"):
        return "configuration"
    return "program" if mode & 0o111 else "data"


def _scaled(files: Iterable[FileSize], wanted: int | None) -> list[FileSize]:
    files = list(files)
    total = sum(file.image_bytes for file in files)
    if wanted is None or total == 0:
        return files
    return [
        msgspec.structs.replace(file, image_bytes=file.image_bytes * wanted // total)
        for file in files
    ]


def _packages(files: Iterable[FileSize], versions: Mapping[str, str]) -> tuple[PackageSize, ...]:
    groups: dict[str, list[FileSize]] = {}
    for file in files:
        groups.setdefault(file.package, []).append(file)
    packages = [
        PackageSize(
            name=name,
            version=versions.get(name, ""),
            files=len(members),
            bytes=sum(file.bytes for file in members),
            image_bytes=sum(file.image_bytes for file in members),
        )
        for name, members in groups.items()
    ]
    return tuple(sorted(packages, key=lambda package: (-package.image_bytes, package.name)))
