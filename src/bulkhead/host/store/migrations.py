"""How settings change their form from one version of Bulkhead to another, and back.

Each change that an older image would not understand is one step. A commit
holds the settings in the form of the image that wrote it and of every older
schema it knows the way back to, so an older image, which knows nothing of
what came after it, finds a form that it can read.

A group of settings that a variant brings along has a chain of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from bulkhead.model.settings.keys import Key, Settings, flatten, parse, unflatten
from bulkhead.model.settings.own import Migration as Step
from bulkhead.model.settings.own import OwnGroup


class Migration(msgspec.Struct, frozen=True):
    """One step between two schemas. Both functions are pure and take any partial tree."""

    forward: Callable[[Settings], Settings]
    backward: Callable[[Settings], Settings]


class Chain(msgspec.Struct, frozen=True):
    """All steps from the oldest schema that is still supported to the present one."""

    steps: tuple[Migration, ...] = ()
    oldest: int = 1

    @property
    def schema(self) -> int:
        """The schema of this image."""
        return self.oldest + len(self.steps)

    def forward(self, settings: Settings, schema: int) -> Settings:
        """Bring settings of an older schema to the present one."""
        for step in self.steps[schema - self.oldest :]:
            settings = step.forward(settings)
        return settings

    def versions(self, settings: Settings) -> dict[int, Settings]:
        """Return settings of the present schema in the form of this and each older one."""
        found = {self.schema: settings}
        for schema in range(self.schema - 1, self.oldest - 1, -1):
            settings = self.steps[schema - self.oldest].backward(settings)
            found[schema] = settings
        return found


class Schemas(msgspec.Struct, frozen=True):
    """The chains of an image: one of Bulkhead's own settings, one of each of the variant's groups."""

    core: Chain = Chain()
    groups: Mapping[str, Chain] = {}


CORE = Chain(steps=())
"""Of Bulkhead's settings. A change of their form appends a step; steps are never changed."""
SCHEMAS = Schemas(core=CORE)
"""Of an image whose variant has no groups of its own."""


def moved(*, renamed: Mapping[Key, Key] | None = None, added: tuple[Key, ...] = ()) -> Migration:
    """Return the step for keys that get another name and keys that are new.

    Args:
        renamed: the new name by the old one, each with everything below it.
        added: keys that the older schema does not have; the way back leaves them out.
    """
    there = dict(renamed or {})
    back = {new: old for old, new in there.items()}
    return Migration(
        forward=lambda settings: _rename(settings, there),
        backward=lambda settings: _rename(settings, back, without=added),
    )


def of_groups(groups: Mapping[str, OwnGroup]) -> Schemas:
    """Return the chains of an image whose variant has these groups of its own."""
    chains = {
        name: Chain(steps=tuple(_of_group(name, step) for step in group.migrations))
        for name, group in groups.items()
    }
    return Schemas(core=CORE, groups=chains)


def _of_group(name: str, step: Step) -> Migration:
    return moved(
        renamed={(name, *parse(old)): (name, *parse(new)) for old, new in step.renamed.items()},
        added=tuple((name, *parse(key)) for key in step.added),
    )


def _rename(
    settings: Settings, names: Mapping[Key, Key], *, without: tuple[Key, ...] = ()
) -> Settings:
    leaves: dict[Key, object] = {}
    for key, value in flatten(settings).items():
        if any(key[: len(gone)] == gone for gone in without):
            continue
        old = next((old for old in names if key[: len(old)] == old), ())
        leaves[names[old] + key[len(old) :] if old else key] = value
    return unflatten(leaves)
