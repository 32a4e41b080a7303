r"""The kinds of values that settings have, with what they accept and how errors call them.

Rules that a pattern can say are patterns, so that the JSON Schema has them
too; `$(?!\n)` is the end of the text, where a `$` alone would also match
before a last newline. What needs more than a pattern is a function that gets
the text and says whether it is right.

Every text that a renderer may write into a file of lines is one line: whoever
may set a value must not be able to add a line to somebody else's file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Literal, get_args, get_origin

import msgspec
from msgspec import Meta

from bulkhead.model.errors import UserError


class Table(
    msgspec.Struct,
    frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True, omit_defaults=True,
):  # fmt: skip
    """A table of settings. An unset field is None here and absent in the data."""


def rule(
    says: str, *, check: Callable[[str], bool] | None = None, pattern: str | None = None,
    longest: int | None = None, schema: dict[str, object] | None = None,
) -> Meta:  # fmt: skip
    """Return what a text has to be like.

    Args:
        says: what errors and the reference call it, as in "expected …".
        check: tells whether a text that matches the pattern is right.
        pattern: of the whole text.
        longest: in characters.
        schema: added to its JSON Schema.
    """
    return Meta(
        pattern=None if pattern is None else rf"^(?:{pattern})$(?!\n)",
        max_length=longest,
        extra={"says": says, "check": check},
        extra_json_schema=schema,
    )


def whole(low: int, high: int) -> Meta:
    """Return the rule of a whole number within bounds, both included."""
    return Meta(ge=low, le=high)


def only(names: object) -> Meta:
    """Say in the JSON Schema which names a table has.

    msgspec forgets those of a Literal, and before 0.20 those with a rule of ours.
    """
    if get_origin(names) is Literal:
        return Meta(extra_json_schema={"propertyNames": {"enum": sorted(get_args(names))}})
    said: dict[str, object] = {}
    for meta in get_args(names)[1:]:
        rules = {
            "pattern": meta.pattern,
            "minLength": meta.min_length,
            "maxLength": meta.max_length,
        }
        said |= {name: value for name, value in rules.items() if value is not None}
        said |= meta.extra_json_schema or {}
    return Meta(extra_json_schema={"propertyNames": said})


SECRET = Meta(extra={"secret": True}, extra_json_schema={"writeOnly": True})
"""Marks a field whose value is never shown: not in history, plans, reports, logs or errors."""

NEEDED = Meta(extra={"needed": True})
"""Marks a field without which its table means nothing, once all that is set is known."""

MANY = Meta(extra={"many": True})
"""Marks a list that may be written as its only item; it always becomes a list."""


def _octets(text: str) -> bytes | None:
    import binascii

    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except (binascii.Error, ValueError):
        return None


_LINE = r"[^\x00-\x08\x0a-\x1f\x7f\x85\u2028\u2029]*"


def is_line(text: str) -> bool:
    """Tell whether a text is one line, without NUL and its like."""
    return re.fullmatch(_LINE, text) is not None


def is_base64(text: str) -> bool:
    """Tell whether a text is base64 without anything else in it."""
    return _octets(text) is not None


def is_certificates(text: str) -> bool:
    """Tell whether a text is base64 of PEM with certificates that can be read, or empty."""
    octets = _octets(text)
    if octets is None:
        return False
    if not octets:
        return True
    import ssl  # 10 ms; only when there are certificates

    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=octets.decode("ascii"))
    except (ssl.SSLError, ValueError):
        return False
    return context.cert_store_stats()["x509"] > 0


def is_address(text: str) -> bool:
    """Tell whether a text is an IPv4 or IPv6 address, without a zone."""
    import ipaddress

    try:
        # A zone ("%eth0") may hold any characters, and no setting needs one.
        return "%" not in text and bool(ipaddress.ip_address(text))
    except ValueError:
        return False


def is_network(text: str) -> bool:
    """Tell whether a text is an address with a prefix length, as in 192.0.2.7/24."""
    import ipaddress

    address, slash, length = text.partition("/")
    try:
        return (
            "%" not in address
            and re.fullmatch(r"\d{1,3}", length, re.ASCII) is not None
            and bool(slash and ipaddress.ip_interface(text))
        )
    except ValueError:
        return False


def is_url(text: str) -> bool:
    """Tell whether a text is an absolute URL, perhaps without its scheme."""
    from urllib.parse import urlsplit

    if re.search(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029\"\\]", text):
        return False
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    return bool(parts.scheme and host)


def is_image(text: str) -> bool:
    """Tell whether a text names a container image."""
    from bulkhead.model.reference import normalize

    try:
        return len(text) <= 255 and bool(normalize(text))
    except UserError:
        return False


_LABEL = r"[0-9a-z](?:[0-9a-z-]{0,61}[0-9a-z])?"
_WIDE_LABEL = r"[0-9A-Za-z_](?:[0-9A-Za-z_-]{0,61}[0-9A-Za-z_])?"
SEMVER = r"(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*)){2}(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?"

# Without line ends as Unicode has them, and NUL and its like, which no file of settings can hold.
SingleLine = Annotated[str, rule("one line of text", pattern=_LINE)]
Identifier = Annotated[
    str, rule("letters, digits and dashes, at most 76 of them", pattern=r"[A-Za-z0-9-]{1,76}")
]
Hostname = Annotated[
    str,
    rule(
        "a host name of small letters, digits, dashes and dots",
        pattern=rf"{_LABEL}(?:\.{_LABEL})*",
        longest=253,
    ),
]
Domain = Annotated[
    str,
    rule(
        "a domain name",
        pattern=rf"{_WIDE_LABEL}(?:\.{_WIDE_LABEL})*\.?|\.",
        longest=254,
    ),
]
IpAddress = Annotated[
    str,
    rule(
        "an IPv4 or IPv6 address",
        check=is_address,
        schema={"anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]},
    ),
]
IpNetwork = Annotated[
    str, rule("an address with a prefix length, as in 192.0.2.7/24", check=is_network)
]
Url = Annotated[str, rule("a URL", check=is_url)]
Base64 = Annotated[str, rule("base64", check=is_base64, schema={"contentEncoding": "base64"})]
Certificates = Annotated[
    str,
    rule(
        "base64 of one or more certificates in PEM form",
        check=is_certificates,
        schema={"contentEncoding": "base64"},
    ),
]
SysctlKey = Annotated[
    str,
    rule("the name of a kernel parameter, as in vm.swappiness",
         pattern=r"(?![./-])(?!.*(?:\.\.|//))[a-zA-Z0-9./_-]{1,128}"),
]  # fmt: skip
ModuleName = Annotated[
    str, rule("the name of a kernel module, at most 56 characters", pattern=r"[A-Za-z0-9_-]{1,56}")
]
BootConfigKey = Annotated[
    str,
    rule("words of letters, digits, dashes and underscores with dots between them",
         pattern=r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*"),
]  # fmt: skip
BootConfigValue = Annotated[
    str,
    rule(
        "printable ASCII without both kinds of quotes",
        pattern=r"[\x20\x21\x23-\x7e]*|[\x20-\x26\x28-\x7e]*",
    ),
]
InterfaceName = Annotated[
    str,
    rule("the name of a network interface, at most 15 characters",
         pattern=r"(?!\.{1,2}$)(?!(?:all|default|lo)$)[A-Za-z0-9_.-]{1,15}"),
]  # fmt: skip
MacAddress = Annotated[
    str,
    rule("a MAC address, as in 52:54:00:12:34:56", pattern=r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}"),
]
Duration = Annotated[
    str,
    rule("a length of time, as in 30s or 1h5m",
         pattern=r"0|(?:[0-9]{1,9}(?:\.[0-9]{1,9})?(?:ns|us|µs|ms|s|m|h)){1,8}"),
]  # fmt: skip
ImageName = Annotated[
    str, rule("the name of a container image, as in registry.example.com/tool:1.2", check=is_image)
]
