"""Whose a process is, and that nobody else's is ever touched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.provisioners.local.processes import Marks, OsProcess, Part, PsutilTable, birth_of, members
from tests.provisioner_bench import marks, process, unique, wait_until

WORDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=30)


@given(
    st.builds(
        Marks,
        WORDS,
        WORDS,
        WORDS,
        WORDS,
        st.none() | st.integers(1, 65535),
        st.sampled_from(Part),
        WORDS,
        st.none() | st.integers(0),
    )
)
def test_marks_survive_the_environment(written: Marks) -> None:
    """What is written into an environment is what is read from it."""
    assert Marks.from_environment(written.as_environment()) == written


@pytest.mark.parametrize("missing", ["GREENCTL_DEPLOYMENT", "GREENCTL_REPLICA"])
def test_a_process_without_our_marks_is_not_ours(missing: str) -> None:
    """Without deployment or replica there is no owner."""
    environment = marks("r").as_environment()
    del environment[missing]

    assert Marks.from_environment(environment) is None


def test_damaged_marks_still_name_their_owner() -> None:
    """A port or part that cannot be read does not hide a process from its replica."""
    environment = marks("r").as_environment() | {"GREENCTL_PORT": "²", "GREENCTL_PART": "new"}

    assert Marks.from_environment(environment) == Marks("uid", "r", "chat", "local/se", None, Part.ENGINE)


class TestMembers:
    """Which processes make up a replica."""

    def test_marked_processes_belong_to_it(self) -> None:
        """The mark decides, whoever the parent is."""
        table = [process(10, "a"), process(11, "b"), process(12)]

        assert members(table, "a") == [table[0]]

    def test_descendants_without_marks_belong_to_it(self) -> None:
        """A child that cleared its environment is found through its parent, at any depth."""
        table = [process(10, "a"), process(20, parent=10), process(30, parent=20), process(40, parent=1)]

        assert [p.pid for p in members(table, "a")] == [10, 20, 30]

    def test_orphans_of_its_session_belong_to_it(self) -> None:
        """An orphan that lost its parent is found through the session of a marked process."""
        table = [process(10, "a"), process(20, parent=1, session=10)]

        assert [p.pid for p in members(table, "a")] == [10, 20]

    def test_an_unmarked_session_proves_nothing(self) -> None:
        """With every marked process gone, a session number may be anybody's."""
        assert members([process(20, parent=1, session=10)], "a") == []

    def test_another_replica_is_never_swept_along(self) -> None:
        """A process that carries another replica's mark stays that replica's, even as a child."""
        table = [process(10, "a"), process(20, "b", parent=10), process(30, parent=20)]

        assert [p.pid for p in members(table, "a")] == [10]

    @given(st.lists(st.tuples(st.integers(2, 40), st.integers(1, 40), st.integers(2, 40), st.sampled_from("ab-"))))
    def test_no_table_can_confuse_two_replicas(self, rows: list[tuple[int, int, int, str]]) -> None:
        """Whatever the table looks like, a marked process belongs to exactly the replica that it names."""
        table = {
            pid: OsProcess(pid, 1.0, parent, session, None if name == "-" else marks(name))
            for pid, parent, session, name in rows
        }
        found = {name: members(table.values(), name) for name in "ab"}

        for name, other in ("ab", "ba"):
            assert all(p.marks is None or p.marks.replica == name for p in found[name])
            assert not [p for p in found[name] if p.marks and p in found[other]]
            assert {p for p in table.values() if p.marks and p.marks.replica == name} <= set(found[name])


class TestPsutilTable:
    """The real table."""

    def test_it_finds_a_marked_process_and_forgets_a_dead_one(self) -> None:
        """A process is listed with its marks while it lives, and not as a zombie."""
        name = unique()
        child = subprocess.Popen(["/bin/sleep", "60"], env=marks(name).as_environment(), start_new_session=True)
        try:
            wait_until(lambda: bool(members(PsutilTable().snapshot(), name)), "the child's environment")
            (found,) = members(PsutilTable().snapshot(), name)

            assert (found.pid, found.parent, found.session) == (child.pid, os.getpid(), child.pid)
            assert found.leads_session
            assert found.marks == marks(name)
        finally:
            child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and not reaped: a zombie

        assert members(PsutilTable().snapshot(), name) == []
        child.wait()

    def test_a_signal_reaches_the_process_that_was_meant(self) -> None:
        """The normal case."""
        child = subprocess.Popen(["/bin/sleep", "60"])
        PsutilTable().signal(OsProcess(child.pid, birth_of(child.pid), os.getpid(), 0), signal.SIGKILL)

        assert child.wait() == -signal.SIGKILL

    def test_a_reused_pid_is_never_signalled(self) -> None:
        """A process that has the pid but not the birth is somebody else."""
        child = subprocess.Popen([sys.executable, "-S", "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
        stale = OsProcess(child.pid, birth_of(child.pid) - 1, os.getpid(), 0)
        PsutilTable().signal(stale, signal.SIGKILL)
        child.communicate(b"")

        assert child.returncode == 0

    def test_a_signal_to_nobody_is_no_error(self) -> None:
        """The process may end between the look and the signal."""
        child = subprocess.Popen(["/bin/true"])
        ended = OsProcess(child.pid, 1.0, os.getpid(), 0)
        child.wait()

        PsutilTable().signal(ended, signal.SIGKILL)

    def test_nobody_has_no_birth(self) -> None:
        """A pid that is free has no birth."""
        child = subprocess.Popen(["/bin/true"])
        child.wait()

        with pytest.raises(ProcessLookupError):
            birth_of(child.pid)
