"""``greenctl policy``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.frame import FileCommand, new_app
from orchestrator.cli.render import policy as page
from orchestrator.cli.session import Session
from orchestrator.control.policy_trial import try_policy
from orchestrator.errors import ExitStatus, InvalidSpec, Problem, UsageError
from orchestrator.spec.fixture_file import Fixtures, fixtures_of, load_fixtures, shipped_fixtures
from orchestrator.spec.grammar import Unreadable
from orchestrator.spec.policy_file import LoadedPolicy, load_policy_file, shipped_policies, shipped_policy

app = new_app(
    """Show policies, and try them against the decisions that are expected of them.

    Examples:
      greenctl policy show
      greenctl policy test
    """
)

Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="POLICY...", help="Shipped policies, or policy files (./mine.yaml).", show_default=False),
]


@app.command(cls=FileCommand)
def show(
    ctx: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(metavar="POLICY", help="A shipped policy, or a policy file.", show_default=False),
    ] = None,
) -> None:
    """Show what a policy wants; without a name, list the shipped ones.

    Examples:
      greenctl policy show
      greenctl policy show price-of-carbon
      greenctl policy show ./mine.yaml --json

    A rule keeps offers out; it evicts nobody who stands there already. What is unknown is never taken for 0: each rule
    and each weight says what holds then.
    """
    session = Session.of(ctx)
    if name is None:
        found = [shipped_policy(n) for n in shipped_policies()]
        session.emit(rows=[_row(loaded) for loaded in found])
        session.show(page.listing([loaded.policy for loaded in found], width=session.out.width))
        return
    loaded = _find(name)
    session.emit(rows=[_row(loaded)])
    session.show(page.one(loaded.policy, loaded.digest, width=session.out.width))


@app.command("test", cls=FileCommand)
def run_cases(ctx: typer.Context, policies: Names = None) -> None:
    """Put the expected decisions of policies to the real planner.

    Examples:
      greenctl policy test
      greenctl policy test green-first price-of-carbon
      greenctl policy test ./mine.yaml --json

    The cases of policies/NAME.yaml stand in policies/fixtures/NAME.yaml, in plain words: given these regions with
    grams, dollars and replicas, expect choose, move, stay or refuse. Every replica in them draws one kilowatt. The exit
    status is 1 when a decision is not the expected one.
    """
    session = Session.of(ctx)
    trials = [_trial(name) for name in policies or shipped_policies()]
    outcomes = [outcome for loaded, fixtures in trials for outcome in try_policy(loaded.policy, fixtures)]
    session.emit(rows=outcomes, passed=all(o.passed for o in outcomes))
    session.show(page.trial(outcomes, _files(trials), width=session.out.width))
    if not all(o.passed for o in outcomes):
        raise typer.Exit(ExitStatus.UNEXPECTED)


def _row(loaded: LoadedPolicy) -> dict[str, object]:
    return {"policy": loaded.policy, "digest": loaded.digest}


def _files(trials: Sequence[tuple[LoadedPolicy, Fixtures]]) -> dict[str, str]:
    return {loaded.policy.name: fixtures.file for loaded, fixtures in trials}


def _is_path(name: str) -> bool:
    return name.startswith((".", "/")) or name.endswith((".yaml", ".yml"))


def _find(name: str) -> LoadedPolicy:
    """Return a policy by name or path. Raises ``UsageError``, or ``InvalidSpec`` of its file."""
    if _is_path(name):
        return load_policy_file(Path(name))
    try:
        return shipped_policy(name)
    except Unreadable as error:
        meant = f'. Did you mean "{error.suggestion}"?' if error.suggestion else ""
        raise UsageError(f"{error.message}{meant}", hint="greenctl policy show lists them.") from error


def _trial(name: str) -> tuple[LoadedPolicy, Fixtures]:
    """Return a policy with its cases. Raises ``InvalidSpec`` where they are missing or speak of another policy."""
    loaded = _find(name)
    path = fixtures_of(Path(name)) if _is_path(name) else shipped_fixtures(name)
    shown = str(path) if _is_path(name) else f"policies/fixtures/{path.name}"
    if not path.exists():
        problem = Problem("", f"{loaded.policy.name} has no expected decisions yet: this file is not there")
        raise InvalidSpec(shown, (problem,), hint=f"Write it, for a start as {_first_cases(loaded.policy.name)}")
    fixtures = load_fixtures(path, shown)
    if fixtures.policy != loaded.policy.name:
        message = f'"{fixtures.policy}" is not {loaded.policy.name}, the policy beside it'
        raise InvalidSpec(shown, (Problem("policy", message),))
    return loaded, fixtures


def _first_cases(policy: str) -> str:
    """Return a whole file of cases in a line, to be copied."""
    regions = (
        "{region: coal, grams_per_kwh: 700, usd_per_hour: 1.0}, {region: north, grams_per_kwh: 30, usd_per_hour: 1.1}"
    )
    case = f"{{name: not the coal, regions: [{regions}], expect: choose north}}"
    return f"{{kind: PolicyFixtures, policy: {policy}, cases: [{case}]}}"
