"""``greenctl journal``: what was changed by hand is shown, and somebody's word is asked for."""

from __future__ import annotations

import pytest

from orchestrator.domain.chain import Finding, Tampering
from orchestrator.errors import ExitStatus
from tests.unit.cli.world import World

EDIT = Finding(7, Tampering.EDITED, "replicas", "chat-1")


def test_a_whole_journal_is_whole(world: World) -> None:
    """Nothing found: status 0, and doctor agrees."""
    result = world.run("journal", "check")

    assert result.exit_code == 0
    assert "as they were written" in result.stdout
    checks = {c["name"]: c for c in world.document("doctor")["checks"]}
    assert checks["journal"]["outcome"] == "ok"


def test_what_is_wrong_is_named(world: World) -> None:
    """The first row, what was done to it, how to go on; doctor fails and points here."""
    world.store.edit_by_hand(EDIT, Finding(9, Tampering.REMOVED, "events", "4"))

    result = world.run("journal", "check")

    digest = world.store.check_journal().digest
    assert result.exit_code == ExitStatus.PROVIDER
    assert "replicas  chat-1  edited" in result.stdout
    assert f"greenctl journal accept {digest} --reason" in result.stdout
    doctor = world.run("doctor")
    assert doctor.exit_code == ExitStatus.PROVIDER
    assert "not as it was written: replicas chat-1 (edited, link 7), and 1 more" in doctor.stdout


def test_status_says_so_before_any_controller_has_looked(world: World) -> None:
    """What it shows may be wrong; afterwards nothing is said any more."""
    world.deploy()
    assert "as it was written" not in world.run("status").stdout
    world.store.edit_by_hand(EDIT, Finding(9, Tampering.REMOVED, "replicas", "chat-2"))

    page = " ".join(world.run("status").stdout.split())

    assert "The journal is not as it was written: replicas chat-1 (edited, link 7), and 1 more" in page
    assert "greenctl journal check" in page
    assert [f["row"] for f in world.document("status")["journal_edits"]] == ["chat-1", "chat-2"]
    world.run("journal", "accept", world.store.check_journal().digest, "--reason", "mine", "--yes")
    assert "as it was written" not in world.run("status").stdout


def test_down_says_what_it_will_wait_for(world: World) -> None:
    """A replica whose row was edited is not ended; whoever waits for that is told before."""
    world.deploy()
    world.store.edit_by_hand(EDIT)

    result = world.run("down", "chat", answers=["no"])

    told = " ".join(result.stderr.split())
    assert "The journal is not as it was written: replicas chat-1" in told
    assert "are not ended before somebody accepts that" in told


def test_somebody_goes_on_from_it(world: World) -> None:
    """Asked first; who and why are shown from then on."""
    world.store.edit_by_hand(EDIT)
    digest = world.store.check_journal().digest

    assert world.run("journal", "accept", digest, "--reason", "mine", answers=["n"]).exit_code == ExitStatus.DECLINED
    assert not world.store.check_journal().is_whole
    assert world.run("journal", "accept", digest, "--reason", "mine", answers=["y"]).exit_code == 0

    after = world.run("journal", "check")
    assert after.exit_code == 0
    assert "Accepted by ada" in after.stdout
    assert "mine" in after.stdout


@pytest.mark.parametrize("words", [["abc", "--reason", "x"], ["abc", "--reason", "  "], ["abc"]])
def test_neither_another_name_nor_an_empty_reason_will_do(world: World, words: list[str]) -> None:
    """Only what was seen can be accepted, and somebody has to say why."""
    world.store.edit_by_hand(EDIT)

    assert world.run("journal", "accept", *words, "--yes").exit_code in {ExitStatus.OUT_OF_DATE, ExitStatus.INVALID}
    assert not world.store.check_journal().is_whole
