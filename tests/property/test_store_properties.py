"""Whatever is done to a store, the one in memory and the one on disk answer alike and remember alike."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, timedelta
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from orchestrator.control.ports import Journal, Records, Store
from orchestrator.domain.carbon import Gap, Reading
from orchestrator.domain.decision import Decision
from orchestrator.domain.records import EventKind, IntentState, OperationKind, OperationState, ServiceState
from orchestrator.domain.replica import ReplicaState
from orchestrator.domain.service import JsonScalar, ModelSpec, ServiceSpec
from orchestrator.domain.time import Window
from orchestrator.errors import GreenctlError
from orchestrator.store.codec import DECISIONS, SPECS
from orchestrator.store.memory import MemoryStore
from orchestrator.store.sql import SqlStore
from orchestrator.store.tidy import tidy, tidy_text
from tests.store_samples import (
    a_decision,
    a_launch,
    a_reading,
    a_sample,
    a_spec,
    an_assessment,
    an_intent,
    an_operation,
    later,
)

SERVICES = st.sampled_from(["chat", "Batch"])
NAMES = st.sampled_from(["r1", "r2", "r3"])
OPERATIONS = st.sampled_from([f"op-{n}" for n in range(5)])
TURNS = st.sampled_from([-1, -1, -1, 0])
TIMES = st.integers(-5, 5).map(later)
WORDS = st.sampled_from(["", "why", "\0 and \ud83d", "ƒ \U0001f331"])
NUMBERS = st.floats(allow_nan=False)
UNKNOWN_OR_NUMBERS = st.none() | NUMBERS


def attempt(work: Callable[[], object]) -> tuple[str, object]:
    """Return what came of it: an answer, or a refusal in words."""
    try:
        return "answer", work()
    except (GreenctlError, ValueError) as refusal:
        return type(refusal).__name__, str(refusal)


class TwoStores(RuleBasedStateMachine):
    """Does the same to both and compares."""

    template: Path

    def __init__(self) -> None:
        super().__init__()
        self.home = tempfile.TemporaryDirectory()
        path = Path(self.home.name) / "store.db"
        shutil.copy(self.template, path)
        self.disk = SqlStore.open(f"sqlite:///{path}")
        self.stores: tuple[Store, Store] = (MemoryStore(self.disk.deployment_uid()), self.disk)
        self.turns: list[tuple[Journal, Journal]] = []
        self.claim("first", later(0))

    def teardown(self) -> None:
        memory, disk = (self.everything(store) for store in self.stores)
        self.disk.close()
        self.home.cleanup()
        assert memory == disk

    @staticmethod
    def everything(store: Records) -> dict[str, object]:
        """Read all that can be seen, by each way of asking."""
        half = Window(later(-1), later(2))
        return {
            "services": list(store.services()),
            "operations": list(store.operations(open_only=False)),
            "open operations": list(store.operations()),
            "replicas": list(store.replicas(ended=True)),
            "open replicas": list(store.replicas("chat")),
            "intents": list(store.intents()),
            "open intents": list(store.intents("chat", open_only=True)),
            "placements": [list(store.placements(name)) for name in ("chat", "Batch")],
            "decisions": [list(store.decisions(name, limit=3)) for name in ("chat", "Batch")],
            "energy": [repr(list(store.energy("chat", window))) for window in (None, half)],
            "events": list(store.events("chat", after_id=1, limit=5)),
        }

    def both(self, work: Callable[[Store], object]) -> None:
        memory, disk = (attempt(lambda store=store: work(store)) for store in self.stores)  # type: ignore[misc]
        assert memory == disk

    def write(self, turn: int, work: Callable[[Journal], object]) -> None:
        memory, disk = (attempt(lambda journal=journal: work(journal)) for journal in self.turns[turn])  # type: ignore[misc]
        assert memory == disk

    # ── what people do ───────────────────────────────────────────────────────────────────────────────

    @rule(service=SERVICES, operation=OPERATIONS, at=TIMES, tokens=st.integers(1, 3))
    def deploy(self, service, operation, at, tokens):  # noqa: ANN001, ANN201
        wish = an_operation(operation, service, created_at=at, updated_at=at)
        self.both(lambda s: s.submit_deploy(a_spec(service, functional_unit_tokens=tokens), wish))

    @rule(service=SERVICES, operation=OPERATIONS, kind=st.sampled_from(OperationKind), actor=WORDS)
    def submit(self, service, operation, kind, actor):  # noqa: ANN001, ANN201
        self.both(lambda s: s.submit(an_operation(operation, service, kind=kind, actor=actor)))

    @rule(service=st.none() | SERVICES, paused=st.booleans(), at=TIMES, actor=WORDS)
    def pause(self, service, paused, at, actor):  # noqa: ANN001, ANN201
        self.both(lambda s: s.set_paused(service, paused=paused, now=at, actor=actor))
        self.both(lambda s: (s.pauses(), s.pauses(in_force=False), s.services()))

    # ── what controllers do ──────────────────────────────────────────────────────────────────────────

    @rule(holder=WORDS, at=TIMES)
    def claim(self, holder, at):  # noqa: ANN001, ANN201
        memory, disk = (store.claim(holder, at) for store in self.stores)
        assert memory.epoch == disk.epoch == len(self.turns) + 1
        self.turns.append((memory, disk))

    @rule(turn=TURNS, name=NAMES, service=SERVICES, slot=st.integers(0, 1), price=UNKNOWN_OR_NUMBERS, at=TIMES)
    def start(self, turn, name, service, slot, price, at):  # noqa: ANN001, ANN201
        launch = a_launch(name, service=service, slot=slot, usd_per_hour=price, created_at=at)
        self.write(turn, lambda j: j.start_replica(*launch))

    @rule(turn=TURNS, name=NAMES, to=st.sampled_from(ReplicaState), at=TIMES, reason=WORDS)
    def move(self, turn, name, to, at, reason):  # noqa: ANN001, ANN201
        self.write(turn, lambda j: j.move_replica(name, to, at, reason))

    @rule(turn=TURNS, name=NAMES, at=TIMES)
    def move_on(self, turn, name, at):  # noqa: ANN001, ANN201
        """Go one step along the usual way, so that late states are reached often."""
        way = list(ReplicaState)
        replica = next((r for r in self.stores[0].replicas(ended=True) if r.name == name), None)
        if replica is not None:
            to = way[min(way.index(replica.state) + 1, len(way) - 1)]
            self.write(turn, lambda j: j.move_replica(name, to, at))

    @rule(
        turn=TURNS,
        name=NAMES,
        endpoint=st.none() | WORDS,
        weight=st.none() | st.integers(-1, 101),
        clean=st.none() | st.booleans(),
        at=TIMES,
    )
    def update(self, turn, name, endpoint, weight, clean, at):  # noqa: ANN001, ANN201
        self.write(
            turn,
            lambda j: j.update_replica(name, endpoint=endpoint, weight_percent=weight, cleaned_up=clean, now=at),
        )

    @rule(turn=TURNS, name=NAMES, intent=st.sampled_from(["end-1", "launch-r1"]), detail=WORDS)
    def intend(self, turn, name, intent, detail):  # noqa: ANN001, ANN201
        replica = a_launch(name)[0]
        self.write(turn, lambda j: j.add_intent(an_intent(replica, id=intent, detail=detail)))

    @rule(
        turn=TURNS,
        intent=st.sampled_from(["end-1", "launch-r1", "launch-r2"]),
        state=st.sampled_from(IntentState),
        at=TIMES,
        detail=WORDS,
    )
    def advance(self, turn, intent, state, at, detail):  # noqa: ANN001, ANN201
        self.write(turn, lambda j: j.set_intent(intent, state, at, detail))

    @rule(turn=TURNS, operation=OPERATIONS, state=st.sampled_from(OperationState), at=TIMES, words=WORDS)
    def carry_out(self, turn, operation, state, at, words):  # noqa: ANN001, ANN201
        self.write(turn, lambda j: j.set_operation(operation, state, at, error_code=words, error=words))

    @rule(turn=TURNS, service=SERVICES, state=st.sampled_from(ServiceState), at=TIMES)
    def set_state(self, turn, service, state, at):  # noqa: ANN001, ANN201
        self.write(turn, lambda j: j.set_service_state(service, state, at))

    @rule(turn=TURNS, service=SERVICES, revision=st.integers(0, 3), at=TIMES)
    def restore(self, turn, service, revision, at):  # noqa: ANN001, ANN201
        self.write(turn, lambda j: j.restore_revision(service, revision, at))

    @rule(turn=TURNS, service=SERVICES, decision=st.sampled_from(["d-1", "d-2", "d-3", "d-4"]), at=TIMES, grams=NUMBERS)
    def decide(self, turn, service, decision, at, grams):  # noqa: ANN001, ANN201
        why = a_decision(decision, service=service, at=at, assessments=(an_assessment(grams_per_hour=grams),))
        readings: tuple[Reading, ...] = (a_reading(issued_at=at), Gap("DE", "none", "test"))
        self.write(turn, lambda j: j.record_decision(why, readings[: len(decision) % 3]))

    @rule(turn=TURNS, names=st.lists(NAMES, max_size=3), minute=st.integers(-1, 1), grams=UNKNOWN_OR_NUMBERS)
    def measure(self, turn, names, minute, grams):  # noqa: ANN001, ANN201
        samples = [a_sample(name, later(minute * 60), grams=grams) for name in names]
        self.write(turn, lambda j: j.record_energy(samples))

    @rule(turn=TURNS, service=st.sampled_from(["", "chat"]), text=WORDS, at=TIMES, wall=TIMES)
    def tell(self, turn, service, text, at, wall):  # noqa: ANN001, ANN201
        self.write(turn, lambda j: j.record_event(EventKind.WARNING, text, service=service, at=at, wall_at=wall))

    @rule(turn=TURNS)
    def route(self, turn):  # noqa: ANN001, ANN201
        self.write(turn, lambda j: j.next_routing_version())

    # ── what always holds ────────────────────────────────────────────────────────────────────────────

    @invariant()
    def one_request_at_a_time(self) -> None:
        """No service has two open requests."""
        services = [o.service for o in self.stores[0].operations()]
        assert len(services) == len(set(services))

    @invariant()
    def nothing_runs_without_an_intent(self) -> None:
        """Each replica has its launch intent and one placement, which has ended exactly when the replica has."""
        memory = self.stores[0]
        intents = {i.id for i in memory.intents()}
        placements = {p.replica: p for name in ("chat", "Batch") for p in memory.placements(name)}
        for replica in memory.replicas(ended=True):
            assert replica.intent_id in intents
            assert placements[replica.name].ended_at == replica.ended_at


def test_both_stores_remember_the_same(tmp_path: Path) -> None:
    """Any sequence of calls gets equal answers and refusals, and leaves equal visible state."""
    TwoStores.template = tmp_path / "template.db"
    SqlStore.open(f"sqlite:///{TwoStores.template}").close()

    run_state_machine_as_test(
        TwoStores,
        settings=settings(
            max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


SCALARS: st.SearchStrategy[JsonScalar] = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()
)
DURATIONS = st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=36500))


@given(
    args=st.lists(st.tuples(st.text(), SCALARS)).map(tuple),
    deadline=DURATIONS,
    drain=DURATIONS,
    budget=UNKNOWN_OR_NUMBERS,
    labels=st.lists(st.tuples(st.text(), st.text())).map(tuple),
)
@settings(deadline=None)
def test_a_spec_survives_its_document(args, deadline, drain, budget, labels) -> None:  # noqa: ANN001
    """Each value of each type comes back as itself, to the microsecond and the last bit."""
    plain = ServiceSpec("chat", ModelSpec("m", args=args), startup_deadline=deadline, labels=labels)
    spec = replace(
        plain,
        migration=replace(plain.migration, drain=drain),
        carbon=replace(plain.carbon, budget_grams=budget),
    )

    found = SPECS.decode(SPECS.encode(spec))

    assert found == spec
    assert repr(found) == repr(spec)


@given(numbers=st.lists(st.none() | st.floats(), min_size=5, max_size=5), text=st.text(), at=st.datetimes())
@settings(deadline=None)
def test_a_decision_survives_its_document(numbers, text, at) -> None:  # noqa: ANN001
    """Every float there is, the infinities and NaN included, and every text."""
    kwh, grams, expected, usd, trailing = numbers
    judged = an_assessment(
        kwh_per_hour=kwh,
        grams_per_hour=grams,
        expected_grams_per_hour=expected,
        usd_per_hour=usd,
        trailing_mean_grams_per_kwh=trailing,
    )
    decision: Decision = a_decision(summary=text, at=at.replace(tzinfo=later(0).tzinfo), assessments=(judged,))

    found = DECISIONS.decode(DECISIONS.encode(decision))

    assert repr(replace(found, at=decision.at)) == repr(decision)
    assert found.at == decision.at


@given(st.text(st.characters()))
def test_tidy_text_can_always_be_kept(text: str) -> None:
    """It is valid Unicode without NUL, tidying it again changes nothing, and clean text is left alone."""
    kept = tidy_text(text)

    kept.encode()
    assert "\0" not in kept
    assert tidy_text(kept) == kept
    if kept == text:
        return
    assert "\0" in text or any("\ud800" <= c <= "\udfff" for c in text)


@given(st.datetimes(timezones=st.timezones()))
def test_tidying_moves_no_instant(moment) -> None:  # noqa: ANN001
    """The same point in time, in UTC, whatever the zone and its daylight saving."""
    event = tidy(an_operation(created_at=moment))

    assert event.created_at == moment.astimezone(UTC)  # an hour that comes twice equals nothing in another zone
    assert event.created_at.utcoffset() == timedelta(0)
