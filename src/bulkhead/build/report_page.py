"""The size report as one HTML page: no script, nothing fetched, readable without colours.

Two treemaps (by package and by path; radio buttons switch between them),
then a table of all packages with their largest files inside.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape

from bulkhead.build.report_style import PAGE, STYLE
from bulkhead.build.treemap import Box, squarify
from bulkhead.model.report import FileSize, PackageSize, Report

KINDS = {
    "program": "programs",
    "library": "libraries",
    "module": "kernel modules",
    "python": "Python",
    "configuration": "configuration and units",
    "data": "data",
}
# The shape that the treemap is computed for; on the page it stretches with the window.
WIDTH, HEIGHT = 1280.0, 720.0
HEADER = 17.0
SMALLEST_AREA = 36.0
"""Square units below which files are shown together."""
SPLIT_SHARE = 0.12
"""A directory with more than this share of the whole is shown as its parts."""
FILES_IN_TABLE = 12


def page(report: Report) -> str:
    """Return the page."""
    by_package = _grouped((file.package, file) for file in report.files)
    by_path = _grouped_by_path(report.files)
    biggest = ", ".join(
        f"{package.name} {_share(package.image_bytes, report)}" for package in report.packages[:4]
    )
    parts = {
        "title": escape(report.title),
        "image": size_text(report.image_bytes),
        "unpacked": size_text(report.bytes),
        "files": f"{len(report.files):,}",
        "packages": f"{len(report.packages):,}",
        "biggest": escape(biggest),
        "legend": "".join(f'<li class="{kind}">{name}</li>' for kind, name in KINDS.items()),
        "by_package": _treemap(by_package, report),
        "by_path": _treemap(by_path, report),
        "kinds": _kind_rows(report),
        "rows": "".join(
            _row(package, by_package[package.name], report) for package in report.packages
        ),
        "style": STYLE,
    }
    text = PAGE
    for name, value in parts.items():
        text = text.replace(f"@{name}@", value)
    return text


def size_text(size: int) -> str:
    """Return a size for people: `12.3 MB`."""
    value = float(size)
    for unit in ("B", "kB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} MB"


def _share(size: int, report: Report) -> str:
    return f"{100 * size / max(1, report.image_bytes):.1f} %"


def _grouped(pairs: Iterable[tuple[str, FileSize]]) -> dict[str, list[FileSize]]:
    groups: dict[str, list[FileSize]] = {}
    for name, file in pairs:
        groups.setdefault(name, []).append(file)
    return groups


def _grouped_by_path(files: Iterable[FileSize]) -> dict[str, list[FileSize]]:
    """Group files by directory, and big directories by the directories in them."""
    files = list(files)
    limit = SPLIT_SHARE * sum(file.image_bytes for file in files)
    done: dict[str, list[FileSize]] = {}
    open_groups = _grouped((_prefix(file.path, 1), file) for file in files)
    depth = 1
    while open_groups:
        depth += 1
        next_groups: dict[str, list[FileSize]] = {}
        for name, members in open_groups.items():
            parts = _grouped((_prefix(file.path, depth), file) for file in members)
            if sum(file.image_bytes for file in members) > limit and set(parts) != {name}:
                next_groups.update(parts)
            else:
                done[name] = members
        open_groups = next_groups
    return done


def _prefix(path: str, depth: int) -> str:
    """Return the first `depth` directories of a path; fewer when there are not so many."""
    return "/" + "/".join(path.split("/")[:-1][:depth])


def _treemap(groups: Mapping[str, list[FileSize]], report: Report) -> str:
    sums = {name: sum(file.image_bytes for file in members) for name, members in groups.items()}
    names = sorted((name for name in sums if sums[name]), key=lambda name: (-sums[name], name))
    boxes = squarify([sums[name] for name in names], Box(0, 0, WIDTH, HEIGHT))
    cells = []
    for name, box in zip(names, boxes, strict=True):
        text = f"{name} — {size_text(sums[name])}, {_share(sums[name], report)}"
        tight = box.width < 3 * HEADER or box.height < 2 * HEADER
        head = "" if tight else f"<span><b>{escape(name)}</b> {size_text(sums[name])}</span>"
        room = 0.0 if tight else HEADER
        inner = _cells(groups[name], box._replace(height=box.height - room), report)
        cells.append(
            f'<div class="group{" tight" if tight else ""}" title="{escape(text)}"'
            f' style="{_place(box, Box(0, 0, WIDTH, HEIGHT))}">{head}{inner}</div>'
        )
    return "".join(cells)


def _cells(files: Iterable[FileSize], box: Box, report: Report) -> str:
    """Lay out the files of a group; those too small to see become one cell."""
    ordered = sorted((f for f in files if f.image_bytes), key=lambda f: (-f.image_bytes, f.path))
    per_byte = WIDTH * HEIGHT / max(1, report.image_bytes)
    cells: list[tuple[int, FileSize | None]] = [
        (file.image_bytes, file) for file in ordered if file.image_bytes * per_byte >= SMALLEST_AREA
    ]
    small = ordered[len(cells) :]
    if small:
        cells.append((sum(file.image_bytes for file in small), None))
        cells.sort(key=lambda cell: -cell[0])
    inside = Box(0, 0, box.width, box.height)
    boxes = squarify([size for size, _ in cells], inside)
    shown = (
        _cell(file, place, inside, small, report)
        for (_, file), place in zip(cells, boxes, strict=True)
    )
    return f'<div class="files">{"".join(shown)}</div>'


def _cell(
    file: FileSize | None, box: Box, inside: Box, small: list[FileSize], report: Report
) -> str:
    place = _place(box, inside)
    if file is None:
        total = sum(member.image_bytes for member in small)
        title = f"{len(small)} small files — {size_text(total)}, {_share(total, report)}"
        return f'<i class="small" style="{place}" title="{title}"></i>'
    title = (
        f"/{file.path} — {size_text(file.image_bytes)} in the image, "
        f"{size_text(file.bytes)} unpacked, {KINDS[file.kind]}, package {file.package}"
    )
    name = file.path.rpartition("/")[2]
    label = escape(name) if box.width > 7 * min(len(name), 6) and box.height > 13 else ""
    return f'<i class="{file.kind}" style="{place}" title="{escape(title)}">{label}</i>'


def _place(box: Box, within: Box) -> str:
    """Return the CSS that puts a box into the one around it, in percent."""
    return (
        f"left:{100 * box.x / within.width:.3f}%;top:{100 * box.y / within.height:.3f}%;"
        f"width:{100 * box.width / within.width:.3f}%;height:{100 * box.height / within.height:.3f}%"
    )


def _kind_rows(report: Report) -> str:
    rows = []
    for kind, name in KINDS.items():
        members = [file for file in report.files if file.kind == kind]
        total = sum(file.image_bytes for file in members)
        unpacked = sum(file.bytes for file in members)
        rows.append(
            f'<tr><td><span class="key {kind}"></span>{name}</td><td>{len(members):,}</td>'
            f"<td>{size_text(total)}</td><td>{_bar(total, report)}</td>"
            f"<td>{size_text(unpacked)}</td></tr>"
        )
    return "".join(rows)


def _bar(size: int, report: Report) -> str:
    share = 100 * size / max(1, report.image_bytes)
    return f'<span class="bar"><span style="width:{share:.2f}%"></span></span> {share:.1f} %'


def _row(package: PackageSize, files: list[FileSize], report: Report) -> str:
    largest = sorted(files, key=lambda file: -file.image_bytes)[:FILES_IN_TABLE]
    listed = "".join(
        f"<tr><td>/{escape(file.path)}</td><td>{size_text(file.image_bytes)}</td>"
        f"<td>{size_text(file.bytes)}</td></tr>"
        for file in largest
    )
    more = len(files) - len(largest)
    rest = f"<p>… and {more:,} more</p>" if more > 0 else ""
    return (
        f"<tr><td><details><summary>{escape(package.name)}</summary>"
        f"<table class=inner>{listed}</table>{rest}</details></td>"
        f"<td>{escape(package.version)}</td><td>{package.files:,}</td>"
        f"<td>{size_text(package.image_bytes)}</td><td>{_bar(package.image_bytes, report)}</td>"
        f"<td>{size_text(package.bytes)}</td></tr>"
    )
