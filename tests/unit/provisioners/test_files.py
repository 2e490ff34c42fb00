"""A replica's files: private, whole, and no worse than a hint when they are damaged."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import stat
from pathlib import Path

import pytest

from orchestrator.errors import ProviderError
from orchestrator.provisioners.local.files import InstanceRecord, ReplicaDirectory, StateDirectory, StopRecord

RECORD = InstanceRecord(
    name="r1",
    deployment_uid="uid",
    service="chat",
    intent_id="i1",
    offer_id="local/se:1xL4:on_demand",
    region="local/se",
    engine="builtin",
    engine_version="1",
    model_id="m",
    port=20_001,
    created_at="2026-06-01T12:00:00+00:00",
    steps=(("prepare", "x"), ("engine", "--port", "20001")),
    secret_environment={"VLLM_API_KEY": "api-key"},
)


@pytest.fixture
def directory(tmp_path: Path) -> ReplicaDirectory:
    """Give a directory that exists."""
    made = StateDirectory(tmp_path / "state").replica("r1")
    made.create()
    return made


def mode_of(path: Path) -> int:
    """Return the permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


def test_nobody_else_can_read_anything(directory: ReplicaDirectory) -> None:
    """The directory is 0700 and the key 0600, whatever the umask."""
    before = os.umask(0)
    try:
        directory.create()
        directory.ensure_api_key()
        directory.write_instance(RECORD)
    finally:
        os.umask(before)

    assert mode_of(directory.path) == 0o700
    assert mode_of(directory.api_key) == 0o600
    assert mode_of(directory.path / "instance.json") == 0o600


def test_the_key_has_256_bits_and_is_made_once(directory: ReplicaDirectory) -> None:
    """A repeated launch keeps the key that an engine may already have."""
    first = directory.ensure_api_key().read_text(encoding="ascii")
    directory.ensure_api_key()

    assert len(bytes.fromhex(first)) == 32
    assert directory.api_key.read_text(encoding="ascii") == first


def test_a_record_is_read_as_it_was_written(directory: ReplicaDirectory) -> None:
    """Nothing is lost, and nothing but the record is left in the directory."""
    directory.write_instance(RECORD)

    assert directory.read_instance() == RECORD
    assert [p.name for p in directory.path.iterdir()] == ["instance.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": 1}', '{"format": 99, "steps": []}', "\udcff"])
def test_a_damaged_record_is_no_record(directory: ReplicaDirectory, text: str) -> None:
    """Files are hints: one that cannot be used is as good as none."""
    (directory.path / "instance.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    (directory.path / "exit.json").write_bytes(text.encode("utf-8", "surrogateescape"))

    assert directory.read_instance() is None
    assert directory.read_exit() is None


@pytest.mark.parametrize("text", ["", "{", '{"deadline": "soon"}'])
def test_a_damaged_wish_to_end_is_still_a_wish(directory: ReplicaDirectory, text: str) -> None:
    """Whoever wanted the end gets it, at once if the deadline was lost."""
    (directory.path / "stop.json").write_text(text, encoding="utf-8")

    assert directory.read_stop() == StopRecord(0.0)


def test_a_wish_to_end_is_read_as_it_was_written(directory: ReplicaDirectory) -> None:
    """The deadline and who was told."""
    assert directory.read_stop() is None
    directory.write_stop(StopRecord(12.5, told=True))

    assert directory.read_stop() == StopRecord(12.5, told=True)


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "-x", "a\n", "é", "x" * 129, "a b"])
def test_what_could_leave_the_directory_is_not_a_name(tmp_path: Path, name: str) -> None:
    """A name becomes a path and an environment mark, so its letters are few."""
    with pytest.raises(ProviderError, match="cannot name a replica"):
        StateDirectory(tmp_path).replica(name)


def test_a_state_directory_that_cannot_be_made_is_a_provider_error(tmp_path: Path) -> None:
    """A file in the way is told as what it is."""
    (tmp_path / "state").write_text("", encoding="utf-8")

    with pytest.raises(ProviderError, match="cannot write below"):
        StateDirectory(tmp_path / "state").replica("r1").create()


def hold_for_ever(path: str, held: object) -> None:
    """Take the launch lock and keep it until killed."""
    with StateDirectory(Path(path)).launch_lock(1.0):
        held.set()  # type: ignore[attr-defined]
        fcntl.flock(os.open(path + "/never", os.O_RDWR | os.O_CREAT), fcntl.LOCK_EX)
        multiprocessing.Event().wait()


def test_the_launch_lock_ends_with_its_holder(tmp_path: Path) -> None:
    """While a process holds the lock nobody else gets it; SIGKILL gives it back."""
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    holder = context.Process(target=hold_for_ever, args=(str(tmp_path), held))
    holder.start()
    try:
        assert held.wait(60)
        with (
            pytest.raises(ProviderError, match="another process has been launching"),
            StateDirectory(tmp_path).launch_lock(0.1),
        ):
            pass
    finally:
        holder.kill()
        holder.join()
    with StateDirectory(tmp_path).launch_lock(5.0):
        pass
    holder.close()
