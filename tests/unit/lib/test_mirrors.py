"""Which mirror of Debian is asked first."""

from __future__ import annotations

from pathlib import Path

from bulkhead.lib import mirrors

MODERN = """\
# the vendor's comment
Types: deb deb-src
URIs: http://mirror.example/debian/
Suites: trixie trixie-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: trixie-security
Components: main

Types: deb
Enabled: no
URIs: http://off.example/debian
Suites: trixie
Components: main
"""
CLASSIC = """\
deb [arch=amd64 signed-by=/x.gpg] https://old.example/debian trixie main contrib # near
deb-src https://sources.example/debian trixie main
deb https://tools.example/linux/debian trixie stable
deb cdrom:[Debian]/debian trixie main
deb
"""


def configuration(folder: Path, **files: str) -> Path:
    """Write an apt configuration and return its directory."""
    (folder / "sources.list.d").mkdir()
    for name, text in files.items():
        (folder / "sources.list.d" / name.replace("_", ".")).write_text(text)
    return folder


def test_both_formats_of_apt_are_read(tmp_path: Path) -> None:
    """The machine's own mirrors come first, in their order, without disabled or foreign ones."""
    apt = configuration(tmp_path, a_sources=MODERN, b_list=CLASSIC)

    found = mirrors.candidates("debian", environment={}, apt=apt)

    assert found == [
        "http://mirror.example/debian",
        "https://old.example/debian",
        mirrors.PUBLIC["debian"],
    ]


def test_the_security_archive_is_told_apart(tmp_path: Path) -> None:
    """A mirror of the main archive is never asked for security updates."""
    apt = configuration(tmp_path, a_sources=MODERN)

    found = mirrors.candidates("debian-security", environment={}, apt=apt)

    assert found == ["http://mirror.example/debian-security", mirrors.PUBLIC["debian-security"]]


def test_the_environment_decides_alone(tmp_path: Path) -> None:
    """Whoever names a mirror wants that one and no other."""
    apt = configuration(tmp_path, a_sources=MODERN)

    found = mirrors.candidates("debian", environment={"BULKHEAD_MIRROR": "http://a/b/"}, apt=apt)

    assert found == ["http://a/b"]


def test_a_machine_without_apt_uses_the_public_servers(tmp_path: Path) -> None:
    """No apt configuration is no error."""
    found = mirrors.candidates("debian", environment={}, apt=tmp_path / "none")

    assert found == [mirrors.PUBLIC["debian"]]


def test_snapshots_are_addressed_by_time() -> None:
    """ISO dates become the time stamps of the snapshot archive's paths."""
    url = mirrors.snapshot("debian", "2026-11-20T08:15:30Z")

    assert url == "https://snapshot.debian.org/archive/debian/20261120T081530Z"
