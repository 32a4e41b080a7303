"""Many clients of the node's API at once, and a disk that is full."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.api import Api

CLIENTS = 20
EACH = 50


def settings_of(client: int, number: int) -> dict[str, object]:
    """Return what one transaction sets: three values that belong together, and one of its own."""
    return {
        "motd": f"{client}/{number}",
        "network": {"hostname": f"c{client}-n{number}"},
        "kernel": {
            "sysctl": {
                "kernel.domainname": f"{client}/{number}",
                f"net.c{client}.n{number}": f"{client}/{number}",
            }
        },
    }


def belongs_together(settings: dict[str, object]) -> bool:
    """Tell whether the three values are of one transaction."""
    if not settings.keys() >= {"network", "kernel"}:
        return settings == {"motd": "Welcome to Bulkhead!"}
    network, kernel = settings["network"], settings["kernel"]
    assert isinstance(network, dict)
    assert isinstance(kernel, dict)
    motd = str(settings["motd"])
    client, number = motd.split("/")
    return bool(
        network["hostname"] == f"c{client}-n{number}"
        and kernel["sysctl"]["kernel.domainname"] == motd
    )


@pytest.mark.timeout(300)
def test_a_thousand_transactions_from_twenty_clients(tmp_path: Path) -> None:
    """None is lost, none is mixed with another, and a reader sees committed states alone."""
    mixed: list[object] = []
    reads = 0
    over = threading.Event()

    def client(number: int) -> list[int]:
        statuses = []
        for turn in range(EACH):
            tx = f"client-{number}-{turn}"
            wanted = settings_of(number, turn)
            kernel = wanted.pop("kernel")
            statuses.append(api.call(f"PATCH /settings?tx={tx}", wanted).status)
            statuses.append(api.call(f"PATCH /settings?tx={tx}", {"kernel": kernel}).status)
            answer = api.call(f"POST /tx/commit_and_apply?tx={tx}")
            statuses.append(answer.status)
            names = answer.json()
            if not isinstance(names, list) or len(names) != 4:
                mixed.append(names)
        return statuses

    def reader() -> None:
        nonlocal reads
        while not over.is_set():
            found = api.call("GET /settings").json()
            assert isinstance(found, dict)
            if not belongs_together(found):
                mixed.append(found)
            reads += 1

    with Api(tmp_path) as api, ThreadPoolExecutor(CLIENTS) as pool:
        watching = threading.Thread(target=reader)
        watching.start()
        statuses = [status for found in pool.map(client, range(CLIENTS)) for status in found]
        over.set()
        watching.join()
        live = api.node.store.live()
        history = api.node.store.history(1000)
        left = api.call("GET /tx/list").json()

    assert statuses == [204, 204, 200] * (CLIENTS * EACH)
    assert mixed == []
    assert reads > 10
    kernel = live["kernel"]
    assert isinstance(kernel, dict)
    own = {name: value for name, value in kernel["sysctl"].items() if name.startswith("net.")}
    assert own == {f"net.c{c}.n{n}": f"{c}/{n}" for c in range(CLIENTS) for n in range(EACH)}
    assert belongs_together(live)
    assert history[0].number == CLIENTS * EACH
    assert left == []
