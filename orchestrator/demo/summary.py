"""The last screen: what was done, what it drew and emitted, and what it would have been elsewhere."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.demo.moment import Moment
from orchestrator.demo.traffic import Tally
from orchestrator.domain.time import format_instant
from orchestrator.domain.units import JOULES_PER_KWH
from orchestrator.ledger.report import Report, Rival

RULE = "─" * 78


def summary(result: Mapping[str, object], tally: Tally, moment: Moment, account: Report) -> str:
    """Return it as text, at most one screen."""
    regions = ", ".join(f"{region} {count}" for region, count in sorted(tally.by_region.items()))
    unknown = account.joules - account.known_joules
    lines = [
        "",
        RULE,
        f"engine      vLLM {result['engine_version']} on this machine's CPU, a tiny random-weight model",
        f"grid        {result['signals']}, replayed from {format_instant(moment.start)} at {result['clock_rate']:.0f}x"
        if isinstance(result["clock_rate"], float)
        else "",
        "            the moment was picked because the policy moves a replica then; most hours it rightly stays",
        f"requests    {tally.ok} complete, {tally.failed} failed, {tally.truncated} truncated"
        f" ({tally.resumed} went on elsewhere after the kill)",
        f"            answered by: {regions}",
        f"changes     {result['migrations']} migration by the policy's own decision, "
        f"{result['replacements']} lost replica replaced",
        f"energy      {account.joules:,.0f} J = {account.kwh:.4f} kWh, {account.method}, "
        f"±{(account.uncertainty_fraction or 0):.0%}, in {account.engine_seconds / 60:.0f} replica-minutes",
        f"emissions   {_grams(account.grams)}"
        + (f" ({unknown / JOULES_PER_KWH:.4f} kWh unknown)" if unknown > 0 else ""),
    ]
    lines += [f"  {r.name:<9} {_rival(r, account)}" for r in account.rivals]
    lines += [f"problems    {p}" for p in tally.problems[:5]]
    times = result["phase_seconds"]
    if isinstance(times, Mapping):
        lines.append("seconds     " + ", ".join(f"{name} {seconds:.0f}" for name, seconds in times.items()))
    return "\n".join([*(line for line in lines if line != ""), RULE])


def _grams(grams: float | None) -> str:
    return "unknown" if grams is None else f"{grams:.3f} gCO2e"


def _rival(rival: Rival, account: Report) -> str:
    """One rival in words; a loss is called a loss."""
    if rival.grams is None or account.grams is None:
        return f"{rival.region}: unknown for a part of the time"
    if rival.grams == 0:
        return f"{rival.region}: 0 gCO2e"
    change = account.grams / rival.grams - 1
    word = "less" if change <= 0 else "MORE"
    return f"{rival.region}: {_grams(rival.grams)}; this service emitted {abs(change):.0%} {word}"
