"""Container images from Debian packages: the same bytes, nothing that should not be in them."""

from __future__ import annotations

import hashlib
import json
import tarfile
from io import BytesIO
from pathlib import Path

import msgspec
import pytest
import zstandard
from click.testing import CliRunner

from bulkhead.build import oci
from bulkhead.build.debian import lockfile, locking
from bulkhead.cli.lock import lock_command
from bulkhead.lib.dirs import cache_dir
from bulkhead.lib.progress import SILENT
from bulkhead.model.arch import AMD64
from bulkhead.model.errors import UserError
from tests.support import containers

LARGEST = 15_000_000


def demo(cache: Path) -> oci.Built:
    """Make the demo image."""
    return oci.build("demo", arch=AMD64, cache=cache, progress=SILENT, locked=True)


@pytest.fixture(scope="module")
def built() -> oci.Built:
    """Return the demo image from the usual cache."""
    return demo(cache_dir())


def test_the_same_lock_gives_the_same_bytes(
    built: oci.Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another cache, user directory and time zone change nothing."""
    for name in ("objects", "tools", "indexes"):
        (tmp_path / name).symlink_to(cache_dir() / name)
    monkeypatch.setenv("TZ", "Asia/Tokyo")

    again = demo(tmp_path)

    assert again.path != built.path
    assert again.digest == built.digest
    assert again.path.read_bytes() == built.path.read_bytes()


def test_is_small_and_sound(built: oci.Built) -> None:
    """Every blob is what its name says; the image is found under its name; nginx is not root."""
    blobs = containers.blobs(built.path)
    (entry,) = json.loads(blobs["index.json"])["manifests"]
    manifest = json.loads(blobs[f"blobs/{entry['digest'].replace(':', '/')}"])
    config = json.loads(blobs[f"blobs/{manifest['config']['digest'].replace(':', '/')}"])

    assert built.size < LARGEST
    assert built.name == "docker.io/bulkhead/demo:latest"
    assert entry["digest"] == built.digest
    assert entry["annotations"]["io.containerd.image.name"] == built.name
    for name, data in blobs.items():
        if name.startswith("blobs/sha256/"):
            assert hashlib.sha256(data).hexdigest() == name.rpartition("/")[2]
    assert config["config"]["User"] == "web"
    assert config["config"]["ExposedPorts"] == {"80/tcp": {}}


def test_has_no_shell_and_nothing_that_grants_privilege(built: oci.Built) -> None:
    """No setuid file, no shell, no package manager, no documentation, no maintainer scripts."""
    blobs = containers.blobs(built.path)
    (entry,) = json.loads(blobs["index.json"])["manifests"]
    manifest = json.loads(blobs[f"blobs/{entry['digest'].replace(':', '/')}"])
    packed = blobs[f"blobs/{manifest['layers'][0]['digest'].replace(':', '/')}"]
    raw = zstandard.ZstdDecompressor().decompressobj().decompress(packed)
    with tarfile.open(fileobj=BytesIO(raw)) as tar:
        members = tar.getmembers()

    names = {member.name for member in members}
    assert {"usr/sbin/nginx", "usr/share/nginx/html/index.html", "etc/passwd"} <= names
    assert not {member.name for member in members if member.mode & 0o6000}
    assert not {name for name in names if name.endswith(("/sh", "/bash", "/dash", "/dpkg", "/apt"))}
    assert not {name for name in names if name.startswith(("usr/share/doc/", "var/lib/dpkg/"))}
    assert {member.uid for member in members} == {0}


def test_wrong_definitions_are_told(tmp_path: Path) -> None:
    """An unknown image gets a suggestion, an unknown key its name."""
    with pytest.raises(UserError, match="there is no container image 'dmo'") as caught:
        oci.find("dmo")
    (tmp_path / "image.toml").write_text('name = "x"\npackages = []\nentripoint = ["x"]\n')

    assert caught.value.hint == "did you mean 'demo'?"
    with pytest.raises(UserError, match="unknown key 'entripoint'"):
        oci.read(tmp_path)


def test_scripts_that_nobody_thought_about_are_an_error(built: oci.Built, tmp_path: Path) -> None:
    """A package whose scripts matter is named instead of being half-installed."""
    folder = oci.find("demo")
    definition = oci.read(folder)
    rules = {name: rule for name, rule in definition.rules.items() if name != "nginx-common"}
    text = msgspec.json.encode(msgspec.structs.replace(definition, rules=rules))
    (tmp_path / "image.toml").write_text(_toml(json.loads(text)))
    (tmp_path / "rootfs").mkdir()
    (tmp_path / "image.lock").write_bytes((folder / "image.lock").read_bytes())

    with pytest.raises(UserError, match=r"nginx-common: .*postinst"):
        oci.build(str(tmp_path), arch=AMD64, cache=cache_dir(), progress=SILENT, locked=True)


VARIANT = """
name = "mine"
inherit = ["debian"]
preload = ["./small", "./small", "./ready.tar"]
packages.host = ["netbase"]
"""


@pytest.fixture
def variant(tmp_path: Path) -> Path:
    """Return a variant that brings along an image whose lock has a package that is out of date."""
    (tmp_path / "variant.toml").write_text(VARIANT)
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / "image.toml").write_text('name = "test/small"\npackages = ["netbase"]\n')
    lock = locking.resolve(oci.request(oci.read(folder), AMD64), cache=cache_dir(), progress=SILENT)
    old = [msgspec.structs.replace(package, version="0.1") for package in lock.packages]
    lockfile.write_lock(oci.lock_path(folder), msgspec.structs.replace(lock, packages=tuple(old)))
    return tmp_path


def lock(*arguments: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """Run `bulkhead lock`; return what changed in each lock, by its name."""
    done = CliRunner().invoke(lock_command, [*arguments, "--json"], catch_exceptions=False)
    reports = json.loads(done.stdout)
    return [(r["name"], [(c["kind"], c["name"]) for c in r["changes"]]) for r in reports]


def test_container_images_are_locked_with_the_variant_that_brings_them(variant: Path) -> None:
    """Each lock once, with what changed; `--update` moves the image's packages too."""
    made = lock(str(variant))
    moved = lock(str(variant), "--update", "netbase")
    again = lock("--container", str(variant / "small"), "--update")

    assert [name for name, _ in made] == ["mine", "container small"]
    assert ("added", "netbase") in made[0][1]
    assert made[1][1] == []
    assert moved == [("mine", []), ("container small", [("upgraded", "netbase")])]
    assert again == [("container small", [])]


def test_a_package_to_update_must_be_in_one_of_the_locks(variant: Path) -> None:
    """With several locks it need not be in each of them."""
    with pytest.raises(UserError, match="'netbaes' is in no lock that was named") as caught:
        lock("--container", str(variant / "small"), "--container", "demo", "--update", "netbaes")

    assert caught.value.hint == "did you mean 'netbase'?"


def _toml(value: dict[str, object]) -> str:
    """Write the few kinds of TOML that a definition has."""
    plain = {k: v for k, v in value.items() if not isinstance(v, dict) and v is not None}
    lines = [f"{key} = {json.dumps(item)}" for key, item in plain.items()]
    for key, item in value.items():
        if isinstance(item, dict) and item:
            lines += _table([key], item)
    return "\n".join(lines) + "\n"


def _table(path: list[str], value: dict[str, object]) -> list[str]:
    lines = ["[" + ".".join(f'"{part}"' for part in path) + "]"]
    for key, item in value.items():
        if item is not None and not isinstance(item, dict):
            lines.append(f"{key} = {json.dumps(item)}")
    for key, item in value.items():
        if isinstance(item, dict) and item:
            lines += _table([*path, key], item)
    return lines
