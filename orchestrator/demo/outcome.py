"""What the demonstration shows in the end: one value, one JSON document, one screen."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.demo.moment import Moment
from orchestrator.demo.traffic import Tally
from orchestrator.domain.carbon import Kind
from orchestrator.domain.time import format_instant
from orchestrator.domain.units import joules_to_kwh
from orchestrator.ledger.report import Report, Rival

RULE = "─" * 78
PROBLEMS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Outcome:
    """The figures. ``account`` was taken before the service went down."""

    engine: str
    engine_version: str
    moment: Moment
    clock_rate: float
    tally: Tally
    migrations: int
    migrations_aborted: int
    replacements: int
    account: Report
    phase_seconds: dict[str, float]

    @property
    def bar_is_met(self) -> bool:
        """No request failed or was truncated, the policy moved a replica, and the killed one was replaced."""
        clean = self.tally.ok > 0 and self.tally.failed == self.tally.truncated == 0
        return clean and self.migrations > 0 and self.replacements > 0

    @property
    def signals(self) -> str:
        """``synthetic`` as soon as one hour was."""
        return "synthetic" if self.account.intensity_kind in {Kind.SYNTHETIC, None} else "recorded"

    def document(self) -> dict[str, object]:
        """Return the figures for a program. Joules and grams are ``null`` where nothing is known."""
        account, tally = self.account, self.tally
        return {
            "format_version": 1,
            "engine": self.engine,
            "engine_version": self.engine_version,
            "signals": self.signals,
            "requests": {
                "ok": tally.ok,
                "failed": tally.failed,
                "truncated": tally.truncated,
                "resumed": tally.resumed,
            },
            "migrations": self.migrations,
            "migrations_aborted": self.migrations_aborted,
            "replacements": self.replacements,
            "phase_seconds": self.phase_seconds,
            "energy_joules": account.joules if account.engine_seconds else None,
            "emissions_grams": account.grams,
            "energy_method": self._method(),
            "clock_rate": self.clock_rate,
            "bar_is_met": self.bar_is_met,
        }

    def screen(self) -> str:
        """Return the summary for a person."""
        account, tally = self.account, self.tally
        regions = ", ".join(f"{region} {count}" for region, count in sorted(tally.by_region.items()))
        uncertainty = f"±{account.uncertainty_fraction:.0%}" if account.uncertainty_fraction is not None else "±?"
        unknown = joules_to_kwh(account.joules - account.known_joules)
        rows = [
            ("engine", f"{self.engine} {self.engine_version} on this machine's CPU, a tiny random-weight model"),
            ("grid", f"{self.signals}, replayed from {format_instant(self.moment.start)} at {self.clock_rate:.0f}x"),
            ("", "the moment was picked because the policy moves then; most hours it rightly stays"),
            ("requests", f"{tally.ok} complete, {tally.failed} failed, {tally.truncated} truncated"),
            ("", f"{tally.resumed} streams went on elsewhere after the kill; answered by {regions or 'nobody'}"),
            (
                "changes",
                f"{self.migrations} migration decided by the policy, {self.replacements} lost replica replaced",
            ),
            ("energy", f"{account.joules:,.0f} J, {self._method()}, {uncertainty}"),
            (
                "emissions",
                _grams(account.grams) + (f", and {unknown:.4f} kWh of unknown intensity" if unknown > 0 else ""),
            ),
            *((f"  {r.name}", _rival(r, account)) for r in account.rivals),
            *(("problem", p) for p in tally.problems[:PROBLEMS_SHOWN]),
            ("seconds", ", ".join(f"{name} {seconds:.0f}" for name, seconds in self.phase_seconds.items())),
        ]
        return "\n".join(["", RULE, *(f"{name:<10} {text}" for name, text in rows), RULE])

    def _method(self) -> str:
        if self.account.method is None:
            return "unknown"
        prefix = f"{self.account.method.value}: "
        return prefix + "; ".join(d.removeprefix(prefix) for d in self.account.method_details)


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
    return f"{_grams(rival.grams)} in {rival.region}: this service emitted {abs(change):.0%} {word}"
