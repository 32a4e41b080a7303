"""Reads variants: finds their files, joins what they inherit, refuses what it does not know.

A variant is `NAME/variant.toml` in `image/variants` (Bulkhead's own), or a
directory or file of somebody else's, given by path. Parts that several
variants share are `image/variants/shared/NAME.toml`.
"""

from __future__ import annotations

import stat
from pathlib import Path

import msgspec

from bulkhead.build import tomlfile
from bulkhead.build.debian.locking import Request
from bulkhead.lib import suggest
from bulkhead.lib.dirs import repository_root
from bulkhead.model.arch import Architecture
from bulkhead.model.errors import UserError
from bulkhead.model.lock import LockedFile
from bulkhead.model.repository import DIRECTORY_PREFIX, Repository
from bulkhead.model.settings import keys
from bulkhead.model.settings.keys import Settings
from bulkhead.model.variant import Variant

TEMPLATES = "python3-jinja2"


class Resolved(msgspec.Struct, frozen=True, kw_only=True):
    """A variant with everything that it inherits."""

    variant: Variant
    """Joined; paths in it are absolute."""
    name: str
    files: tuple[Path, ...]
    """The files that it was read from, parents first."""

    @property
    def lock_path(self) -> Path:
        """Where its lock file is: beside the variant's own file."""
        return self.files[-1].parent / "variant.lock"


def variants_dir() -> Path:
    """Return the directory of Bulkhead's own variants."""
    return repository_root() / "image" / "variants"


def names() -> list[str]:
    """Return the names of Bulkhead's own variants."""
    return sorted(path.parent.name for path in variants_dir().glob("*/variant.toml"))


def load(name_or_path: str) -> Resolved:
    """Read a variant and all that it inherits.

    Args:
        name_or_path: a name of Bulkhead's own, or the path of a directory
            with a `variant.toml` or of such a file (with a slash in it).

    Raises:
        UserError: not found, not TOML, an unknown or wrong key (named with
            file and line), or a circle in `inherit`.
    """
    chain: list[tuple[Path, Variant]] = []
    _collect(_find(name_or_path, beside=None), chain, ())
    joined: dict[str, object] = {}
    settings: Settings = {}
    for path, variant in chain:
        joined = _join(joined, msgspec.to_builtins(_absolute(variant, path.parent)), path)
        # As on a node: a list replaces one. Two name servers are a choice, not an addition.
        settings = keys.merge(settings, variant.settings)
    joined["settings"] = settings
    own_path, own = chain[-1]
    joined["inherit"] = []
    joined["name"] = own.name or own_path.parent.name
    try:
        variant = _with_templates(msgspec.convert(joined, Variant, strict=False))
    except msgspec.ValidationError as error:
        # Each file was checked by itself: only its directory's name was not.
        raise UserError(
            f"its directory's name {own_path.parent.name!r} cannot be a variant's name",
            where=str(own_path), hint='say it in the file: name = "…" (a-z, 0-9 and dashes)',
        ) from error  # fmt: skip
    for folder in variant.rootfs:
        if not Path(folder).is_dir():
            raise UserError(
                f"the directory {folder!r} in rootfs does not exist", where=str(own_path),
                hint=suggest.hint(Path(folder).name, _directories(Path(folder).parent)),
            )  # fmt: skip
    return Resolved(
        variant=variant,
        name=str(joined["name"]),
        files=tuple(path for path, _ in chain),
    )


