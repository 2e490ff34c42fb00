"""Expected decisions of a policy, as files that everybody can read: given these regions, expect that.

``policies/fixtures/NAME.yaml`` stands beside ``policies/NAME.yaml``. What the cases say is read here; who runs them
through the planner is :mod:`orchestrator.control.policy_trial`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from orchestrator.domain.price import Market
from orchestrator.domain.service import ClientArea, WhenStale
from orchestrator.errors import InvalidSpec
from orchestrator.spec import blocks, forms, grammar, shipped
from orchestrator.spec.block import Block
from orchestrator.spec.files import read_text
from orchestrator.spec.forms import Form
from orchestrator.spec.grammar import Unreadable
from orchestrator.spec.problems import in_order, validate
from orchestrator.spec.words import Path as Keys
from orchestrator.spec.words import show
from orchestrator.spec.yaml_tree import read

KIND = "PolicyFixtures"
FOLDER = "fixtures"
UNKNOWN = "unknown"
MAX_CASES = 200
MAX_REGIONS = 50
PROVIDER = "somewhere"
"""Of regions that are written without one."""

_PLACE = r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}(?:/[A-Za-z0-9][A-Za-z0-9._-]{0,63})?"
PLACE_PATTERN = rf"^{_PLACE}$"
NAME_PATTERN = r"^[^\x00-\x1f\x7f]{1,120}$"
_CHOOSE = re.compile(rf"choose ({_PLACE}(?:(?:, | and ){_PLACE})*)")
_MOVE = re.compile(rf"move ({_PLACE}) to ({_PLACE})")
_BECAUSE = re.compile(r"(stay|refuse)(?: because ([^\x00-\x1f\x7f]{1,200}))?")
_WAIT = re.compile(r"wait ([0-9]{1,3}h)")
_HOURS_MOST = 168


class Verb(StrEnum):
    """What a policy may be expected to do."""

    CHOOSE = "choose"
    MOVE = "move"
    STAY = "stay"
    REFUSE = "refuse"
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class Expectation:
    """``regions``: those chosen in any order, or from where to where. ``because``: words of the reason.

    ``wait``: for how long batch work waits, to the hour.
    """

    verb: Verb
    regions: tuple[str, ...] = ()
    because: str = ""
    text: str = ""
    wait: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class GivenRegion:
    """One offer. ``None`` is unknown. ``coming``: grams per kWh of the hours from this one on."""

    region: str
    grams_per_kwh: float | None
    coming: tuple[float, ...]
    usual_grams_per_kwh: float | None
    usd_per_hour: float | None
    pue: float | None
    rtt_ms: float | None
    age: timedelta
    market: Market
    replicas: int
    here_for: timedelta


@dataclass(frozen=True, slots=True)
class GivenBatch:
    """Work with a deadline: the engine hours that are left, and in how long they have to be done."""

    engine_hours: float
    due_in: timedelta
    preemptible: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """One question to a policy, and what it should answer. ``line``: where it stands in its file."""

    name: str
    replicas: int
    budget: tuple[float, str] | None
    clients: tuple[ClientArea, ...]
    when_stale: WhenStale
    regions: tuple[GivenRegion, ...]
    expect: Expectation
    line: int = 0
    batch: GivenBatch | None = None


@dataclass(frozen=True, slots=True)
class Fixtures:
    """The cases of one file."""

    policy: str
    file: str
    cases: tuple[Case, ...]


# ── single values ────────────────────────────────────────────────────────────────────────────────────


def _or_unknown(form: Form) -> Form:
    def read_it(value: object) -> object:
        return UNKNOWN if value == UNKNOWN else form.read(value)

    return Form(read_it, {"anyOf": [form.schema, {"const": UNKNOWN}]})


_INTENSITY = forms.number(0, 2000)


def _read_coming(value: object) -> object:
    if value == UNKNOWN:
        return ()
    if not isinstance(value, list):
        return (_INTENSITY.read(value),) * _HOURS_MOST
    if not 1 <= len(value) <= _HOURS_MOST:
        raise Unreadable(f"{len(value)} hours are not between 1 and {_HOURS_MOST}")
    return tuple(_INTENSITY.read(entry) for entry in value)


def read_expectation(value: object) -> Expectation:
    """Read ``choose A and B``, ``move A to B``, ``stay because …``, ``refuse because …`` or ``wait 4h``."""
    if isinstance(value, str):
        text = " ".join(value.split())
        if found := _CHOOSE.fullmatch(text):
            return Expectation(Verb.CHOOSE, tuple(full(p) for p in re.split(r", | and ", found[1])), text=text)
        if found := _MOVE.fullmatch(text):
            return Expectation(Verb.MOVE, (full(found[1]), full(found[2])), text=text)
        if found := _BECAUSE.fullmatch(text):
            return Expectation(Verb(found[1]), because=found[2] or "", text=text)
        if found := _WAIT.fullmatch(text):
            return Expectation(Verb.WAIT, text=text, wait=grammar.duration(found[1]))
    raise Unreadable(
        f"{show(value)} is not an expectation. Write choose A and B, move A to B, stay because …, refuse because …, "
        "or wait 4h"
    )


def full(place: str) -> str:
    """Return a region's id: one that is written without a provider gets one."""
    return place if "/" in place else f"{PROVIDER}/{place}"


