"""``greenctl backup`` and ``greenctl restore``: the way there, the way back, and what is refused."""

from __future__ import annotations

import json
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.clocks import World as GridWorld
from orchestrator.clocks import world_of
from orchestrator.controller.lock import DatabaseLock, Lock
from orchestrator.errors import ExitStatus
from orchestrator.settings import WorldSettings
from orchestrator.store.address import parse_address
from orchestrator.store.backup import write_backup
from orchestrator.store.sql import SqlStore
from tests.store_samples import NOW, a_spec, an_operation
from tests.unit.cli.world import World

JUNE = datetime(2023, 6, 1, 12, tzinfo=UTC)
SECRET = "hf_do-not-write-this-down"  # the test looks for it


@pytest.fixture
def stored(world: World) -> SqlStore:
    """A world whose settings lead to a real database with a service in it."""
    store = SqlStore.open(world.settings().store_url)
    store.submit_deploy(a_spec(), an_operation())
    store.claim("one", NOW)
    return store


def test_a_memory_goes_to_a_file_and_comes_back(world: World, stored: SqlStore, tmp_path: Path) -> None:
    """Both say what they hold; the way back names the next step, and what was there is kept."""
    file = tmp_path / "monday.zip"
    made = world.document("backup", file)["backup"]
    assert (made["services"], made["epoch"], made["file"]) == (1, 1, str(file))
    stored.claim("two", NOW)

    back = world.run("restore", file, answers=["restore"])

    assert back.exit_code == 0
    assert "doctor --orphans --accept-restored" in back.stdout
    assert "is kept" in back.stderr
    assert stored.restored().holds
    assert "ada restored the backup" in stored.events()[-1].text


def test_nothing_secret_is_in_it(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the value of a secret that a service names, nor the key of the gateway's clients."""
    monkeypatch.setenv("HF_TOKEN", SECRET)
    key = world.client_key_file(world.settings())
    key.parent.mkdir(parents=True, exist_ok=True)
    key.write_text(SECRET)
    with SqlStore.open(world.settings().store_url) as store:
        store.submit_deploy(a_spec(secrets=("HF_TOKEN",)), an_operation())

    world.run("backup", tmp_path / "b.zip")

    with zipfile.ZipFile(tmp_path / "b.zip") as packed:
        content = b"".join(packed.read(name) for name in packed.namelist())
    assert b"HF_TOKEN" in content
    assert SECRET.encode() not in content


def test_a_running_controller_is_not_robbed_of_its_memory(world: World, stored: SqlStore, tmp_path: Path) -> None:
    """Neither one that says so nor one that only holds the lock; nothing is changed."""
    world.run("backup", tmp_path / "b.zip")
    world.controller_runs = True
    assert world.run("restore", tmp_path / "b.zip", "--yes").exit_code == ExitStatus.OUT_OF_DATE
    world.controller_runs = False
    lock = Lock(world.settings().state_dir)
    lock.take()

    refused = world.document("restore", tmp_path / "b.zip", "--yes")
    lock.release()

    assert refused["error"]["code"] == "lease_held"
    assert not stored.restored().holds


def test_a_controller_of_another_directory_is_not_robbed_either(world: World, stored: SqlStore, tmp_path: Path) -> None:
    """Two state directories may name one file; whoever acts on it holds the lock beside it."""
    world.run("backup", tmp_path / "b.zip")
    path = parse_address(world.settings().store_url).path
    assert path is not None
    lock = DatabaseLock(path, tmp_path / "another")
    lock.take()

    refused = world.document("restore", tmp_path / "b.zip", "--yes")
    lock.release()

    assert refused["error"]["code"] == "lease_held"
    assert "another" in refused["error"]["message"]
    assert not stored.restored().holds
    assert world.run("restore", tmp_path / "b.zip", "--yes").exit_code == 0
    lock.release()
    assert world.run("restore", tmp_path / "b.zip", "--yes").exit_code == 0


def test_a_restore_needs_the_word(world: World, stored: SqlStore, tmp_path: Path) -> None:
    """A yes is not enough, and where nobody can be asked it is refused."""
    world.run("backup", tmp_path / "b.zip")

    assert world.run("restore", tmp_path / "b.zip", answers=["y"]).exit_code == ExitStatus.DECLINED
    assert world.run("restore", tmp_path / "b.zip").exit_code == ExitStatus.INVALID
    assert not stored.restored().holds


def test_what_is_no_backup_is_refused_before_anybody_is_asked(world: World, stored: SqlStore, tmp_path: Path) -> None:
    """By its code; and a file that is there is not written over."""
    (tmp_path / "b.zip").write_text("letters")

    assert world.document("restore", tmp_path / "b.zip", "--yes")["error"]["code"] == "backup_unusable"
    assert world.document("backup", tmp_path / "b.zip")["error"]["code"] == "would_overwrite"
    assert (tmp_path / "b.zip").read_text() == "letters"
    assert not stored.restored().holds
    assert json.loads(world.run("restore", tmp_path / "none", "--yes", "--json").stdout)["error"]["code"] == (
        "backup_unusable"
    )


def test_the_clock_of_a_replayed_grid_goes_along(
    world: World, stored: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The settings must ask for the clock that the history goes by; then it is put back, anchor and all."""
    settings = world.settings()
    anchor = settings.state_dir / "world.json"
    anchor.write_text('{"grid_start": "2023-06-01T12:00:00Z", "wall_start": "2026-11-21T08:00:00Z", "rate": 60.0}')
    made = world.document("backup", tmp_path / "b.zip")["backup"]
    anchor.unlink()

    refused = world.document("restore", tmp_path / "b.zip", "--yes")["error"]

    assert made["world"]["wall_start"] == "2026-11-21T08:00:00Z"
    assert refused["code"] == "invalid_settings"
    assert "GREENCTL_WORLD__START=2023-06-01T12:00:00Z" in refused["hint"]
    assert not stored.restored().holds
    replaying = settings.model_copy(update={"world": WorldSettings(start=JUNE, rate=60.0)})
    monkeypatch.setattr(world, "settings", lambda: replaying)

    assert world.run("restore", tmp_path / "b.zip", "--yes").exit_code == 0
    assert world_of(settings.state_dir) == GridWorld.of(made["world"])
    assert stored.events()[-1].at > JUNE

    world_less = tmp_path / "real.zip"
    write_backup(settings.store_url, world_less, made_at=NOW)
    assert "real time" in world.document("restore", world_less, "--yes")["error"]["message"]
