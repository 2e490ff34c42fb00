"""A plan as a person reads it before saying yes: what was weighed, what is bought, what it draws, emits and costs."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.cli.render import numbers
from orchestrator.cli.render.facts import facts
from orchestrator.cli.render.headline import grid_time, headline
from orchestrator.cli.render.labels import label_of
from orchestrator.cli.render.numbers import NOTHING, Marks, percent, usd
from orchestrator.cli.render.offers import INDENT, MARKET_WORDS, offers_table, price_sources
from orchestrator.cli.render.origins import origin_lines
from orchestrator.cli.render.proof import proof
from orchestrator.cli.render.table import Column, Grid, columns
from orchestrator.cli.render.text import indented, line
from orchestrator.cli.render.variants import variant_lines
from orchestrator.cli.render.work import work_line
from orchestrator.domain.plan import GLYPHS, Action, ActionKind, Plan, Totals
from orchestrator.domain.scale import COST_OF, Spare, WantedReplicas
from orchestrator.domain.service import Objective, ServiceSpec
from orchestrator.domain.survival import Survival

GLYPH_STYLES: Final = {ActionKind.LAUNCH: "green", ActionKind.MOVE: "yellow", ActionKind.RETIRE: "red"}


def render(plan: Plan, spec: ServiceSpec | None, *, width: int, offers: int) -> RenderableType:
    """Return the whole page. ``offers``: how many rows of the offers table at most, 0 for all."""
    marks = Marks()
    table = offers_table(plan.decision.assessments, marks, width=width, limit=offers)
    parts: list[RenderableType] = [headline(plan.service, *_header(plan))]
    if spec is not None:
        parts += [Text(""), demands(spec, plan.decision.sizing)]
    parts += [Text(""), table]
    if prices := price_sources(plan.decision.assessments):
        parts.append(indented(INDENT, (f"Prices: {prices}", "dim")))
    if batches := work_line(plan.decision.assessments):
        parts.append(indented(INDENT, (f"Expected batch: {batches}.", "dim")))
    parts += [indented(INDENT, (words, "dim")) for words in variant_lines(plan.decision.assessments)]
    if plan.actions:
        parts += [Text(""), actions_table(plan, width=width)]
    parts += [Text(""), *summary(plan, width=width)]
    parts += [indented(INDENT, words) for words in origin_lines(plan.decision.origins)]
    if legend := marks.legend():
        parts += [Text(legend, style="dim")]
    return Group(*parts)


def _header(plan: Plan) -> tuple[str, ...]:
    decision = plan.decision
    ages = [a.intensity_age_seconds for a in decision.assessments if a.allowed and a.intensity_age_seconds is not None]
    signals = f"signals: the oldest in use {numbers.age(max(ages))} old" if ages else "no signal in use"
    return (f"policy {decision.policy}", grid_time(decision.at, decision.clock_rate), signals)


def demands(spec: ServiceSpec, size: WantedReplicas | None = None) -> RenderableType:
    """Say what is wanted and what must hold. ``size``: how many replicas, where load decides on that."""
    scaling, rules, policy = spec.scaling, spec.placement, spec.policy
    count = scaling.min_replicas if size is None else size.replicas
    wanted = f"{count} replica{'' if count == 1 else 's'} of {spec.model.id} on {spec.model.engine.value}"
    if size is not None:
        by = "by load" if spec.batch is None else "by hours"
        wanted += f" ({size.least} to {size.most} {by}: {size.because})"
    must: list[str] = []
    if rules.residency:
        must.append("in " + "/".join(rules.residency))
    if rules.allow:
        must.append("only " + ", ".join(rules.allow))
    if rules.deny:
        must.append("not " + ", ".join(rules.deny))
    if policy.price_cap_usd_per_hour is not None:
        must.append(f"≤ {usd(policy.price_cap_usd_per_hour)}/h each")
    if rules.max_per_region is not None:
        must.append(f"at most {rules.max_per_region} per region")
    if spec.survives is not None:
        must.append(f"enough left without any one {spec.survives.value}")
    must.append(f"intensity at most {numbers.age(spec.carbon.max_age)} old")
    why = number_reason(size)
    rows = [("Wanted", wanted), *([("Because", why)] if why else []), ("Goal", _goal(spec))]
    return facts(*rows, ("Must hold", " · ".join(must)))


def number_reason(size: WantedReplicas | None) -> str:
    """Say what the number that was chosen costs on its best offers, and what the best other one would; or nothing."""
    costs = [] if size is None else [f for f in size.figures if f.name.startswith(COST_OF)]
    if not costs:
        return ""
    words = [f"{f.name.removeprefix(COST_OF)} cost {numbers.number(f.value)} {f.unit} ({f.origin})" for f in costs[:2]]
    if len(costs) == 1:
        return f"{words[0]}; no other number was worth trying"
    more = _difference(costs[1].value, costs[0].value)
    return f"{words[0]}; the best other number: {words[1]}, {more}"


def _goal(spec: ServiceSpec) -> str:
    policy = spec.policy
    extra = policy.max_extra_cost_fraction
    if policy.objective is Objective.CHEAPEST:
        return "the cheapest offer"
    if policy.objective is Objective.LOWEST_SCORE:
        return "the lowest " + " + ".join(f"{t.weight:g} × {t.term}" for t in policy.weigh)
    if extra is None:
        return "the greenest offer, whatever it costs"
    return f"the greenest offer within {percent(extra)} above the cheapest"


def actions_table(plan: Plan, *, width: int) -> RenderableType:
    """Return one row per change: ``+`` add, ``~`` move, ``-`` remove."""
    grid = Grid(
        columns("", "", "", Column("", keep=4), Column("", right=True, keep=5), Column("", wrap=True, keep=2)),
    )
    for action in plan.actions:
        glyph = Text(GLYPHS[action.kind], style=GLYPH_STYLES[action.kind])
        price = "" if action.kind is ActionKind.RETIRE else f"{usd(action.usd_per_hour)}/h"
        market = "" if action.market is None else MARKET_WORDS[action.market]
        grid.add(
            glyph,
            label_of(action.slot, action.replica),
            _route(action),
            f"{action.shape} {market}".strip(),
            price,
            action.reason,
        )
    return grid.laid_out(width, INDENT)


def _route(action: Action) -> str:
    if action.kind is ActionKind.MOVE and action.from_region:
        return f"{action.from_region} → {action.region}"
    return action.region or action.from_region


def summary(plan: Plan, *, width: int) -> list[RenderableType]:
    """Return the count of changes, the hourly totals, and both ends of the trade-off."""
    kinds = Counter(a.kind for a in plan.actions)
    added, moved, removed = (kinds[k] for k in (ActionKind.LAUNCH, ActionKind.MOVE, ActionKind.RETIRE))
    changes = f"Plan: {added} to add, {moved} to move, {removed} to remove"
    kept = f", {len(plan.keep)} to stay as {'it is' if len(plan.keep) == 1 else 'they are'}" if plan.keep else ""
    parts: list[RenderableType] = [line((changes, "bold"), f"{kept}.")]
    if (certificate := plan.decision.certificate) is not None:
        parts.append(indented(INDENT, f"Proof: {proof(certificate)}."))
    grid = Grid(
        columns(
            "PER HOUR",
            Column("REPLICAS", right=True, keep=2),
            Column("ENERGY", right=True, keep=1),
            Column("CARBON", right=True),
            Column("", right=True, keep=5),
            Column("COST", right=True),
            Column("", right=True, keep=5),
            Column("PLACED IN", wrap=True, keep=3),
        )
    )
    _add_totals(grid, "this plan", plan.totals, plan.totals, "")
    for point in plan.frontier:
        _add_totals(grid, _end_words(point.name), point.totals, plan.totals, _places(point.placement))
    parts.append(grid.laid_out(width, INDENT))
    if (liters := plan.totals.liters_per_hour) is not None:
        parts.append(indented(INDENT, (f"Water on site: {numbers.number(liters)} L/h.", "dim")))
    if plan.survival is not None:
        parts += _survival(plan.survival)
    parts += spares_table(plan.spares, width=width)
    if plan.frontier:
        parts.append(indented(INDENT, ("% compare each row with this plan.", "dim")))
    return parts


def spares_table(spares: Sequence[Spare], *, width: int) -> list[RenderableType]:
    """Return what each replica beyond what load needs adds; of all after the first while load is not known."""
    shown = [s for s in spares if not s.is_needed]
    if not shown:
        return []
    head = "EACH SPARE REPLICA" if shown[0].is_needed is False else "EACH REPLICA MORE"
    grid = Grid(
        columns(
            head,
            Column("POWER", right=True, keep=2),
            Column("ENERGY", right=True, keep=1),
            Column("CARBON", right=True),
            Column("COST", right=True),
            Column("IN", wrap=True, keep=3),
        )
    )
    for one in shown:
        watts = numbers.UNKNOWN if one.watts is None else f"+{numbers.watts(one.watts)}"
        place = one.offer_id.split(":", 1)[0]
        grid.add(
            f"r{one.slot} adds",
            watts,
            numbers.kwh(one.kwh_per_hour),
            _carbon(one.grams_per_hour),
            usd(one.usd_per_hour),
            place,
        )
    return [Text(""), grid.laid_out(width, INDENT)]


def _survival(found: Survival) -> list[RenderableType]:
    """Say whether the plan survives the loss of any one region, how many spares that takes, and what they add."""
    text = found.because
    if not found.is_kept:
        where = f" without {', '.join(found.too_few_without)}" if found.too_few_without else ""
        text = f"{text}; with this plan {found.left} of {found.replicas} would be left{where}"
    extra = max(0, found.replicas - found.needed)
    if extra:
        added = f"{usd(found.usd_per_hour)}/h and {_carbon(found.grams_per_hour)}/h"
        text += f". {extra} spare{'' if extra == 1 else 's'}: {added} more"
    return [Text(""), indented(INDENT, f"{text}.")]


def _end_words(name: str) -> str:
    known = {Objective.CHEAPEST.value: "the cheapest allowed", Objective.GREENEST.value: "the greenest, at any cost"}
    return known.get(name, name)


def _places(placement: Sequence[str]) -> str:
    counts = Counter(offer.split(":", 1)[0] for offer in placement)
    return ", ".join(f"{count} × {region}" for region, count in counts.items())


def _add_totals(grid: Grid, name: str, totals: Totals, against: Totals, where: str) -> None:
    grid.add(
        name,
        str(totals.replicas),
        numbers.kwh(totals.kwh_per_hour),
        _carbon(totals.grams_per_hour),
        "" if totals is against else _difference(totals.grams_per_hour, against.grams_per_hour),
        usd(totals.usd_per_hour),
        "" if totals is against else _difference(totals.usd_per_hour, against.usd_per_hour),
        where,
    )


def _carbon(grams: float | None) -> str:
    return numbers.UNKNOWN if grams is None else f"{numbers.grams(grams)}CO2e"


def _difference(value: float | None, against: float | None) -> str:
    if value is None or against is None or against == 0:
        return NOTHING if value is not None and value == against else numbers.UNKNOWN
    return percent((value - against) / against, signed=True)


def apply_line(plan: Plan, spec_path: str) -> Text:
    """Return the command that applies exactly this plan, unwrapped so that it can be copied."""
    command = f"greenctl deploy {shlex.quote(spec_path)} --digest {plan.digest}"
    text = line(f"Digest {plan.digest}.  Apply exactly this: ", (command, "bold"))
    text.no_wrap, text.overflow = True, "ignore"
    return text
