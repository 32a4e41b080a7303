"""A signed Debian archive that tests make themselves, and a server that misbehaves on request."""

from __future__ import annotations

import hashlib
import io
import lzma
import tarfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pysequoia

from bulkhead.model.repository import Repository


def member(
    name: str,
    data: bytes = b"",
    *,
    kind: bytes = tarfile.REGTYPE,
    link: str = "",
    mode: int = 0o644,
) -> tuple[tarfile.TarInfo, bytes]:
    """Return one member of a tar archive."""
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname, info.mode = len(data), kind, link, mode
    return info, data


def tar(members: Sequence[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    """Return a tar archive."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def ar(members: Sequence[tuple[str, bytes]]) -> bytes:
    """Return an ar archive."""
    out = b"!<arch>\n"
    for name, data in members:
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode()
        out += data + b"\n" * (len(data) % 2)
    return out


def deb(
    name: str,
    version: str = "1.0",
    *,
    fields: Mapping[str, str] | None = None,
    files: Mapping[str, bytes] | None = None,
    members: Sequence[tuple[tarfile.TarInfo, bytes]] = (),
    scripts: Mapping[str, bytes] | None = None,
) -> bytes:
    """Return a .deb with these files, and with `members` in its data archive as they are."""
    control = {"Package": name, "Version": version, "Architecture": "amd64", **(fields or {})}
    text = "".join(f"{key}: {value}\n" for key, value in control.items())
    inner = [member("./control", text.encode())]
    inner += [member(f"./{key}", value) for key, value in (scripts or {}).items()]
    data = [member("./", kind=tarfile.DIRTYPE, mode=0o755)]
    data += [member(f"./{path}", content) for path, content in (files or {}).items()]
    return ar(
        [
            ("debian-binary", b"2.0\n"),
            ("control.tar.xz", lzma.compress(tar(inner))),
            ("data.tar.xz", lzma.compress(tar([*data, *members]))),
        ]
    )


class Archive:
    """An archive in a directory, with one suite that is signed by a key of its own."""

    def __init__(self, root: Path, *, suite: str = "trixie") -> None:
        self.root = root
        self.suite = suite
        self.key = pysequoia.Tsk.generate("Archive of a test <archive@example.org>")
        self.key_file = root / "archive.asc"
        root.mkdir(parents=True, exist_ok=True)
        self.key_file.write_text(str(self.key.extract_certificate()))
        self._paragraphs: list[str] = []

    def add(self, name: str, version: str = "1.0", **fields: str) -> bytes:
        """Add a package; names of fields have `_` for `-`. Return the .deb."""
        named = {key.replace("_", "-"): value for key, value in fields.items()}
        data = deb(name, version, fields=named, files={f"usr/share/{name}": version.encode()})
        path = f"pool/main/{name[0]}/{name}/{name}_{version}_amd64.deb"
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        control = {"Package": name, "Version": version, "Architecture": "amd64", **named}
        control |= {
            "Filename": path,
            "Size": str(len(data)),
            "SHA256": hashlib.sha256(data).hexdigest(),
        }
        self._paragraphs.append("".join(f"{key}: {value}\n" for key, value in control.items()))
        return data

    def remove(self, name: str) -> None:
        """Take all versions of a package out of the next index and out of the pool."""
        self._paragraphs = [p for p in self._paragraphs if f"Package: {name}\n" not in p]
        for file in self.root.glob(f"pool/main/?/{name}/*.deb"):
            file.unlink()

    @property
    def release(self) -> Path:
        """Where the signed release file is."""
        return self.root / "dists" / self.suite / "InRelease"

    @property
    def index(self) -> Path:
        """Where the package index is."""
        return self.root / "dists" / self.suite / "main" / "binary-amd64" / "Packages.xz"

    def publish(
        self,
        *,
        date: datetime | None = None,
        key: pysequoia.Tsk | None = None,
        row: str = "",
        **fields: str,
    ) -> None:
        """Write the index and sign the release file; `fields` replace those of the release.

        A field with an empty value is left out. `row` replaces what it says of the index.
        """
        data = lzma.compress("\n".join(self._paragraphs).encode())
        place = self.index
        if fields.get("Acquire_By_Hash") == "yes":
            place = place.parent / "by-hash" / "SHA256" / hashlib.sha256(data).hexdigest()
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        moment = date or datetime.now(UTC)
        control = {
            "Suite": self.suite,
            "Codename": self.suite,
            "Date": format_datetime(moment),
            "Valid-Until": format_datetime(moment + timedelta(days=7)),
            "Architectures": "amd64",
            "Components": "main",
        } | {name.replace("_", "-"): value for name, value in fields.items()}
        text = "".join(f"{name}: {value}\n" for name, value in control.items() if value)
        digest = hashlib.sha256(data).hexdigest()
        text += f"SHA256:\n {row or f'{digest} {len(data)} main/binary-amd64/Packages.xz'}\n"
        signer = (key or self.key).signer()
        mode = pysequoia.SignatureMode.CLEAR
        self.release.write_bytes(pysequoia.sign(signer, text.encode(), mode=mode))

    def repository(self, url: str, *, name: str = "test", priority: int = 500) -> Repository:
        """Return the description of this archive, served at `url`."""
        return Repository(
            name=name, location=url, suites=(self.suite,), keys=(str(self.key_file),),
            priority=priority,
        )  # fmt: skip


class Server:
    """Serves a directory and remembers what it was asked.

    `redirects` maps a path to where it leads instead.
    `faults` maps a path to what happens to its next requests, in order:
    a status code that is sent instead (`status`), or the number of bytes after
    which the connection ends (negative: counted from the end), where it was said
    how many there are (`cut`) and where it was not (`end`).
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[tuple[str, str]] = []
        """Path and value of the Range header, or an empty string."""
        self.faults: dict[str, list[tuple[str, int]]] = {}
        self.redirects: dict[str, str] = {}


@contextmanager
def serve(root: Path) -> Iterator[Server]:
    """Serve `root` on a free port of the loopback interface."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:  # the name that http.server calls
            asked = self.headers.get("Range", "")
            server.requests.append((self.path, asked))
            if self.path in server.redirects:
                self.send_response(302)
                self.send_header("Location", server.redirects[self.path])
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            faults = server.faults.get(self.path, [])
            kind, number = faults.pop(0) if faults else ("", 0)
            file = root / self.path.lstrip("/")
            if self.path.endswith("/"):
                file = file / "index.json"
            if kind == "status" or not file.is_file():
                self.send_response(number or 404)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            data = file.read_bytes()
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
            self.send_response(206 if asked else 200)
            if kind != "end":
                self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            if kind in ("cut", "end"):
                self.wfile.write(data[start:number])
                self.close_connection = True
                return
            self.wfile.write(data[start:])

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server = Server(f"http://127.0.0.1:{httpd.server_port}")
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()
