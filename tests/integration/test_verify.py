"""`bulkhead verify` on a real image, as built and with changed bytes."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from bulkhead.build import keys, new, oci, pipeline, steps, verify
from bulkhead.build.debian import lockfile, locking
from bulkhead.build.verify import Finding
from bulkhead.cli.verify import verify_command
from bulkhead.lib.dirs import cache_dir, repository_root
from bulkhead.lib.progress import SILENT
from bulkhead.model import manifest as manifests
from bulkhead.model.arch import AMD64

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the standalone variant once, without a disk that would take minutes to copy."""
    out = tmp_path_factory.mktemp("verify") / "out"
    pipeline.build_variant("standalone", out=out, formats=("raw.zst",), progress=SILENT)
    return out


@pytest.fixture
def image(built: Path, tmp_path: Path) -> Iterator[Path]:
    """Return a copy of the image that a test may change."""
    yield Path(shutil.copytree(built, tmp_path / "image"))
    shutil.rmtree(tmp_path / "image")


def file_of(image: Path, kind: str) -> Path:
    """Return the output of a kind."""
    raw = (image / "manifest.json").read_bytes()
    output = manifests.decode(raw, where="manifest.json").output(kind)
    assert output is not None
    return image / output.file


def flip(path: Path, offset: int) -> None:
    """Change one bit of a file."""
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def bad(verdict: verify.Verdict) -> dict[str, Finding]:
    """Return what is not the same, by kind."""
    return {f.kind: f for f in verdict.findings if f.state != "same"}


def test_an_image_as_it_was_built_is_good(image: Path) -> None:
    """Every output is the same when it is built again without the cached steps."""
    verdict = verify.verify(image, progress=SILENT)

    assert verdict.rebuilt
    assert verdict.outcome == "same"
    assert bad(verdict) == {}


