"""What a service drew, emitted and cost, beside the same traffic served elsewhere. Losses read like losses."""

from __future__ import annotations

from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.cli.render import egress, numbers
from orchestrator.cli.render.facts import facts, sentences
from orchestrator.cli.render.headline import headline
from orchestrator.cli.render.numbers import NOTHING, UNKNOWN, Marks, exact, grams, number, percent, usd
from orchestrator.cli.render.offers import INDENT
from orchestrator.cli.render.table import Column, Grid, columns
from orchestrator.cli.render.text import line
from orchestrator.cli.render.variants import served_words
from orchestrator.domain.time import Window, format_instant
from orchestrator.domain.units import joules_to_kwh
from orchestrator.ledger.report import Embodied, Fetched, Moves, Report, Rival

SAME: Final = 0.005
"""Differences below half a per cent are called none: they are far inside the uncertainty of any energy figure."""

KNOWN_ENOUGH: Final = 0.9995


def render(report: Report, *, width: int) -> RenderableType:
    """Return the whole report."""
    if report.engine_seconds == 0:
        return line(
            f"{report.service} has no energy samples in {_period(report.period)}: nothing ran, or nobody looked."
        )
    marks = Marks()
    parts: list[RenderableType] = [headline(report.service, _period(report.period), _running(report))]
    parts += [Text(""), _totals(report, marks), Text(""), _regions(report, width=width), Text("")]
    parts += _rivals(report, marks, width=width)
    parts += [Text(""), *_small_print(report)]
    if legend := marks.legend():
        parts.append(Text(legend, style="dim"))
    return Group(*parts)


def _period(period: Window) -> str:
    return f"{numbers.instant(period.start)} to {numbers.instant(period.end)}"


def _running(report: Report) -> str:
    words = f"{numbers.duration(report.engine_seconds)} of replicas running"
    rate = numbers.rate_words(report.clock_rate)
    return f"{words}, grid {rate}" if rate else words


def _totals(report: Report, marks: Marks) -> RenderableType:
    per_token = report.joules_per_output_token
    per_unit = report.grams_per_1000_output_tokens
    emitted = grams(report.grams) if report.grams is None else f"{grams(report.grams)} CO2e"
    band = report.uncertainty_fraction
    energy = (
        f"{number(report.joules, 4)} J = {number(report.kwh)} kWh, PUE included",
        "" if band is None else f"± {percent(band)}",
        "" if per_token is None else f"{number(per_token)} J per output token",
    )
    per_thousand = (
        "per token: no output token was counted"
        if per_unit is None
        else f"{_milligrams(per_unit)} per 1,000 output tokens (SCI, operational part only)"
    )
    return facts(
        ("Energy", sentences(energy)),
        ("Emissions", sentences((marks.write(emitted, report.intensity_kind).rstrip(), per_thousand))),
        ("Embodied", sentences(_embodied(report.embodied))),
        *([] if report.egress is None else [("Egress", sentences(_egress(report.egress)))]),
        ("Cost", sentences((usd(report.usd), _cost_note(report)))),
        *([] if report.moves is None else [("Moves", sentences(_moves(report.moves)))]),
        ("Tokens", f"{report.prompt_tokens:,} read, {report.output_tokens:,} written"),
        *([] if report.quality is None else [("Quality", sentences(served_words(report.quality)))]),
    )


def _embodied(found: Embodied) -> tuple[str, ...]:
    """Say what making the hardware emitted, and the whole SCI where all of it is known."""
    words = []
    if found.known_hours > 0:
        words.append(f"{grams(found.low_grams)} to {grams(found.high_grams)} CO2e, as published figures differ")
    if found.unknown_hours > 0:
        names = ", ".join(shape or "hardware that is not on record" for shape in found.unknown_shapes)
        words.append(f"{UNKNOWN} for {number(found.unknown_hours)} h of {names}: nothing is published")
    if found.low_sci is not None and found.high_sci is not None:
        words.append(f"{grams(found.low_sci)} to {grams(found.high_sci)} CO2e per 1,000 output tokens (SCI, whole)")
    return tuple(words)


def _egress(found: Fetched) -> tuple[str, ...]:
    """Say what fetching weights took: modelled, a range, and in no sum."""
    launches = f"{found.launches} launch{'es' if found.launches != 1 else ''}"
    words = [f"modelled, in no sum: {number(found.gb)} GB fetched by {launches} from {' and '.join(found.sources)}"]
    if found.grams is not None:
        words.append(f"{grams(found.grams.low)} to {grams(found.grams.high)} CO2e on the network, attributional")
    if found.usd is not None:
        words.append(egress.money(found.usd))
    if found.unknown:
        words.append(f"{UNKNOWN} unknown in part for {found.unknown} of them")
    return tuple(words)


def _moves(found: Moves) -> tuple[str, ...]:
    """Say what of the above moves took."""
    moves = f"{found.count} move{'s' if found.count != 1 else ''}"
    words = [f"{moves} took {numbers.duration(found.engine_seconds)} of two replicas running for one"]
    energy = f"{number(joules_to_kwh(found.joules))} kWh"
    taken = ", ".join((energy, *([] if found.grams is None else [f"{grams(found.grams)} CO2e"]), usd(found.usd)))
    return (*words, f"{taken} of the above, which no rival is charged for")


