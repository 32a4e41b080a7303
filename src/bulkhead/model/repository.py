"""Where packages come from: apt repositories, local directories, and what is preferred."""

from __future__ import annotations

import msgspec

DIRECTORY_PREFIX = "dir:"

MIRRORED = ("debian", "debian-security")
"""Locations that are roles, not addresses: the machine decides which mirror plays them."""


class Repository(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One source of packages.

    Its name goes into locks; its address never does.
    """

    name: str
    """By which locks and pins know it."""
    location: str
    """A role (`debian`, `debian-security`), an URL, or `dir:PATH` for a directory of .deb files."""
    suites: tuple[str, ...] = ()
    """Such as `trixie`; one that ends in `/` is a flat repository. None for a directory."""
    components: tuple[str, ...] = ("main",)
    """Parts of each suite, such as `non-free-firmware`; `main` without it."""
    keys: tuple[str, ...] = ()
    """OpenPGP certificates that may sign it: paths with a slash, or names in `image/keys`.
    Suites are accepted when any of them signed."""
    priority: int = 500
    """As in apt_preferences(5); the repository's own `NotAutomatic` lowers the default."""


class Pin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Prefer or forbid some versions, as in apt_preferences(5).

    A higher priority wins over a higher version. A negative one forbids.
    When several pins match a version, the one that names the package
    literally wins over one with a pattern, then the first.
    """

    packages: tuple[str, ...]
    """Names or shell patterns such as `linux-image-*`."""
    priority: int
    """Of the versions that match, instead of their repository's."""
    suite: str | None = None
    """Only versions of this suite, by its name or codename."""
    repository: str | None = None
    """Only versions of the repository with this name."""
    version: str | None = None
    """A version or a shell pattern such as `257.*`."""


DEBIAN_KEYS = (
    "debian-archive-trixie-automatic.gpg",
    "debian-archive-trixie-stable.gpg",
)


def debian(*, backports: bool = False) -> tuple[Repository, ...]:
    """Return Debian 13 with its updates and security fixes.

    Args:
        backports: also offer trixie-backports, which nothing comes from
            unless a request or a pin asks for it.
    """
    suites = ("trixie", "trixie-updates", *(("trixie-backports",) if backports else ()))
    return (
        Repository(name="debian", location="debian", suites=suites, keys=DEBIAN_KEYS),
        Repository(
            name="debian-security",
            location="debian-security",
            suites=("trixie-security",),
            keys=("debian-archive-trixie-security-automatic.gpg",),
        ),
    )
