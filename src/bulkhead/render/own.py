"""Files of the groups of settings that a variant brings along: Jinja2 templates.

Jinja2 is imported when a template is filled, so a node without such groups
never loads it. A template comes with the image and is trusted; it runs in
Jinja2's sandbox all the same, because it has no business beyond text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from bulkhead.lib import groups
from bulkhead.model.settings.declared import Type, fields, is_struct
from bulkhead.model.settings.groups import Group
from bulkhead.model.settings.own import File as Described
from bulkhead.model.settings.own import OwnGroup
from bulkhead.render.service import File, RenderError, Service, Settings, Step
from bulkhead.render.services import SERVICES

if TYPE_CHECKING:
    from jinja2 import Environment

LARGEST = 1 << 20
"""Bytes of one file. More is a template that does not end."""


def service(
    name: str,
    described: OwnGroup,
    *,
    group: Callable[[], Group],
    template: Callable[[str], str],
) -> Service:
    """Return what a group concerns, like Bulkhead's own services.

    Args:
        name: of the group.
        described: its `group.toml`.
        group: gives its types, when they are needed.
        template: gives the text of a template by its file name, when it is needed.
    """
    return Service(
        name=name,
        keys=(name,),
        render=partial(_render, name, described, group, template),
        files={f"{name}-{item.path.rpartition('/')[2]}": item.path for item in described.files},
        steps=tuple(Step(verb=unit.action, unit=unit.unit) for unit in described.services),
    )


def shipped(directory: Path = groups.HERE) -> tuple[Service, ...]:
    """Return all services of an image, those of the variant's own groups among them.

    Raises:
        HostError: the image is incomplete.
    """
    found = groups.load(directory)
    made = [
        (
            service(
                name, described,
                group=partial(found.group, name),
                template=partial(groups.template, name, directory=directory),
            ),
            described,
        )
        for name, described in groups.own(directory).items()
    ]  # fmt: skip
    return placed(SERVICES, made)


def placed(
    known: Sequence[Service], own: Sequence[tuple[Service, OwnGroup]]
) -> tuple[Service, ...]:
    """Return all services in their order: an own one before those that it asks for, or last."""
    order = list(known)
    for item, described in own:
        places = [order.index(other) for other in order if other.name in described.before]
        order.insert(min(places, default=len(order)), item)
    return tuple(order)


def _render(
    name: str,
    described: OwnGroup,
    group: Callable[[], Group],
    template: Callable[[str], str],
    settings: Settings,
) -> tuple[File, ...]:
    if name not in settings:
        return ()
    kind = group().kind
    values = variables(settings[name], kind)
    context = values if isinstance(values, dict) else {"value": values}
    secret = kind.holds_secrets()
    return tuple(
        File(
            path=item.path, mode=int(item.mode, 8), secret=secret,
            data=_fill(name, item, template(item.template), {**context, "settings": settings}),
        )
        for item in described.files
    )  # fmt: skip


def variables(value: object, kind: Type) -> object:
    """Return settings as a template sees them: `_` for `-`, and None for what is unset."""
    if isinstance(value, list | tuple):
        lists = next((choice for choice in kind.choices if choice.shape == "list"), kind)
        return [variables(item, lists.item(index) or kind) for index, item in enumerate(value)]
    if not isinstance(value, Mapping):
        return value
    table = next((choice for choice in kind.choices if choice.shape == "table"), kind)
    names = fields(table.base) if is_struct(table.base) else dict.fromkeys(value)
    found: dict[str, object] = {}
    for name in names:
        inner = kind.inside(name)
        seen = name.replace("-", "_") if is_struct(table.base) else name
        found[seen] = variables(value[name], inner) if inner and name in value else None
    return found


def _fill(name: str, item: Described, text: str, context: Mapping[str, object]) -> bytes:
    try:
        parts: list[bytes] = []
        size = 0
        for part in _environment().from_string(text).generate(context):
            parts.append(part.encode())
            size += len(parts[-1])
            if size > LARGEST:
                raise ValueError(f"makes more than {LARGEST} bytes")
        return b"".join(parts)
    except Exception as error:  # a template can raise whatever Python can
        line = getattr(error, "lineno", None)
        at = f" line {line}" if line else ""
        raise RenderError(
            f"the template {item.template}{at} cannot be filled: {error}",
            where=f"settings.{name}", hint=f"it makes {item.path}; look at the variant's own group",
        ) from error  # fmt: skip


@cache
def _environment() -> Environment:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    return ImmutableSandboxedEnvironment(
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # Files of settings are no HTML.
        autoescape=False,
    )
