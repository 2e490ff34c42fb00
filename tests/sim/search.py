"""Every order of events of the model, breadth first: the shortest way to a broken promise, or proof that none is.

From each world, besides, everything that is still to come is let happen once without further trouble: then nothing may
be paid for that no record wants and nobody was told of, and nothing may be open.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from orchestrator.domain.replica import ReplicaState
from tests.sim.model import (
    HIDDEN,
    LATE,
    LAUNCH,
    SHOWN,
    STOPPING,
    Broken,
    Machine,
    Model,
    State,
    finished,
    first_state,
    steps_of,
)

LONGEST_WAY_HOME = 60
"""Rounds of a working controller after which all must be in order."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to. ``depth``: events from the first world. ``is_whole``: every world was reached.

    ``broken`` with ``story``: the first broken promise and the events that lead to it; there is no shorter story.
    """

    states: int
    transitions: int
    depth: int
    is_whole: bool
    broken: Broken | None = None
    story: tuple[str, ...] = ()


def search(model: Model, most: int = 10**7) -> Found:
    """Look at every world that events can lead to, ``most`` of them at most."""
    first = first_state(model.bounds)
    came: dict[State, tuple[State, str] | None] = {first: None}
    home: set[State] = set()
    coming, transitions, depth = deque([(first, 0)]), 0, 0
    while coming:
        state, far = coming.popleft()
        depth = max(depth, far)
        label = "and then, with nothing else going wrong"
        try:
            come_home(model, state, home)
            for label, after in model.events(state):  # it names the event before the one that breaks
                transitions += 1
                if after not in came:
                    if len(came) >= most:
                        return Found(len(came), transitions, depth, is_whole=False)
                    came[after] = (state, label)
                    coming.append((after, far + 1))
        except Broken as broken:
            story = (*_story(came, state), f"after which ({label}): {broken}")
            return Found(len(came), transitions, depth, is_whole=False, broken=broken, story=story)
    return Found(len(came), transitions, depth, is_whole=True)


def come_home(model: Model, state: State, home: set[State]) -> None:
    """Let everything under way arrive and one controller work until nothing changes; see that all is in order then.

    ``home``: worlds of which that is known. Raises :class:`Broken`.
    """
    way: list[State] = []
    now = _arrived(model, state)
    db = now.db
    now = now._replace(processes=(), db=db._replace(accepted=max(db.seen, db.accepted), quiet=False, covers=0))
    now = model.started(now, db.host)
    for _ in range(LONGEST_WAY_HOME):
        if now in home:
            break
        way.append(now)
        after = _round(model, now)
        if after == now:
            _in_order(now)
            break
        now = after
    else:
        raise Broken("I17", f"not in order after {LONGEST_WAY_HOME} rounds of a working controller")
    home.update(way)


def _arrived(model: Model, state: State) -> State:
    """Let every call that was announced reach the provider, and everything appear or go that is to.

    One after the other: what is on its way is there before the next.
    """
    there = (m._replace(phase=HIDDEN) if m is not None and m.phase == LATE else m for m in state.cloud)
    state = state._replace(cloud=tuple(there))
    for process in state.processes:
        if process.hand is not None:
            kind, number = process.hand
            is_launch = kind == LAUNCH
            state = model.launched(state, number, SHOWN, process) if is_launch else model.ended(state, number, kind)
    cloud = tuple(_later(m) for m in state.cloud)
    return state._replace(cloud=cloud, processes=tuple(p._replace(hand=None) for p in state.processes))


def _later(machine: Machine | None) -> Machine | None:
    if machine is None or machine.phase == STOPPING:
        return None
    return machine._replace(phase=SHOWN) if machine.phase in {LATE, HIDDEN} else machine


def _round(model: Model, state: State) -> State:
    """Look at every replica once, with what is true, and sweep."""
    for number, row in enumerate(state.db.rows):
        if row is None:
            continue
        there = state.cloud[number] is not None
        steps = steps_of(row, number, exists=there, overdue=False)
        for step in steps:
            for _, after in model.taken(state, 0, number, step):
                state = _arrived(model, after)
                break
    for _, after in model.swept(state, 0, knows=True):
        state = _arrived(model, after)
        break
    db = state.db
    return state._replace(
        db=db._replace(accepted=max(db.seen, db.accepted)),
        processes=(state.processes[0]._replace(hand=None, held=False),),
    )


def _in_order(state: State) -> None:
    for number, (row, machine) in enumerate(zip(state.db.rows, state.cloud, strict=True)):
        if machine is not None and row is None and not (state.was_set_back and state.db.sightings[number]):
            raise Broken("I3", f"{number} is paid for, and no record knows it")
        if machine is not None and row is not None and row.state is not ReplicaState.READY:
            raise Broken("I3", f"{number} is paid for, and its record says {row.state.value}")
        if row is not None and row.state is not ReplicaState.READY and not finished(row, number):
            raise Broken("I5", f"{number} is {row.state.value} for ever")
        if row is not None and row.state is ReplicaState.READY and machine is None:
            raise Broken("I17", f"{number} is said to serve and is not there")


def _story(came: dict[State, tuple[State, str] | None], state: State) -> list[str]:
    words: list[str] = []
    while (before := came[state]) is not None:
        state, label = before
        words.append(label)
    return words[::-1]
