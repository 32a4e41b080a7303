"""Settings as hypothesis makes them: any that their declared types allow."""

from __future__ import annotations

import re
from typing import Literal, get_args, get_origin

from hypothesis import strategies as st

from bulkhead.model.settings import declared
from bulkhead.model.settings.declared import Type
from bulkhead.model.settings.groups import Groups
from bulkhead.model.settings.keys import Settings

# For rules that are functions: values of every form that they take.
SAMPLES = {
    "an IPv4 or IPv6 address": ["192.0.2.7", "2001:db8::7", "::"],
    "an address with a prefix length, as in 192.0.2.7/24": ["192.0.2.7/24", "2001:db8::/32"],
    "a URL that starts with https:// or http:// and has no user in it": [
        "https://metrics.example.com/v1?a=b",
        "http://[2001:db8::1]:8080",
    ],
    "a URL": ["https://example.com/a?b#c", "example.com:8080", "http://u:geheim@[2001:db8::1]/"],
    "the name of a container image, as in registry.example.com/tool:1.2": [
        "nginx",
        "registry.example.com:5000/a/b:1.2",
    ],
    "a range of ports, as in 8000-8100": ["1-1", "8000-8100"],
    "base64": ["", "YQ==", "aGVsbG8gd29ybGQ="],
    "base64 of one or more certificates in PEM form": [""],
    "the name or address of a time server": ["time.example.com", "2001:db8::123"],
}


def values(kind: Type) -> st.SearchStrategy[object]:
    """Return values that a type allows."""
    if len(kind.choices) > 1:
        return st.one_of(*(values(choice) for choice in kind.choices))
    arguments = get_args(kind.base)
    if declared.is_struct(kind.base):
        return _table(kind)
    if kind.shape == "table":
        return st.dictionaries(values(Type(arguments[0])), values(Type(arguments[1])), max_size=2)
    if kind.shape == "list":
        if arguments[-1] is Ellipsis:
            return st.lists(values(Type(arguments[0])), max_size=2)
        return st.tuples(*(values(Type(item)) for item in arguments)).map(list)
    return st.sampled_from(arguments) if get_origin(kind.base) is Literal else _single(kind)


def _table(kind: Type) -> st.SearchStrategy[object]:
    """Return tables with all that they need and a few of the other fields."""
    assert isinstance(kind.base, type)
    needed = declared.required(kind.base)
    inner = {name: values(field) for name, field in declared.fields(kind.base).items()}
    rest = [name for name in inner if name not in needed]
    some = st.lists(st.sampled_from(rest), max_size=3, unique=True) if rest else st.just([])
    return some.flatmap(
        lambda chosen: st.fixed_dictionaries({name: inner[name] for name in (*needed, *chosen)})
    )


def _single(kind: Type) -> st.SearchStrategy[object]:
    if kind.shape == "boolean":
        return st.booleans()
    low = next((meta.ge for meta in kind.metas if meta.ge is not None), None)
    high = next((meta.le for meta in kind.metas if meta.le is not None), None)
    if kind.shape == "integer":
        return st.integers(None if low is None else int(low), None if high is None else int(high))
    if kind.shape == "number":
        return st.floats(low, high, allow_nan=False, allow_infinity=False)
    says = declared.describe(kind)
    if says in SAMPLES:
        return st.sampled_from(SAMPLES[says])
    pattern = next((meta.pattern for meta in kind.metas if meta.pattern is not None), None)
    if pattern is None:
        return st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    made = st.from_regex(re.compile(pattern, re.ASCII), fullmatch=True)
    longest = next((meta.max_length for meta in kind.metas if meta.max_length), 1000)
    return made.filter(lambda text: len(text) <= longest)


def trees(groups: Groups) -> st.SearchStrategy[Settings]:
    """Return settings of one or two groups, right in every single value."""
    names = st.lists(st.sampled_from(groups.names), min_size=1, max_size=2, unique=True)
    return names.flatmap(
        lambda chosen: st.fixed_dictionaries({name: values(groups.kind(name)) for name in chosen})
    )