def _milligrams(value: float) -> str:
    return f"{grams(value)} CO2e"


def _cost_note(report: Report) -> str:
    if report.usd is None:
        return "no price is recorded for what ran"
    unpriced = [f"{number(r.unpriced_hours)} h in {r.region}" for r in report.regions if r.unpriced_hours > 0]
    return f"without {', '.join(unpriced)}: no price is recorded for that" if unpriced else ""


def _regions(report: Report, *, width: int) -> RenderableType:
    grid = Grid(
        columns(
            "REGION",
            Column("ZONE", keep=3),
            Column("REPLICA HOURS", right=True, keep=2),
            Column("kWh", right=True),
            Column("g/kWh", right=True, keep=4),
            Column("CO2e", right=True),
            Column("$", right=True),
            Column("TOKENS", right=True, keep=1),
            Column("SHARE", right=True, keep=0),
        )
    )
    for r in report.regions:
        share = r.output_tokens / report.output_tokens if report.output_tokens else None
        grid.add(
            r.region,
            r.zone or UNKNOWN,
            number(r.replica_hours),
            number(r.kwh),
            number(r.mean_grams_per_kwh),
            grams(r.grams),
            usd(r.usd).removeprefix("$"),
            f"{r.output_tokens:,}",
            NOTHING if share is None else percent(share),
        )
    return grid.laid_out(width, INDENT)


def _rivals(report: Report, marks: Marks, *, width: int) -> list[RenderableType]:
    if not report.rivals:
        return [line(("No other region is known to compare with.", "dim"))]
    grid = Grid(
        columns(
            "SAME TRAFFIC IN",
            "REGION",
            Column("CO2e", right=True),
            Column("THIS SERVICE EMITTED", wrap=True),
            Column("$", right=True, keep=3),
            Column("WHY THIS RIVAL", wrap=True, keep=1),
        )
    )
    for rival in report.rivals:
        grid.add(
            rival.name,
            rival.region,
            marks.write(grams(rival.grams), rival.intensity_kind).rstrip(),
            _against(report, rival),
            usd(rival.usd).removeprefix("$"),
            rival.why,
        )
    return [grid.laid_out(width, INDENT)]


def _against(report: Report, rival: Rival) -> Text:
    """Say less, more or the same, in words: a loss is never hidden behind a sign."""
    if rival.grams is None:
        return Text(f"{UNKNOWN} intensity known for {percent(rival.known_fraction)} of the samples", style="dim")
    if report.grams is None:
        return Text(f"{UNKNOWN} own emissions unknown", style="dim")
    saved = rival.grams - report.grams
    if rival.grams == 0:
        return Text("the same" if saved == 0 else f"{grams(-saved)} more", style="" if saved == 0 else "red")
    fraction = saved / rival.grams
    if abs(fraction) < SAME:
        return Text("the same")
    word, style = ("less", "green") if saved > 0 else ("more", "red")
    return Text(f"{grams(abs(saved))} {word} ({percent(-fraction, signed=True)})", style=style)


def _small_print(report: Report) -> list[Text]:
    """State what the numbers are and are not."""
    method = "unknown" if report.method is None else report.method.value
    details = "; ".join(report.method_details).removeprefix(method).removeprefix(": ")
    notes = [f"Energy is {method}{': ' + details if details else ''}."]
    if report.uncertainty_fraction is not None:
        band = percent(report.uncertainty_fraction)
        same = "the same joules on both sides" + (", but for those of moves" if report.moves is not None else "")
        notes.append(f"Joules and grams are good to ± {band}; the comparisons use {same}.")
    if report.intensity_kind is not None:
        notes.append(
            f"Grid intensity: {report.intensity_kind.value} at its weakest; {report.basis.factors.value} factors, "
            f"{report.basis.accounting.value} mix; location-based, hour by hour."
        )
    if report.clock_rate != 1.0:
        notes.append(
            f"The grid was replayed at {exact(report.clock_rate)} × real time: joules are those of the real seconds, "
            f"intensities those of the replayed hours."
        )
    methods = "; ".join(report.embodied.methods)
    notes.append(
        f"Embodied: this service's hours of the hardware's life{' (' + methods + ')' if methods else ''}; in no sum of "
        f"grams and in no decision, for the hardware exists wherever the service runs."
    )
    lines = [line((note, "dim")) for note in notes]
    if report.basis_before is not None:
        start = format_instant(report.period.start)
        note = (
            f"carbon.basis was {report.basis_before.accounting.value} {report.basis_before.factors.value} before "
            f"{start}. Grams of two bases are no sum, so what is older is left out: greenctl report "
            f"{report.service} --to {start}"
        )
        lines.append(line((note, "yellow")))
    unknown = 1 - report.known_joules / report.joules if report.joules else 0.0
    if unknown > 1 - KNOWN_ENOUGH:
        note = (
            f"{percent(unknown)} of the energy ({number(report.kwh * unknown)} kWh) was drawn while the intensity of "
            f"the grid was unknown. It is in the joules, and in the grams of neither side."
        )
        lines.append(line((note, "yellow")))
    return lines
