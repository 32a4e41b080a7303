"""Many clients of the node's API at once, and a disk that is full."""

from __future__ import annotations

import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from tests.support.api import Api
from tests.support.small_disk import fill, run_on

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
                f"net.c{client}": str(number),
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
    assert own == {f"net.c{client}": str(EACH - 1) for client in range(CLIENTS)}
    assert belongs_together(live)
    # Nobody's commit was taken for another's: there are as many as were made, each with its values.
    assert [commit.number for commit in history] == list(range(1000, 800, -1))
    for commit in history:
        new = {change.key: change.new for change in commit.changed}
        made_by = str(new["settings.motd"]).split("/")
        assert new["settings.network.hostname"] == "c{}-n{}".format(*made_by)
        assert new[f'settings.kernel.sysctl."net.c{made_by[0]}"'] == made_by[1]
    assert left == []


def test_of_two_commits_at_once_one_has_nothing_left(tmp_path: Path) -> None:
    """A transaction is committed once, whoever comes first; the other is told so."""
    with Api(tmp_path) as api, ThreadPoolExecutor(2) as pool:
        found = []
        for turn in range(20):
            assert api.call("PATCH /settings?tx=t", {"motd": str(turn)}).status == 204
            both = pool.map(lambda _: api.call("POST /tx/commit?tx=t"), range(2))
            found.append(sorted(answer.status for answer in both))
        history = api.node.store.history(100)

    assert found == [[200, 422]] * 20
    assert len(history) == 20


def on_a_full_disk(directory: Path) -> None:
    """Change settings while there is no room for them, and again when there is."""
    disk = directory / "settings"
    with Api(directory) as api:
        api.set({"motd": "before", "network": {"hostname": "web-1"}})
        before = committed(disk)
        filler = fill(disk)
        pending = api.call("PATCH /settings?tx=t", {"motd": "x" * 10_000})
        theirs = api.call("POST /tx/commit_and_apply?tx=t")
        own = api.call("POST /bulkhead/v1/commit?tx=t", {})
        back = api.call("POST /bulkhead/v1/rollback", {"to": 0})
        during = api.call("GET /settings").json(), api.call("GET /tx?tx=t").json()
        left = committed(disk)
        filler.unlink()
        after = api.call("POST /tx/commit_and_apply?tx=t")
        live = api.call("GET /settings").json()

    assert pending.status == 204, pending  # that is on the tmpfs of /run
    assert [answer.status for answer in (theirs, own, back)] == [507] * 3
    told = {
        "error": "the settings cannot be saved: No space left on device; nothing has changed",
        "where": str(disk),
        "hint": "make room on the data partition: remove containers and images that are not needed",
    }
    assert own.json() == told
    assert theirs.text == f"{told['where']}: {told['error']} ({told['hint']})"
    assert during == (
        {"motd": "before", "network": {"hostname": "web-1"}}, {"motd": "x" * 10_000},
    )  # fmt: skip
    assert left == before
    assert (after.status, after.json()) == (200, ["settings.motd"])
    assert live == {"motd": "x" * 10_000, "network": {"hostname": "web-1"}}


def committed(disk: Path) -> dict[str, bytes]:
    """Return every file of the commits."""
    return {path.name: path.read_bytes() for path in (disk / "commits").iterdir()}


def test_a_full_disk_is_told_and_leaves_nothing_half_done(tmp_path: Path) -> None:
    """507 in words for whoever changes settings; what was committed stays, and is served."""
    (tmp_path / "settings").mkdir()

    assert run_on(tmp_path / "settings", lambda: on_a_full_disk(tmp_path), kib=64) == 0


def serve_until(directory: Path, over: Event, ready: Event) -> None:
    """Serve in a process of its own."""
    with Api(directory):
        ready.set()
        over.wait(120)


def peak_mib(process: int) -> int:
    """Return the most memory that a process ever had (proc_pid_status(5))."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


def test_large_bodies_at_once_do_not_add_up(tmp_path: Path) -> None:
    """JSON grows when it is read; thirty clients may not exhaust the service's 128 MiB."""
    body = b'{"dns":{"name-servers":[' + b"{}," * 690_000 + b"{}]}}"
    context = multiprocessing.get_context("fork")
    over, ready = context.Event(), context.Event()
    process = context.Process(target=serve_until, args=(tmp_path, over, ready))
    process.start()
    try:
        assert ready.wait(30)
        assert process.pid is not None
        before = peak_mib(process.pid)
        client = Api(tmp_path)
        with ThreadPoolExecutor(30) as pool:
            answers = list(
                pool.map(lambda _: client.call("PATCH /settings", raw=body).status, range(30))
            )
        grown = peak_mib(process.pid) - before
    finally:
        over.set()
        process.join()

    assert answers == [400] * 30
    assert grown < 90
