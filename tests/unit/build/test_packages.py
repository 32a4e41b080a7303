"""Which lock is used, and which time an image has."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from bulkhead.build import packages
from bulkhead.build.debian import lockfile
from bulkhead.build.debian.locking import Request
from bulkhead.lib.progress import SILENT, Task
from bulkhead.model.errors import UserError
from bulkhead.model.lock import Lock, SuiteSnapshot
from tests.support.archive import Archive, serve

REQUEST = Request(architecture="amd64", packages=("nginx",))


class Notices:
    """Progress that remembers what people should know."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def task(
        self, title: str, *, total: int | None = None, unit: str = "B"
    ) -> AbstractContextManager[Task]:
        """Show nothing."""
        return SILENT.task(title, total=total, unit=unit)

    def notice(self, text: str) -> None:
        """Keep it."""
        self.texts.append(text)


def lock(*dates: str) -> Lock:
    """Make a lock of `REQUEST` with a suite of each date."""
    suites = tuple(
        SuiteSnapshot(repository="debian", suite=f"s{number}", date=date, sha256="0" * 64)
        for number, date in enumerate(dates)
    )
    return Lock(architecture="amd64", request=REQUEST.digest(), suites=suites, packages=())


def current(path: Path, request: Request) -> Lock:
    """Ask for the lock at `path`, forbidding to write it."""
    return packages.current_lock(
        path, request, locked=True, hint="write it", cache=path.parent, progress=SILENT
    )


def test_a_lock_that_fits_is_used(tmp_path: Path) -> None:
    """Nothing is asked of a mirror."""
    lockfile.write_lock(tmp_path / "x.lock", lock())

    assert current(tmp_path / "x.lock", REQUEST) == lock()


def test_locked_means_that_no_lock_is_written(tmp_path: Path) -> None:
    """Neither a missing one nor one that was made for something else."""
    other = Request(architecture="amd64", packages=("nginx", "curl"))

    with pytest.raises(UserError, match="the lock file is missing") as caught:
        current(tmp_path / "x.lock", REQUEST)
    assert caught.value.hint == "write it"
    lockfile.write_lock(tmp_path / "x.lock", lock())
    with pytest.raises(UserError, match="the lock file does not fit any more"):
        current(tmp_path / "x.lock", other)


def test_a_dry_run_says_which_lock_it_would_write(tmp_path: Path) -> None:
    """The packages are chosen, and the file is not made."""
    with serve(tmp_path) as server:
        archive = Archive(tmp_path)
        archive.add("app")
        archive.publish()
        request = Request(
            architecture="amd64", repositories=(archive.repository(server.url),), packages=("app",)
        )
        said = Notices()
        path = tmp_path / "x.lock"

        made = packages.current_lock(
            path, request, locked=False, dry_run=True, hint="", cache=tmp_path / "cache",
            progress=said,
        )  # fmt: skip

    assert [package.name for package in made.packages] == ["app"]
    assert said.texts == [f"would write {path}: 1 packages"]
    assert not path.exists()


def test_an_image_is_as_old_as_its_newest_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or as SOURCE_DATE_EPOCH says."""
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)

    assert packages.epoch(lock()) == 0
    assert packages.epoch(lock("1970-01-01T00:00:09Z", "1970-01-01T00:00:05Z")) == 9
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "7")
    assert packages.epoch(lock("1970-01-01T00:00:09Z")) == 7


@pytest.mark.parametrize("value", ["now", "-1", "1.5", "9" * 5000])
def test_a_time_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """With the variable's name, not with a traceback."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", value)

    with pytest.raises(UserError, match="SOURCE_DATE_EPOCH: expected seconds since 1970"):
        packages.epoch(lock())
