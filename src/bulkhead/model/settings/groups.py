"""The groups of settings that a variant has, and everything that is asked of them.

The module of a group is imported when its first setting is looked at: a node
loads what its variant has, and of that only what is set. The module of group
`a-b` is `a_b` beside this one; it has `Model`, the declared type, and may
have `check(model, *, complete)` for rules that concern several values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from typing import Protocol

import msgspec

from bulkhead.model.errors import UserError
from bulkhead.model.settings import check as checking
from bulkhead.model.settings import declared, keys
from bulkhead.model.settings.check import HIDDEN, SettingsError
from bulkhead.model.settings.declared import Type
from bulkhead.model.settings.keys import Key, Settings

__all__ = ["GENERAL", "HIDDEN", "Groups", "SettingsError"]

GENERAL = (
    "boot", "bootstrap-commands", "bootstrap-containers", "container-registry",
    "container-runtime", "dns", "ecs", "firewall", "host-containers", "kernel", "kubernetes",
    "metrics", "motd", "network", "ntp", "oci-defaults", "pki", "updates",
)  # fmt: skip
"""All groups that Bulkhead knows by itself."""


class _Check(Protocol):
    def __call__(self, model: object, /, *, complete: bool) -> None: ...


class Group(msgspec.Struct, frozen=True):
    """One group: its name, what it may hold, and the rules that concern several of its values."""

    name: str
    kind: Type
    check: _Check | None = None


def general(name: str) -> Group:
    """Return one of Bulkhead's own groups."""
    module = import_module(f"{__package__}.{name.replace('-', '_')}")
    return Group(name, Type(module.Model), getattr(module, "check", None))


class Groups:
    """What may be set on a node of one variant.

    Args:
        names: of its groups.
        own: makes each group that the variant brings along itself.

    Raises:
        UserError: there is no such group, or the variant's own one takes the
            name of one of Bulkhead's.
    """

    def __init__(
        self, names: Iterable[str], own: Mapping[str, Callable[[], Group]] | None = None
    ) -> None:
        self._own = dict(own or {})
        self.names = tuple(sorted({*names, *self._own}))
        self._loaded: dict[str, Group] = {}
        for name in self.names:
            if name in self._own and name in (*GENERAL, "settings"):
                raise UserError(
                    f"a group of a variant cannot be called {name!r}; the name is taken"
                )
            if name not in self._own and name not in GENERAL:
                raise UserError(
                    f"there is no group of settings {name!r}",
                    hint=checking.suggest(name, (*GENERAL, *self._own)),
                )

    def check(self, settings: Settings, *, complete: bool = False) -> Settings:
        """Return settings in their normal form: the same ones are always the same data.

        Args:
            settings: plain data from outside; a part of a tree will do.
            complete: nothing more will be joined to it, so that what a table
                cannot do without has to be there too.

        Raises:
            SettingsError: the first setting that is unknown or wrong.
        """
        result: Settings = {}
        for name, value in settings.items():
            group = self.group(name)
            checked = checking.check(value, group.kind, (name,), complete=complete)
            if group.check is not None:
                group.check(msgspec.convert(checked, group.kind.declared), complete=complete)
            result[name] = checked
        return keys.unflatten(keys.flatten(result))

    def is_secret(self, key: Key) -> bool:
        """Tell whether what is at a key may not be shown; yes for what is not known."""
        kind = self._find(key)
        return kind is None or kind.holds_secrets()

    def redact(self, settings: Settings) -> Settings:
        """Return a copy that can be shown: secrets and whatever is not known are `HIDDEN`."""
        return {
            name: checking.redact(value, self._find((name,))) for name, value in settings.items()
        }

    def secrets(self, settings: Settings) -> set[str]:
        """Return every text in settings that must not be shown, for looking through other text."""
        return {
            text
            for name, value in settings.items()
            for text in checking.secrets(value, self._find((name,)))
            if text
        }

    def guess(self, key: Key, text: str) -> object:
        """Return what a text means as the value of a key.

        By the declared type where the key is known; otherwise, as Bottlerocket
        guesses, the first that fits of boolean, whole number, number, text.
        Lists and tables are written in JSON.
        """
        kind = self._find(key)
        return _guess(text) if kind is None else _read(text, kind)

    def require(self, key: Key) -> None:
        """Check that a key names a setting, or what settings are in.

        Raises:
            SettingsError: it names none; the hint is the nearest that does.
        """
        checking.check_key(self.kind(key[0]), key)

    def known(self) -> Iterator[tuple[Key, Type]]:
        """Yield every key with its type; `<name>` stands for names that are free."""
        for name in self.names:
            yield from declared.walk(self.kind(name), (name,))

    def kind(self, name: str) -> Type:
        """Return the declared type of a group."""
        return self.group(name).kind

    def json_schema(self) -> dict[str, object]:
        """Return the JSON Schema (2020-12) of complete settings.

        It says what patterns and bounds can say; `check` knows more. Words are
        in it only where the source's docstrings are at hand, which on a node
        they are not.
        """
        from bulkhead.model.settings import schema  # asked for by people and tools, rarely

        return schema.of({name: self.kind(name) for name in self.names})

    def group(self, name: str) -> Group:
        """Return a group, which is imported for that.

        Raises:
            SettingsError: the variant has no such group.
        """
        if name not in self._loaded:
            if name not in self.names:
                if name in GENERAL:
                    hint = f"it has: {', '.join(self.names)}"
                    raise SettingsError((name,), "this variant has no such settings", hint=hint)
                raise SettingsError(
                    (name,), "there is no such setting", hint=checking.suggest(name, self.names)
                )
            self._loaded[name] = self._own[name]() if name in self._own else general(name)
        return self._loaded[name]

    def _find(self, key: Key) -> Type | None:
        if not key or key[0] not in self.names:
            return None
        kind: Type | None = self.kind(key[0])
        for name in key[1:]:
            kind = None if kind is None else kind.inside(name)
        return kind


def _read(text: str, kind: Type) -> object:
    shapes = {choice.shape for choice in kind.choices}
    if (shapes & {"list", "table"} and text.lstrip()[:1] in ("[", "{")) or "text" not in shapes:
        try:
            return msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return text
    return text


def _guess(text: str) -> object:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        if text.isascii() and "_" not in text and text == text.strip():
            if isinstance(number, int) and text.isdigit() and number < 2**64:
                return number
            if isinstance(number, float) and abs(number) < float("inf"):
                return number
    return text
