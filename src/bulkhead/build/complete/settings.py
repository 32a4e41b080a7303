"""Puts the variant's default settings into the image's `/etc`, as a node would.

So a machine without settings of its own has nothing to do for them at boot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bulkhead.build.tree import Tree, file
from bulkhead.model.errors import UserError
from bulkhead.render import services
from bulkhead.render.service import Service

BASES = "usr/share/bulkhead"
"""What rendered files are made from, see `render.service.File.base`."""


def write(
    tree: Tree,
    settings: Mapping[str, object],
    known: Sequence[Service] = services.SERVICES,
) -> None:
    """Put the files of all `known` services into the tree, over what is there.

    Raises:
        UserError: a setting cannot be rendered, or the image lacks what a file is made from.
    """
    for item in services.render(settings, known):
        data = item.data
        if item.base is not None:
            entry = tree.get(f"{BASES}/{item.base}")
            if entry is None:
                if data:
                    raise UserError(f"the image has no {item.base}", where=item.path)
                continue
            # Without additions it is the same file, which takes no space twice.
            data = entry.read() + data
        tree.put(item.path, file(data, mode=item.mode))
