"""The message that a person sees who looks at the node: `/etc/motd`."""

from __future__ import annotations

Model = str
