"""The size report."""

from __future__ import annotations

import os
import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec

from bulkhead.build import report
from bulkhead.build.tree import Tree, file, file_from, symlink
from bulkhead.model.report import Report


def example(folder: Path) -> Tree:
    """Return a tree with something of each kind."""
    program = folder / "program"
    program.write_bytes(b"\x7fELF" + os.urandom(200_000))
    other = folder / "second-name"
    os.link(program, other)
    tree = Tree()
    tree.put("usr/bin/agent", file_from(program, mode=0o755, origin="agent"))
    tree.put("usr/bin/agent-too", file_from(other, mode=0o755, origin="agent"))
    tree.put("usr/lib/libx.so.1", file(b"\x7fELF" + bytes(99_996), origin="libx<1>"))
    tree.put("usr/lib/modules/6.12/x.ko.xz", file(os.urandom(5000), origin="linux"))
    tree.put("usr/lib/python3/x.py", file("pass\n" * 100, origin="libx<1>"))
    tree.put("etc/x.conf", file("a = 1\n"))
    tree.put("usr/share/data", file(b"data" * 100))
    tree.put("usr/lib/libx.so", symlink("libx.so.1", origin="libx<1>"))
    return tree


def make(folder: Path) -> tuple[Report, str]:
    """Write the report of the example; return its JSON, read back, and the page."""
    html, json = folder / "r.html", folder / "r.json"
    report.make(
        example(folder), packages={"agent": "1.2-3"}, compressed=300_000, title="a <title>",
        out_html=html, out_json=json,
    )  # fmt: skip
    return msgspec.json.decode(json.read_bytes(), type=Report), html.read_text()


def test_estimates_add_up_to_the_image(tmp_path: Path) -> None:
    """Shares are of the real image; what compresses well takes less of it."""
    found, _ = make(tmp_path)
    sizes = {f.path: (f.kind, f.bytes, f.image_bytes) for f in found.files}

    assert found.image_bytes - len(found.files) <= sum(f.image_bytes for f in found.files)
    assert sum(f.image_bytes for f in found.files) <= found.image_bytes == 300_000
    assert sizes["usr/bin/agent"][:2] == ("program", 200_004)
    assert sizes["usr/lib/libx.so.1"][:2] == ("library", 100_000)
    assert sizes["usr/bin/agent"][2] > 10 * sizes["usr/lib/libx.so.1"][2]
    assert {f.kind for f in found.files} == {
        "program", "library", "module", "python", "configuration", "data",
    }  # fmt: skip


def test_a_second_name_of_the_same_bytes_counts_once(tmp_path: Path) -> None:
    """Hard links take no room twice."""
    found, _ = make(tmp_path)

    assert [f.path for f in found.files if "agent" in f.path] == ["usr/bin/agent"]


def test_packages_come_largest_first_with_their_versions(tmp_path: Path) -> None:
    """A package's row sums its files."""
    found, _ = make(tmp_path)
    first = found.packages[0]

    assert (first.name, first.version, first.files, first.bytes) == ("agent", "1.2-3", 1, 200_004)
    assert sum(package.files for package in found.packages) == len(found.files)


class _Checker(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += attrs
        if tag not in ("meta", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_stands_alone_and_escapes_what_it_shows(tmp_path: Path) -> None:
    """No script, nothing fetched, balanced tags, names of packages and files as text."""
    _, page = make(tmp_path)
    checker = _Checker()
    checker.feed(page)

    assert checker.open == []
    assert not {name for name, _ in checker.attributes} & {"src", "href", "onclick"}
    assert "<script" not in page
    assert not re.search(r"url\(|@import|https?://", page)
    assert "a &lt;title&gt;" in page
    assert "libx&lt;1&gt;" in page
    assert "<1>" not in page
    assert not re.search(r"@[a-z_]+@", page)


def test_the_page_is_the_same_twice(tmp_path: Path) -> None:
    """It is an output of the build, so it must be reproducible."""
    tree = example(tmp_path)
    pages = []
    for name in ("a", "b"):
        out = tmp_path / name
        report.make(tree, packages={}, compressed=None, title="t", out_html=out, out_json=out)
        report.make(
            tree, packages={}, compressed=None, title="t", out_html=out, out_json=tmp_path / "j"
        )
        pages.append(out.read_bytes())

    assert pages[0] == pages[1]
