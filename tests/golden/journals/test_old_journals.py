"""A journal that an older version wrote: today's code opens it, believes it, and decides as it was decided then.

What is in ``schema-0005``, the schema of that day, was written by ``write.py`` in a checkout of 2026-11-21.
"""

from __future__ import annotations

import io
import json
import lzma
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from rich.console import Console

from orchestrator.cli.render import explain
from orchestrator.cli.render.text import Escaped
from orchestrator.codec import Plain, to_plain
from orchestrator.domain.decision import DecisionKind
from orchestrator.domain.plan import Plan
from orchestrator.domain.records import OperationState
from orchestrator.domain.service import Policy
from orchestrator.planner.plan import plan, plan_migration
from orchestrator.planner.snapshot import Snapshot
from orchestrator.store.sql import SqlStore

JOURNAL = Path(__file__).parent / "schema-0005"
DECISIONS = 31
JOULES, USD = 11280488.63859419, 18.357916666666686
"""By the database itself, as it was left."""

EXPLAINED: Mapping[str, str] = {
    "fetch": "what a launch fetches over a network is told of an offer since decision 0041",
}
"""What is in a decision of today and was not then, and why."""

WORDED: Mapping[str, str] = {
    "where the replica goes within sky/se": "where the replica goes",
}
"""What is said otherwise today. Whoever asks for a region is told that the proof is about the offers of that region."""

WEIGHED_ANEW: Mapping[str, str] = {
    "migration.timing": "since decision 0095 in grams, against all ways that begin by staying, where a move saves",
}
"""Rules whose verdicts are not compared; whether a move is approved is, where no other rule refuses it."""


@cache
def asked() -> dict[str, dict[str, Any]]:
    """What the planner was given for each decision, by its id."""
    found: dict[str, dict[str, Any]] = json.loads(lzma.decompress((JOURNAL / "asked.json.xz").read_bytes()))
    return found


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The file as it was left."""
    return unpacked(tmp_path)


def unpacked(folder: Path) -> Path:
    """Lay the file there."""
    file = folder / "store.db"
    file.write_bytes(lzma.decompress((JOURNAL / "store.db.xz").read_bytes()))
    return file


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlStore]:
    """It, opened and brought up to date by today's code; only read."""
    opened = SqlStore.open(f"sqlite:///{unpacked(tmp_path_factory.mktemp('journal'))}")
    yield opened
    opened.close()


def counts(file: Path, tables: tuple[str, ...]) -> dict[str, int]:
    """How many rows there are."""
    with closing(sqlite3.connect(file)) as tx:
        return {name: tx.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables}  # noqa: S608


def test_it_is_brought_up_to_date_and_nothing_is_lost(old: Path) -> None:
    """Every table has its rows, and its chain of hashes holds: no migration has touched what is linked."""
    with closing(sqlite3.connect(old)) as tx:
        named = tx.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'").fetchall()
        schema = [row[0] for row in tx.execute("SELECT * FROM greenctl_schema")]
    tables = tuple(name for (name,) in named if name != "greenctl_schema")
    before = counts(old, tables)
    store = SqlStore.open(f"sqlite:///{old}")
    report = store.check_journal()
    store.close()

    assert before["decisions"] == DECISIONS
    assert schema == ["0005"]
    assert counts(old, tables) == before
    assert not report.findings
    assert report.links == before["journal_links"]


def test_what_it_says_is_read(store: SqlStore) -> None:
    """Services, replicas, requests and the energy of ten hours, by what reads them every day."""
    (service,) = store.services()
    replicas = store.replicas(service.name, ended=True)

    assert service.spec.scaling.min_replicas == len(store.replicas(service.name)) == 3
    assert all(store.intent(r.intent_id) is not None for r in replicas)
    assert {r.name for r in replicas} == {p.replica for p in store.placements(service.name)}
    assert {o.state for o in store.operations(open_only=False)} == {OperationState.DONE}
    samples = store.energy(service.name)
    assert sum(s.facility_joules for s in samples) == pytest.approx(JOULES)
    assert sum(s.usd or 0.0 for s in samples) == pytest.approx(USD)


def test_every_decision_of_it_is_explained(store: SqlStore) -> None:
    """The page that people read of each, made by today's code of what was written then."""
    decisions = store.decisions("chat", limit=99)
    for decision in decisions:
        output = io.StringIO()
        console = Console(file=output, width=120, markup=False, highlight=False, color_system=None)
        console.print(Escaped(explain.render(decision, width=120, every=True)), end="")
        assert decision.summary.split()[0] in output.getvalue()

    assert {d.kind for d in decisions} == {
        DecisionKind.PLACE,
        DecisionKind.REPLACE,
        DecisionKind.MOVE,
        DecisionKind.STAY,
    }


@pytest.mark.parametrize("decision", sorted(asked()))
def test_todays_planner_decides_as_it_was_decided(store: SqlStore, decision: str) -> None:
    """The same actions with the same reasons, verdict by verdict and term by term, but for what is explained."""
    then = store.decision(decision)
    assert then is not None
    given = asked()[decision]
    today = ASKS[given["ask"]](
        adapter(Snapshot).validate_python(given["snapshot"]),
        adapter(Policy).validate_python(given["policy"]),
        datetime.fromisoformat(given["now"]),
        **given["more"],
    )

    assert comparable(to_plain(today.decision)) == comparable(to_plain(then))
    for now, before in zip(today.decision.comparisons, then.comparisons, strict=True):
        refused = any(not v.passed for v in before.verdicts if v.rule not in WEIGHED_ANEW)
        assert refused or given["ask"] == "plan_migration" or now.approved == before.approved


def at_leisure() -> float:
    """Seconds left for thinking: the simulated ones did not pass either."""
    return 60.0


def planned(*world: Any, **more: Any) -> Plan:
    """Plan as at every look."""
    return plan(*world, **more, budget=at_leisure)


ASKS: Mapping[str, Callable[..., Plan]] = {"plan": planned, "plan_migration": plan_migration}


@cache
def adapter(kind: type) -> TypeAdapter[Any]:
    """Make it once."""
    return TypeAdapter(kind)


def comparable(decision: Plain) -> Plain:
    """Leave out what is explained, and keep numbers to nine digits: another machine's last bit is no difference."""
    match decision:
        case str():
            return WORDED.get(decision, decision)
        case float():
            return float(f"{decision:.9g}")
        case list():
            kept = (e for e in decision if not (isinstance(e, dict) and e.get("rule") in WEIGHED_ANEW))
            return [comparable(each) for each in kept]
        case dict():
            return {name: comparable(value) for name, value in decision.items() if name not in EXPLAINED}
    return decision
