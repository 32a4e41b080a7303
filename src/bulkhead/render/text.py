"""Writing values into files of other programs' formats, so that a value stays a value.

Settings are validated before they come here. These functions refuse what
could still begin a new line or section: whoever may set one setting must not
be able to write all of a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from bulkhead.render.service import RenderError

# Line ends of any format (also Unicode's, which some programs split at), and control characters but
# the tab, none of which a setting has a use for.
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]")
HEAD = "# Made from the node's settings; changes are overwritten.\n"


def line(value: object, key: str) -> str:
    """Return a value as text that stays on its line.

    Raises:
        RenderError: it has control characters.
    """
    text = str(value)
    if found := _CONTROL.search(text):
        raise RenderError(
            f"has the character U+{ord(found[0]):04X}, which cannot be in one line",
            where=f"settings.{key}",
        )
    return text


def word(value: object, key: str) -> str:
    """Return a value as text without spaces, quotes or backslashes.

    Raises:
        RenderError: it has them, or is empty.
    """
    text = line(value, key)
    if not text or re.search(r"""[\s"'\\#;]""", text):
        raise RenderError(f"expected one word, got {text!r}", where=f"settings.{key}")
    return text


def url(value: object, key: str) -> str:
    """Return a value as text without spaces, quotes or backslashes; a URL may have a `#`.

    Raises:
        RenderError: it has them, or is empty.
    """
    text = line(value, key)
    if not text or re.search(r"""[\s"'\\]""", text):
        raise RenderError(f"expected a URL, got {text!r}", where=f"settings.{key}")
    return text


def words(values: Iterable[object], key: str) -> str:
    """Return several words with spaces between them."""
    return " ".join(word(value, key) for value in values)


def environment(name: str, value: object, key: str) -> str:
    """Return a line for `EnvironmentFile=` (systemd.exec(5)): quoted, so that nothing is special."""
    escaped = re.sub(r'(["\\`$])', r"\\\1", line(value, key))
    return f'{name}="{escaped}"\n'


def toml_string(value: object, key: str) -> str:
    """Return a basic string of TOML."""
    escaped = re.sub(r'(["\\])', r"\\\1", line(value, key))
    return f'"{escaped}"'