def _directories(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []


def _with_templates(variant: Variant) -> Variant:
    """Give the agents what fills the templates of a variant's own groups of settings."""
    packages = variant.packages
    if TEMPLATES in packages.agent or not any("/" in name for name in variant.settings_groups):
        return variant
    return msgspec.structs.replace(
        variant, packages=msgspec.structs.replace(packages, agent=(*packages.agent, TEMPLATES))
    )


def request(resolved: Resolved, arch: Architecture) -> Request:
    """Return what a variant asks the package resolver for: the sets `host`, `agent` and `kernel`."""
    variant = resolved.variant
    return Request(
        architecture=arch.debian,
        repositories=variant.repositories,
        sets={
            "host": variant.packages.host,
            "agent": variant.packages.agent,
            "kernel": (variant.kernel.package or arch.kernel_package,),
        },
        exclude=variant.packages.exclude,
        pins=variant.pins,
        files=tuple(
            LockedFile(name=item.path, url=item.url, size=item.size, sha256=item.sha256)
            for item in variant.files
        ),
    )


def _find(name: str, *, beside: Path | None) -> Path:
    if "/" in name or name.startswith("."):
        path = Path(name) if beside is None else beside / name
        try:
            if stat.S_ISDIR(path.stat().st_mode):
                path = path / "variant.toml"
            if stat.S_ISREG(path.stat().st_mode):
                return path.resolve()
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            raise UserError(f"cannot be read: {error.strerror}", where=str(path)) from error
        raise UserError(
            "no variant there", where=str(path), hint="make one with: bulkhead new NAME"
        )
    for path in (
        variants_dir() / name / "variant.toml",
        variants_dir() / "shared" / f"{name}.toml",
    ):
        if path.is_file():
            return path
    known = names()
    hint = suggest.hint(name, known) or f"known: {', '.join(known)}; a path needs a slash: ./{name}"
    raise UserError(f"there is no variant {name!r}", hint=hint)


def _collect(path: Path, chain: list[tuple[Path, Variant]], above: tuple[Path, ...]) -> None:
    if path in above:
        circle = " → ".join(
            p.parent.name if p.name == "variant.toml" else p.stem for p in (*above, path)
        )
        raise UserError(f"variants inherit in a circle: {circle}", where=str(path))
    if any(path == done for done, _ in chain):
        return
    variant = read(path)
    for parent in variant.inherit:
        _collect(_find(parent, beside=path.parent), chain, (*above, path))
    chain.append((path, variant))


def read(path: Path) -> Variant:
    """Read one file, without what it inherits.

    Raises:
        UserError: unreadable, not TOML, or a key that is unknown or has a
            wrong value; with file and line.
    """
    return tomlfile.read(path, Variant)


def _absolute(variant: Variant, base: Path) -> Variant:
    repositories = tuple(
        msgspec.structs.replace(
            repository,
            # A name without a slash is one of the keys that Bulkhead carries.
            keys=tuple(str((base / k).resolve()) if "/" in k else k for k in repository.keys),
            location=_absolute_location(repository, base),
        )
        for repository in variant.repositories
    )
    return msgspec.structs.replace(
        variant,
        repositories=repositories,
        rootfs=tuple(_absolute_item(item, base) for item in variant.rootfs),
        settings_groups=tuple(
            _absolute_item(g, base) if "/" in g else g for g in variant.settings_groups
        ),
        preload=tuple(_absolute_item(p, base) if "/" in p else p for p in variant.preload),
    )


def _absolute_item(item: str, base: Path) -> str:
    """Return a path of a list as an absolute one; `-PATH` takes PATH of a parent away."""
    minus = "-" if item.startswith("-") else ""
    return f"{minus}{(base / item.removeprefix('-')).resolve()}"


def _absolute_location(repository: Repository, base: Path) -> str:
    if repository.location.startswith(DIRECTORY_PREFIX):
        folder = repository.location.removeprefix(DIRECTORY_PREFIX)
        return f"{DIRECTORY_PREFIX}{(base / folder).resolve()}"
    return repository.location


def _join(parent: dict[str, object], child: object, path: Path) -> dict[str, object]:
    """Add a child's values to a parent's; `-item` in a list takes the parent's item away."""
    assert isinstance(child, dict)
    result = dict(parent)
    for key, value in child.items():
        old = result.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            result[key] = _join(old, value, path)
        elif isinstance(value, list | tuple):
            result[key] = _join_lists(
                list(old) if isinstance(old, list | tuple) else [], list(value), path
            )
        elif value is not None or key not in result:
            result[key] = value
    return result


def _join_lists(old: list[object], new: list[object], path: Path) -> list[object]:
    result = list(old)
    for item in new:
        if isinstance(item, str) and item.startswith("-"):
            if item[1:] not in result:
                known = [known for known in result if isinstance(known, str)]
                raise UserError(
                    f"{item!r} takes away what no parent has", where=str(path),
                    hint=suggest.hint(item[1:], known),
                )  # fmt: skip
            result.remove(item[1:])
        elif item not in result:
            result.append(item)
    return result
