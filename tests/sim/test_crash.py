"""Crash points: some of each story in every mode, and that a crash really happens where it is said to.

``make crash`` enumerates all of them; ``PAIRS=1`` crashes a second time during the recovery.
"""

import pytest

from tests.sim.crash import MODES, STORIES, Crash, Story, command_crashes, crashes, some_of, tell
from tests.sim.crashing import Account, chapters, tell_all, told

EVERY = 307
"""So that every story has a few crashes; 307 is prime, so the modes take turns."""


@pytest.mark.parametrize("story", STORIES, ids=lambda s: s.name)
def test_a_story_comes_to_its_end_wherever_the_controller_crashes(story: Story) -> None:
    """Bought once, nothing left over, nothing unknown, everything wanted serves: all that the checks look for."""
    whole = tell(story, seed=0)
    assert not whole.violations
    assert len(whole.points) >= 80

    for crash in list(crashes(len(whole.points), pairs=False))[::EVERY]:
        told = tell(story, 0, crash)

        assert told.crashed_at == whole.points[crash.point - 1]
        assert not told.violations, f"{story.name}, {crash} ({told.crashed_at})\n" + "\n".join(told.history[-30:])


@pytest.mark.parametrize("name", ["deploy", "move", "stranger"])
def test_a_second_crash_during_the_recovery(name: str) -> None:
    """One of the first two dozen points of the next process."""
    story = next(s for s in STORIES if s.name == name)
    whole = tell(story, seed=1)

    for crash in list(crashes(len(whole.points), pairs=True))[::151]:
        told = tell(story, 1, crash)

        assert not told.violations, f"{story.name}, {crash} ({told.crashed_at})\n" + "\n".join(told.history[-30:])


@pytest.mark.parametrize("name", ["deploy", "move", "scale down", "new workload", "broken workload", "down", "pause"])
def test_a_command_that_is_killed_and_run_again_comes_to_the_same_end(name: str) -> None:
    """Killed before or after each of its commits and calls, or without an answer: the same again is done or refused."""
    story = next(s for s in STORIES if s.name == name)
    whole = tell(story, seed=2)
    assert any(point.startswith("store.") for point in whole.commands)

    for crash in command_crashes(len(whole.commands)):
        told = tell(story, 2, crash)

        assert told.crashed_at == whole.commands[crash.point - 1]
        assert any("is run again" in line for line in told.history)
        assert not told.violations, f"{story.name}, {crash} ({told.crashed_at})\n" + "\n".join(told.history[-30:])
        assert told.end == whole.end, f"{story.name}, {crash} ({told.crashed_at})"


def test_every_point_comes_in_every_mode() -> None:
    """Nothing is left out of the enumeration."""
    whole = {(c.point, c.mode) for c in crashes(7, pairs=False)}

    assert whole == {(point, mode) for point in range(1, 8) for mode in MODES}
    assert {c.again_at for c in crashes(7, pairs=True)} >= {1, 2, 5}
    commands = list(command_crashes(2))
    assert {(c.point, c.mode) for c in commands} == {(point, mode) for point in (1, 2) for mode in MODES}
    assert all(c.of_command for c in commands)


def test_a_few_points_of_a_story_are_spread_over_it_and_differ_from_world_to_world() -> None:
    """So that ten worlds with eight points each crash at far more than eight places."""
    found = [tuple(some_of(200, 8, seed)) for seed in range(10)]

    assert all(len(points) == 8 and points[-1] - points[0] >= 150 for points in found)
    assert all(1 <= point <= 200 for points in found for point in points)
    assert len(set(found)) > 5
    assert list(some_of(3, 8, 0)) == [1, 2, 3]


@pytest.mark.parametrize("pairs", [False, True])
def test_chapters_are_told_the_same_in_processes_of_their_own(pairs: bool) -> None:
    """Each point in each mode, the command's too, or one pair of each, and every count is of what was told."""
    story = next(n for n, s in enumerate(STORIES) if s.name == "down")
    own = [c for c in chapters(range(2), 1, 1, pairs=pairs, seconds=1e9) if c.story == story]

    alone, together = list(told(own, 1)), list(told(own, 2))

    assert [_counts(a) for a in alone] == [_counts(t) for t in together]
    assert [a.runs for a in alone] == [1 if pairs else 2 * len(MODES)] * 2
    assert not any(a.broken for a in alone)
    assert not tell_all(chapters(range(1), 1, 1, pairs=False, seconds=-1.0)[story]).runs


def _counts(account: Account) -> tuple[object, ...]:
    """Return all but the seconds, which differ."""
    return account.name, account.points, account.runs, account.hit, account.broken


def test_the_points_are_commits_and_calls_to_the_outside() -> None:
    """Launch, end, table, and every kind of row that a story writes."""
    points = {p for story in STORIES[:2] for p in tell(story, 0).points}

    assert {"cloud.launch", "cloud.terminate", "cloud.describe", "gateway.publish"} <= points
    assert {"journal.start_replica", "journal.move_replica", "journal.set_intent", "journal.set_operation"} <= points


def test_an_answer_that_is_lost_kills_nobody() -> None:
    """The same process goes on, and another one starts only where it was killed."""
    story = STORIES[0]
    lost, killed = (tell(story, 0, Crash(5, mode)) for mode in ("answer lost", "killed after"))

    assert not any("is killed" in line for line in lost.history)
    assert any("is killed" in line for line in killed.history)
