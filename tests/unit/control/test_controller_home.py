"""A state directory that was copied while its controller runs is refused; one that was moved goes on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.controller.home import HOME_FILE, settle
from orchestrator.controller.lock import LOCK_FILE, Lock
from orchestrator.errors import Conflict


@pytest.fixture
def first(tmp_path: Path) -> Iterator[Path]:
    """A directory on which a controller runs."""
    folder = tmp_path / "first"
    lock = Lock(folder)
    lock.take()
    lock.sign("2026-11-22T00:00:00Z", 1)
    settle(folder)
    yield folder
    lock.release()


def test_a_copy_is_refused_while_the_other_one_runs(first: Path, tmp_path: Path) -> None:
    """With both places named, and nothing is changed: the next try is refused as well."""
    copy = tmp_path / "copy"
    shutil.copytree(first, copy)
    (copy / LOCK_FILE).unlink()

    for _ in range(2):
        with pytest.raises(Conflict) as caught:
            settle(copy)
        assert str(copy) in caught.value.message
        assert str(first) in caught.value.message
        assert "empty GREENCTL_STATE_DIR" in caught.value.hint()


def test_a_restart_and_a_link_are_no_copies(first: Path, tmp_path: Path) -> None:
    """The same directory under another name is the same directory."""
    settle(first)
    link = tmp_path / "link"
    link.symlink_to(first)
    settle(link)

    assert (first / HOME_FILE).read_text() == f"{first}\n"


def test_a_directory_that_was_moved_or_whose_other_copy_rests_goes_on(tmp_path: Path) -> None:
    """It is at home where it stands now."""
    first = tmp_path / "first"
    first.mkdir()
    settle(first)
    moved = first.rename(tmp_path / "moved")
    settle(moved)
    shutil.copytree(moved, tmp_path / "copy")

    settle(tmp_path / "copy")

    assert (moved / HOME_FILE).read_text() == f"{moved}\n"
    assert (tmp_path / "copy" / HOME_FILE).read_text() == f"{tmp_path / 'copy'}\n"