Known = Annotated[Any, _or_unknown(_INTENSITY)]


class RegionCase(Block):
    """A region as it is given."""

    region: Annotated[str, forms.pattern(PLACE_PATTERN, "a region like north or aws/eu-north-1", "north")]
    grams_per_kwh: Known
    coming_grams_per_kwh: Annotated[Any, Form(_read_coming, {})] = None
    usual_grams_per_kwh: Known = UNKNOWN
    usd_per_hour: Annotated[Any, _or_unknown(forms.number(0, 10_000))]
    pue: Annotated[Any, _or_unknown(forms.number(1, 3))] = 1.0
    rtt_ms: Annotated[Any, _or_unknown(forms.number(0, 10_000))] = UNKNOWN
    age: Annotated[timedelta | None, forms.duration("0s", "30d")] = None
    market: Annotated[Market | None, forms.choice(Market)] = None
    replicas: Annotated[int, forms.whole(0, 100)] = 0
    here_for: Annotated[timedelta | None, forms.duration("0s", "30d")] = None


class BatchCase(Block):
    """Work with a deadline."""

    engine_hours: Annotated[float, forms.number(0, 10_000, above=True)]
    due_in: Annotated[timedelta, forms.duration("0s", "168h")]
    preemptible: Annotated[bool | None, forms.flag()] = None


class CaseBlock(Block):
    """One case."""

    name: Annotated[str, forms.pattern(NAME_PATTERN, "one line of at most 120 characters")]
    replicas: Annotated[int | None, forms.whole(1, 100)] = None
    budget: Annotated[tuple[float, str] | None, Form(grammar.budget, {})] = None
    clients: list[blocks.ClientsBlock] | None = Field(None, min_length=1, max_length=64)
    when_stale: Annotated[WhenStale | None, forms.choice(WhenStale)] = None
    batch: BatchCase | None = None
    regions: list[RegionCase] = Field(min_length=1, max_length=MAX_REGIONS)
    expect: Annotated[Expectation, Form(read_expectation, {})]


class FixtureFile(Block):
    """The file."""

    kind: Annotated[str | None, forms.choice((KIND,))] = None
    policy: blocks.ServiceName = None
    cases: list[CaseBlock] | None = Field(None, min_length=1, max_length=MAX_CASES)


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────


def fixtures_of(policy_file: Path) -> Path:
    """Return where the expected decisions of a policy file stand: beside it, in a folder of their own."""
    return policy_file.parent / FOLDER / policy_file.name


