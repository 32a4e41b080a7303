"""What Debian packages say about their licences, as SPDX expressions.

Debian's machine-readable copyright files (DEP-5) name a licence for each
group of files by short names of their own; the ones that are common and
unambiguous are translated. Anything else becomes a `LicenseRef-`, which says
"read the copyright file" rather than guess.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from bulkhead.build.tree import Kind, Tree

# Debian's short name (without a version suffix) or whole name: SPDX identifier.
_NAMES = {
    "0bsd": "0BSD",
    "apache-2": "Apache-2.0",
    "apache-2.0": "Apache-2.0",
    "artistic": "Artistic-1.0-Perl",
    "bsd-2-clause": "BSD-2-Clause",
    "bsd-2-clauses": "BSD-2-Clause",
    "bsd-3-clause": "BSD-3-Clause",
    "bsd-3-clauses": "BSD-3-Clause",
    "bsd-4-clause": "BSD-4-Clause",
    "bsl-1.0": "BSL-1.0",
    "cc0-1.0": "CC0-1.0",
    "expat": "MIT",
    "isc": "ISC",
    "mit": "MIT",
    "mpl-1.1": "MPL-1.1",
    "mpl-2.0": "MPL-2.0",
    "openssl": "OpenSSL",
    "psf-2": "PSF-2.0",
    "python-2.0": "Python-2.0",
    "unicode-3.0": "Unicode-3.0",
    "unlicense": "Unlicense",
    "zlib": "Zlib",
}
_GNU = re.compile(r"^(a?gpl|lgpl|gfdl)-?v?(\d(?:\.\d)?)(\+|-only|-or-later)?$")
_GNU_VERSIONS = {"1": "1.0", "2": "2.0", "3": "3.0"}


def declared(packages: Mapping[str, Tree]) -> dict[str, str]:
    """Return the SPDX expression of the licences of each package, where it is known.

    Missing are packages whose copyright file is not machine-readable.

    Args:
        packages: unpacked packages with their documentation, by name. Packages of
            one source may share a file, so give all of them at once.
    """
    documents = Tree()
    for tree in packages.values():
        for path, entry in tree.items():
            is_link = entry.kind is Kind.SYMLINK
            if path.startswith("usr/share/doc/") and (is_link or path.endswith("/copyright")):
                documents.put(path, entry)
    found = {}
    for name in packages:
        place = documents.resolve(f"usr/share/doc/{name}/copyright")
        document = documents.get(place) if place is not None else None
        if document is not None and document.kind is Kind.FILE:
            text = document.read().decode(errors="replace")
            if (licence := expression(text)) is not None:
                found[name] = licence
    return found


def expression(copyright_file: str) -> str | None:
    """Return the SPDX expression of a DEP-5 file: all of its licences joined by AND.

    Only the licences of `Files` paragraphs count: further `License` paragraphs
    just hold the texts, and the licence of Debian's own packaging files
    (`debian/*`) is not that of what is installed.
    """
    if "Format:" not in copyright_file[:400]:
        return None
    found: set[str] = set()
    for paragraph in re.split(r"\n\s*\n", copyright_file):
        fields = _fields(paragraph)
        files = fields.get("files")
        if files is not None and "license" in fields and not _only_packaging(files):
            found.add(_expression(fields["license"].partition("\n")[0]))
    found.discard("")
    parts = sorted(f"({part})" if " OR " in part and len(found) > 1 else part for part in found)
    return " AND ".join(parts) or None


def _only_packaging(files: str) -> bool:
    return all(pattern.startswith("debian/") for pattern in files.split())


def _fields(paragraph: str) -> Mapping[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in paragraph.splitlines():
        if line[:1].isspace():
            if name:
                fields[name] += "\n" + line.strip()
        elif ":" in line:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = value.strip()
    return fields


def _expression(names: str) -> str:
    """Translate `GPL-2+ or Expat` and the like."""
    alternatives = []
    for alternative in re.split(r"\s*,?\s+or\s+", names, flags=re.IGNORECASE):
        parts = re.split(r"\s*,?\s+and\s+", alternative, flags=re.IGNORECASE)
        alternatives.append(" AND ".join(_name(part) for part in parts if part.strip(" ,")))
    alternatives = [part for part in dict.fromkeys(alternatives) if part]
    if len(alternatives) > 1:
        alternatives = [f"({part})" if " AND " in part else part for part in alternatives]
    return " OR ".join(alternatives)


def _name(name: str) -> str:
    plain = name.strip(" ,").lower()
    if known := _NAMES.get(plain):
        return known
    if match := _GNU.match(plain):
        family, version, later = match.groups()
        suffix = "or-later" if later in ("+", "-or-later") else "only"
        return f"{family.upper()}-{_GNU_VERSIONS.get(version, version)}-{suffix}"
    return "LicenseRef-" + (
        re.sub(r"[^A-Za-z0-9.-]+", "-", name.strip(" ,")).strip("-") or "unnamed"
    )
