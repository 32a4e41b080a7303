"""Figures beside a peer's, with the ratio: the only thing that travels between machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import NamedTuple


class Row(NamedTuple):
    """One figure of both."""

    what: str
    ours: float
    peer: float
    unit: str
    wanted: float | None = None
    """The largest ratio that counts as reached."""

    @property
    def ratio(self) -> float:
        """Ours divided by the peer's."""
        return self.ours / self.peer if self.peer else float("nan")


def show(title: str, peer: str, rows: Sequence[Row]) -> None:
    """Print figures as a table, or as JSON with `--json` on the command line."""
    if "--json" in sys.argv:
        print(json.dumps({"title": title, "peer": peer, "rows": [row._asdict() for row in rows]}))
        return
    print(f"{title}; peer: {peer}\n")
    print(f"{'':44}{'ours':>12}{'peer':>12}{'ratio':>8}  wanted")
    for row in rows:
        wanted = "" if row.wanted is None else f"≤ {row.wanted:g}"
        mark = "" if row.wanted is None or row.ratio <= row.wanted else "  MISSED"
        ours, peers = (f"{value:.1f} {row.unit}".strip() for value in (row.ours, row.peer))
        print(f"{row.what:44}{ours:>12}{peers:>12}{row.ratio:8.2f}  {wanted}{mark}")
    print()
