"""The launcher's parts that need no network."""

from __future__ import annotations

import hashlib
import io
import signal
import sys
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bulkhead.launch import debian, environment, main, pip, termination
from bulkhead.lib import dirs, mirrors
from bulkhead.model.errors import RemoteError, Untrusted


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a directory on this machine and yield its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def package(files: dict[str, bytes]) -> bytes:
    """Return a .deb with these files."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:xz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    members = {"debian-binary": b"2.0\n", "control.tar": b"odd", "data.tar.xz": data.getvalue()}
    raw = b"!<arch>\n"
    for name, content in members.items():
        raw += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode()
        raw += content + b"\n" * (len(content) % 2)
    return raw


def pin(folder: Path, raw: bytes, *, sha256: str | None = None) -> Path:
    """Publish a package below `folder` and return the file that pins it."""
    (folder / "pip.deb").write_bytes(raw)
    pins = folder / "pip.toml"
    digest = sha256 or hashlib.sha256(raw).hexdigest()
    pins.write_text(
        f'[pip]\npath = "pip.deb"\nsize = {len(raw)}\nsha256 = "{digest}"\n'
        'snapshot = "2026-11-22T00:00:00Z"\n'
    )
    return pins


@pytest.fixture(autouse=True)
def _no_archive_of_the_past(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bulkhead.lib.mirrors.SNAPSHOT", "http://127.0.0.1:9")


def test_a_pinned_package_gives_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies below the prefix comes out, under its last name, and nothing else."""
    pins = pin(tmp_path, package({"usr/share/wheels/pip-1.whl": b"zip", "etc/other": b""}))
    out = tmp_path / "out"
    out.mkdir()
    with served(tmp_path) as url:
        monkeypatch.setenv("BULKHEAD_MIRROR", url)

        found = debian.fetch(pins, "pip", "usr/share/wheels/pip-", out)

    assert [(path.name, path.read_bytes()) for path in found] == [("pip-1.whl", b"zip")]


def test_a_package_that_is_not_the_pinned_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mirror that serves other bytes is named, and nothing is unpacked."""
    pins = pin(tmp_path, package({"usr/pip-1.whl": b"zip"}), sha256="0" * 64)
    with served(tmp_path) as url:
        monkeypatch.setenv("BULKHEAD_MIRROR", url)

        with pytest.raises(RemoteError, match=r"not the pinned file .*\n.*\n.*BULKHEAD_MIRROR"):
            debian.fetch(pins, "pip", "usr/pip-", tmp_path)


def test_a_mirror_that_is_no_address_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one is tried; without one, each is listed with its reason."""
    pins = pin(tmp_path, package({"usr/pip-1.whl": b"zip"}))
    monkeypatch.setenv("BULKHEAD_MIRROR", "http://[")
    monkeypatch.setattr(mirrors, "SNAPSHOT", "http://[")

    with pytest.raises(RemoteError, match=r"(?s)http://\[/.*: Invalid IPv6 URL.*BULKHEAD_MIRROR"):
        debian.fetch(pins, "pip", "usr/pip-", tmp_path)


def test_a_pinned_package_without_the_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the package and what was looked for."""
    pins = pin(tmp_path, package({"usr/other": b""}))
    with served(tmp_path) as url:
        monkeypatch.setenv("BULKHEAD_MIRROR", url)

        with pytest.raises(Untrusted, match=r"pip\.deb: the package has no file below 'usr/pip-'"):
            debian.fetch(pins, "pip", "usr/pip-", tmp_path)


@pytest.mark.parametrize(
    ("python", "version", "used"),
    [
        ((3, 11, 2), "23.0.1", True),
        ((3, 12, 0), "23.0.1", False),
        ((3, 13, 5), "25.1.1+dfsg", True),
    ],
)
def test_a_packaged_pip_that_is_too_old_for_this_python_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, python: tuple[int, ...], version: str, *,
    used: bool,
) -> None:  # fmt: skip
    """Debian's fits Debian's Python; somebody may use a newer one of their own."""
    (tmp_path / "pip-9.0-py3-none-any.whl").touch()
    wheel = tmp_path / f"pip-{version}-py3-none-any.whl"
    wheel.touch()
    monkeypatch.setattr(pip, "WHEELS", tmp_path)
    monkeypatch.setattr(sys, "version_info", python)

    assert pip._packaged() == (wheel if used else None)


def test_environments_are_named_by_all_that_decides_their_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other requirements or another Python mean another environment."""
    first, second = tmp_path / "a.txt", tmp_path / "b.txt"
    first.write_text("x==1")
    second.write_text("x==2")
    keys = [main.key(str(first)), main.key(str(first)), main.key(str(second))]
    monkeypatch.setattr("sys.version", "3.99")
    keys.append(main.key(str(first)))

    assert len(set(keys)) == 3