def shipped_fixtures(policy: str) -> Path:
    """Return where those of a shipped policy stand."""
    return fixtures_of(shipped.POLICIES / f"{policy}.yaml")


def load_fixtures(path: Path, shown: str = "") -> Fixtures:
    """Read a file of cases. Raises ``InvalidSpec`` with every problem. ``shown``: its name in messages."""
    return parse_fixtures(read_text(path, shown or str(path)), shown or str(path))


def parse_fixtures(text: str, file: str) -> Fixtures:
    """Read cases from text. Raises ``InvalidSpec`` with every problem."""
    document = read(text, file)
    found = validate(FixtureFile, document)
    document.problems.extend(
        document.problem(path, message, at_key=True)
        for path, message in _findings(found)
        if not document.has_its_problem(path)
    )
    if document.problems:
        raise InvalidSpec(file, in_order(document.problems))
    cases = []
    for index, block in enumerate(found.cases or ()):
        place = document.problem(("cases", index), "")
        cases.append(_case(block, place.line or 0))
    return Fixtures(found.policy or "", file, tuple(cases))


def _findings(found: FixtureFile) -> Iterator[tuple[Keys, str]]:
    for key, wanted in (("kind", f"kind: {KIND}"), ("policy", "policy: green-first"), ("cases", "cases: [...]")):
        if getattr(found, key) is None:
            yield (key,), f"missing. Write {wanted}"
    names: set[str] = set()
    for index, case in enumerate(found.cases or ()):
        if case.name in names:
            yield ("cases", index, "name"), f"{show(case.name)} is here twice"
        names.add(case.name)
        offers = [(full(r.region), r.market or Market.ON_DEMAND) for r in case.regions]
        for place, (offer, region) in enumerate(zip(offers, case.regions, strict=True)):
            if offer in offers[:place]:
                yield ("cases", index, "regions", place, "region"), f"{show(region.region)} is here twice"
        if case.expect.verb is Verb.WAIT and case.batch is None:
            yield (
                ("cases", index, "expect"),
                "only work with a deadline waits. Write batch: {engine_hours: …, due_in: …}",
            )
        for expected in case.expect.regions:
            if expected not in {name for name, _ in offers}:
                yield ("cases", index, "expect"), f"{show(expected)} is not one of this case's regions"


def _case(block: CaseBlock, line: int) -> Case:
    return Case(
        name=block.name,
        replicas=block.replicas or max(1, sum(r.replicas for r in block.regions)),
        budget=block.budget,
        clients=tuple(ClientArea(c.near, c.weight) for c in block.clients or ()),
        when_stale=block.when_stale or WhenStale.HOLD,
        regions=tuple(_region(r) for r in block.regions),
        expect=block.expect,
        line=line,
        batch=None if block.batch is None else _batch(block.batch),
    )


def _batch(block: BatchCase) -> GivenBatch:
    return GivenBatch(block.engine_hours, block.due_in, bool(block.preemptible))


def _region(block: RegionCase) -> GivenRegion:
    now = _number(block.grams_per_kwh)
    coming = block.coming_grams_per_kwh
    if coming is None:
        coming = () if now is None else (now,) * _HOURS_MOST
    return GivenRegion(
        region=full(block.region),
        grams_per_kwh=now,
        coming=coming,
        usual_grams_per_kwh=_number(block.usual_grams_per_kwh),
        usd_per_hour=_number(block.usd_per_hour),
        pue=_number(block.pue),
        rtt_ms=_number(block.rtt_ms),
        age=block.age or timedelta(0),
        market=block.market or Market.ON_DEMAND,
        replicas=block.replicas,
        here_for=timedelta(hours=24) if block.here_for is None else block.here_for,
    )


def _number(value: object) -> float | None:
    return None if value == UNKNOWN or not isinstance(value, (int, float)) else float(value)