def test_changed_missing_and_cut_files_are_told(image: Path) -> None:
    """Each with the place of its first difference; in the root by path."""
    root, uki, initrd = (file_of(image, kind) for kind in ("root", "uki", "initrd"))
    flip(root, root.stat().st_size // 2)
    flip(uki, 5000)
    initrd.write_bytes(initrd.read_bytes()[:1000])
    file_of(image, "kernel").unlink()

    verdict = verify.verify(root, progress=SILENT)

    found = bad(verdict)
    assert verdict.outcome == "different"
    assert {kind: (f.state, f.offset) for kind, f in found.items()} == {
        "root": ("changed", root.stat().st_size // 2),
        "kernel": ("missing", None),
        "initrd": ("changed", 1000),
        "uki": ("changed", 5000),
    }
    # A flipped bit of compressed data reads as something else, or not at all.
    assert re.match(r"(damaged: )?/usr/[^:]+: content ", found["root"].detail or "")


def test_a_quick_look_reads_hashes_only(image: Path) -> None:
    """Nothing is rebuilt, and a changed file is told all the same."""
    flip(file_of(image, "verity"), 4096)

    verdict = verify.verify(image, rebuild=False, progress=SILENT)

    assert not verdict.rebuilt
    assert {kind: f.state for kind, f in bad(verdict).items()} == {"verity": "changed"}


def test_a_manifest_of_other_inputs_is_told_instead_of_rebuilt(image: Path) -> None:
    """A rebuild from other sources would only show that they differ."""
    path = image / "manifest.json"
    manifest = manifests.decode(path.read_bytes(), where=str(path))
    inputs = {**manifest.inputs, "variants/standalone/variant.toml": "0" * 64}
    path.write_bytes(manifests.encode(msgspec.structs.replace(manifest, inputs=inputs)))

    verdict = verify.verify(image, progress=SILENT)

    assert verdict.outcome == "unknown"
    assert not verdict.rebuilt
    assert verdict.inputs == ("'variants/standalone/variant.toml' has changed",)


def test_a_manifest_that_lies_about_the_root_is_found_out(image: Path) -> None:
    """File and manifest changed together still differ from what the inputs give."""
    path = image / "manifest.json"
    manifest = manifests.decode(path.read_bytes(), where=str(path))
    initrd = file_of(image, "initrd")
    flip(initrd, 77)
    outputs = tuple(
        msgspec.structs.replace(o, sha256=verify.digest(initrd)) if o.kind == "initrd" else o
        for o in manifest.outputs
    )
    path.write_bytes(manifests.encode(msgspec.structs.replace(manifest, outputs=outputs)))

    verdict = verify.verify(image, progress=SILENT)

    assert {k: (f.state, f.offset) for k, f in bad(verdict).items()} == {"initrd": ("differs", 77)}


def test_a_manifest_that_leaves_out_what_would_give_it_away_is_found_out(image: Path) -> None:
    """An output of another kind is compared with nothing, and nor is one that is not listed."""
    path = image / "manifest.json"
    manifest = manifests.decode(path.read_bytes(), where=str(path))
    disk = file_of(image, "disk-raw-zst")
    disk.write_bytes(b"another disk")
    evil = manifests.Output(kind="disk-image", file=disk.name, size=12, sha256=verify.digest(disk))
    lying = msgspec.structs.replace(manifest, outputs=(evil,), command_line="init=/evil")
    path.write_bytes(manifests.encode(lying))

    verdict = verify.verify(image, progress=SILENT)

    assert verdict.outcome == "different"
    found = bad(verdict)
    assert found.pop("disk-image").state == "unknown"
    assert {f.state for f in found.values()} == {"missing"}
    assert {"root", "verity", "uki", "kernel", "initrd"} <= found.keys()
    assert verdict.contradictions == (
        f"command_line is {manifest.command_line!r}, the manifest says 'init=/evil'",
    )


def command(*arguments: str) -> tuple[int, str, str]:
    """Run `bulkhead verify` and return its exit code, what it answers and what it says."""
    done = CliRunner().invoke(
        verify_command, arguments, catch_exceptions=False, standalone_mode=False
    )
    return done.return_value, done.stdout, done.stderr


def quick_to_build(folder: Path) -> Path:
    """Make a variant with all that `standalone` has, packed faster, and return its file."""
    variant = new.make("mine", folder, parent="standalone")
    text = variant.read_text()
    assert "[image]" not in text
    variant.write_text(f'{text}\n[image]\ncompression = "lz4"\n')
    standalone = repository_root() / "image/variants/standalone/variant.lock"
    shutil.copyfile(standalone, variant.with_name("variant.lock"))
    return variant


def test_a_signed_image_needs_its_keys_to_be_verified(tmp_path: Path) -> None:
    """Without them the outcome is incomplete, and a failure unless that is asked for."""
    keys.make(tmp_path / "keys")
    out = tmp_path / "out"
    variant = str(quick_to_build(tmp_path / "mine" / "variant"))
    pipeline.build_variant(
        variant, out=out, formats=("raw.zst",), keys=tmp_path / "keys", progress=SILENT
    )
    image = (str(out), "--variant", variant)

    code, text, story = command(*image)
    skipped, _, _ = command(*image, "--skip-signed")
    asked, answer, _ = command(*image, "--json")
    full, whole, _ = command(*image, "--keys", str(tmp_path / "keys"))

    assert (code, skipped, asked, full) == (1, 0, 1, 0)
    assert re.search(r"\.efi +not compared +it is signed, and no keys were given\n", text)
    assert re.search(r"^incomplete: .*\.efi, .*\.raw\.zst not compared\n  hint: give", story, re.M)
    assert json.loads(answer)["outcome"] == "incomplete"
    assert "not compared" not in whole


def test_a_quick_look_needs_no_keys_and_says_what_it_did_not_do(image: Path) -> None:
    """`unchanged` is not `same`: nothing was built again."""
    code, answer, _ = command(str(image), "--quick", "--json")

    assert (code, json.loads(answer)["outcome"]) == (0, "unchanged")


SMALL = """\
name = "test/small"
packages = ["netbase"]
[rules.netbase]
scripts = { postinst = "not needed", postrm = "not needed" }
"""


def container(folder: Path) -> Path:
    """Make the definition of a container image whose lock names a package that has gone."""
    folder.mkdir(parents=True)
    (folder / "image.toml").write_text(SMALL)
    wanted = oci.request(oci.read(folder), AMD64)
    lock = locking.resolve(wanted, cache=cache_dir(), progress=SILENT)
    gone = [
        msgspec.structs.replace(p, version="0.1", path=f"{p.path}.gone", sha256="0" * 64)
        for p in lock.packages
    ]
    old = msgspec.structs.replace(lock, packages=tuple(gone))
    lockfile.write_lock(oci.lock_path(folder), old)
    return folder


def test_an_image_with_containers_is_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest names the container's lock as it was used; its files have the image's time."""
    monkeypatch.setenv("BULKHEAD_SNAPSHOT", "http://127.0.0.1:9")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    small = container(tmp_path / "mine" / "small")
    variant = quick_to_build(tmp_path / "mine" / "variant")
    variant.write_text(f'preload = ["../small"]\n{variant.read_text()}')
    out = tmp_path / "out"

    manifest = pipeline.build_variant(str(variant), out=out, formats=("raw.zst",), progress=SILENT)
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    verdict = verify.verify(out, variant=str(variant), progress=SILENT)

    versions = [p.version for p in lockfile.read_lock(oci.lock_path(small)).packages]
    assert "0.1" not in versions
    assert manifest.inputs["preload/small"] == steps.folder_fingerprint(small)
    assert verdict.inputs == ()
    assert bad(verdict) == {}
    assert verdict.outcome == "same"