def test_a_python_that_cannot_find_itself_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without PATH in the environment there is no traceback, and nothing half-made."""
    (tmp_path / "build.txt").write_text("x==1\n")
    monkeypatch.setattr("sys.executable", "")

    code = environment.make(str(tmp_path / "venvs" / "x"), str(tmp_path / "build.txt"))

    assert code == 1
    assert capsys.readouterr().err.endswith(
        "bulkhead: this Python does not know where it is itself\n"
        "  hint: set PATH, as in: PATH=/usr/bin:/bin ./bulkhead\n"
    )
    assert list((tmp_path / "venvs").iterdir()) == []


def test_a_cache_that_cannot_be_made_names_its_variable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As when a home directory is not there or cannot be written to."""
    (tmp_path / "build.txt").write_text("x==1\n")
    (tmp_path / "home").write_text("no directory")
    target = tmp_path / "home" / "venvs" / "x"

    code = environment.make(str(target), str(tmp_path / "build.txt"))

    assert code == 1
    assert capsys.readouterr().err.endswith(
        f"bulkhead: {target}: cannot make the Python environment: Not a directory\n"
        "  hint: name a directory that has room and can be written to in BULKHEAD_CACHE\n"
    )


@pytest.mark.parametrize(
    "variables",
    [
        {"BULKHEAD_CACHE": "/own", "XDG_CACHE_HOME": "/xdg"},
        {"XDG_CACHE_HOME": "/xdg"},
        {"XDG_CACHE_HOME": "relative"},
        {"HOME": "/somewhere"},
    ],
)
def test_launcher_and_builder_agree_on_the_cache(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The launcher's own quick rule is that of `lib.dirs`."""
    for name in ("BULKHEAD_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert main._cache() == str(dirs.cache_dir())


@pytest.mark.parametrize(("encoding", "locale"), [("iso8859-1", "C.UTF-8"), ("utf-8", "de_DE")])
def test_all_that_is_started_speaks_utf8(
    encoding: str, locale: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A locale with other letters would get into images and the cache; one without stays."""
    (tmp_path / "requirements").mkdir()
    requirements = tmp_path / "requirements" / "build.txt"
    requirements.write_text("x==1")
    python = tmp_path / "cache" / "venvs" / main.key(str(requirements)) / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("")
    started: list[dict[str, str]] = []
    monkeypatch.setenv("BULKHEAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LC_ALL", "de_DE")
    monkeypatch.setattr("sys.getfilesystemencoding", lambda: encoding)
    monkeypatch.setattr("os.execve", lambda _program, _argv, env: started.append(env))

    main.main(str(tmp_path), ["build"])

    assert [env["LC_ALL"] for env in started] == [locale]


@pytest.mark.parametrize("number", termination.SIGNALS)
def test_who_is_asked_to_end_can_clean_up(number: signal.Signals) -> None:
    """SIGTERM and SIGHUP do what Ctrl-C does, for as long as the block runs."""
    # Whoever runs the tests may have them ignore it.
    before = signal.signal(number, signal.SIG_DFL)
    try:
        with pytest.raises(termination.Terminated), termination.as_interrupt():
            signal.raise_signal(number)

        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, before)


def test_a_signal_that_is_to_be_ignored_stays_so() -> None:
    """A program that nohup started lives on when the terminal is closed."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with termination.as_interrupt():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
