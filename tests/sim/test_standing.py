"""What the controller remembers of plans that want nothing changes nothing of what happens."""

from collections import Counter
from dataclasses import replace

import pytest

from orchestrator.bench.sim.faults import Fault, Setting, setting_of
from orchestrator.bench.sim.run import Outcome, run
from orchestrator.control.standing import Standing, Standings
from orchestrator.domain.decision import DecisionKind
from orchestrator.domain.time import Instant
from orchestrator.planner.plan import plan
from orchestrator.planner.snapshot import Snapshot


def lived(seed: int) -> Outcome:
    """Live through some bad hours."""
    return run(replace(setting_of(seed, hours=4.0), rest_hours=0.5))


@pytest.mark.parametrize("seed", [0, 4, 5, 13, 21, 26])
def test_histories_are_the_same_without_the_memory(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On demand and on spot, one service and two, sized by load and not: byte for byte the same day."""
    with_it = lived(seed)

    monkeypatch.setattr(Standings, "_still_stands", lambda *_: False)
    without_it = lived(seed)

    assert with_it.is_good, "\n".join(map(str, with_it.violations))
    assert with_it.history == without_it.history
    assert with_it.fingerprint == without_it.fingerprint


def test_whenever_a_plan_stands_the_planner_would_have_wanted_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked all the same, it agrees at every look at which it is not asked, and those are most of them."""
    still_stands = Standings._still_stands
    asked: Counter[bool] = Counter()
    kinds: set[DecisionKind] = set()

    def also_asked(self: Standings, standing: Standing, snapshot: Snapshot, now: Instant) -> bool:
        stands = still_stands(self, standing, snapshot, now)
        asked[stands] += 1
        if stands:
            found = plan(snapshot, snapshot.spec.policy, now, keep_up=standing.keep_up)
            assert not found.actions
            before = plan(standing.question, snapshot.spec.policy, now, keep_up=standing.keep_up)
            kinds.add(found.decision.kind)
            assert found.decision.kind is before.decision.kind
        return stands

    monkeypatch.setattr(Standings, "_still_stands", also_asked)

    for seed in range(3):
        assert lived(seed).is_good

    assert asked[True] > asked[False]
    assert kinds == {DecisionKind.STAY, DecisionKind.HOLD}


def test_after_a_hold_it_is_news_that_all_is_well_again() -> None:
    """A price list that could not be read for a while: "stay" is recorded once it can be, though nothing else changed.

    The memory was about to outlive the hold, and the journal would have said "hold" for the rest of the hour: found by
    living through seed 13 with the memory and without it.
    """
    outcome = run(Setting(1, (Fault(0, 4000.0, "prices_away", 600.0, 0.5),), hours=1.4, replicas=1, rest_hours=0.1))

    told = [line.split() for line in outcome.history]
    began, over = (next(float(w[0]) for w in told if w[1:3] == words) for words in (["#0", "at"], ["#0", "is"]))
    decided = [float(words[0]) for words in told if words[2:3] == ["record_decision"]]
    assert any(began <= at < over for at in decided)
    assert any(over <= at < over + 120.0 for at in decided)
