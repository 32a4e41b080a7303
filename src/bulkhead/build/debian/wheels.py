"""Python wheels as locked files: `pypi:NAME/VERSION/FILENAME`, looked up in pip's own index.

A lock names no server, and neither does this module: which index a machine
uses is in pip's configuration.
"""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urldefrag, urljoin

import msgspec

from bulkhead.build.debian.transport import Transport
from bulkhead.lib.decoding import decode_json
from bulkhead.model.errors import RemoteError, UserError

PREFIX = "pypi:"
JSON = "application/vnd.pypi.simple.v1+json"
LIMIT = 64 << 20


class _File(msgspec.Struct):
    filename: str
    url: str


class _Project(msgspec.Struct):
    files: list[_File]


def urls(reference: str, transport: Transport) -> Iterator[str]:
    """Yield the address of a wheel.

    Raises:
        UserError: `reference` is malformed, or this machine has no index configured.
        RemoteError: the index cannot be reached, or does not speak JSON (PEP 691).
    """
    parts = reference.removeprefix(PREFIX).split("/")
    if len(parts) != 3 or not all(parts):
        raise UserError("is not of the form pypi:NAME/VERSION/FILENAME", where=reference)
    name = re.sub(r"[-_.]+", "-", parts[0]).lower()
    page = f"{index()}/{name}/"
    try:
        project = decode_json(transport.get(page, limit=LIMIT, accept=JSON), _Project)
    except msgspec.DecodeError as error:
        raise RemoteError(
            f"is no package index with JSON (PEP 691): {error}", where=page
        ) from error
    for file in project.files:
        if file.filename == parts[2]:
            yield _address(page, file.url)


def _address(page: str, link: str) -> str:
    try:
        return urldefrag(urljoin(page, link)).url
    except ValueError as error:
        raise RemoteError(f"has {link[:200]!r}, no web address: {error}", where=page) from error


def index(environment: Mapping[str, str] | None = None, home: Path | None = None) -> str:
    """Return the address of the index that pip uses, without a trailing slash.

    Raises:
        UserError: none is configured.
    """
    variables = os.environ if environment is None else environment
    if own := variables.get("PIP_INDEX_URL"):
        return own.rstrip("/")
    folder = home or Path.home()
    # As pip reads them: each file overrides those before it.
    files = [
        Path("/etc/xdg/pip/pip.conf"),
        Path("/etc/pip.conf"),
        folder / ".pip" / "pip.conf",
        Path(variables.get("XDG_CONFIG_HOME", folder / ".config")) / "pip" / "pip.conf",
        *([Path(variables["PIP_CONFIG_FILE"])] if "PIP_CONFIG_FILE" in variables else []),
    ]
    parser = configparser.RawConfigParser()
    try:
        parser.read(files)
    except (configparser.Error, UnicodeDecodeError) as error:
        raise UserError(f"pip's configuration cannot be read: {error}") from error
    for section in ("download", "install", "global"):
        if found := parser.get(section, "index-url", fallback=None):
            return found.rstrip("/")
    raise UserError(
        "no index of Python packages is configured on this machine",
        hint="set PIP_INDEX_URL, or index-url in pip's configuration",
    )
