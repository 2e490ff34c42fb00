"""``greenctl deploy``."""

from typing import Annotated

import typer

from orchestrator.cli import plan_memory
from orchestrator.cli.acting import see_to_controller
from orchestrator.cli.endpoint import Endpoint, say_if_elsewhere
from orchestrator.cli.frame import Command, new_app
from orchestrator.cli.parameters import SpecFile, Timeout, Yes
from orchestrator.cli.reading import is_recorded, read_spec
from orchestrator.cli.render import money
from orchestrator.cli.render import plan as page
from orchestrator.cli.render.numbers import usd
from orchestrator.cli.render.text import line
from orchestrator.cli.session import Session
from orchestrator.cli.unread import say_unread, unread
from orchestrator.cli.watching import last_event_id, require_idle, watch
from orchestrator.control.usecases import bill_of, preview_deploy, refuse_while_paused, submit_deploy
from orchestrator.domain.plan import ActionKind, Plan
from orchestrator.domain.records import Operation
from orchestrator.errors import StalePlan
from orchestrator.spec.service_file import LoadedSpec

OFFERS_SHOWN = 5
HOURS_PER_DAY = 24

app = new_app()


@app.command(cls=Command)
def deploy(
    ctx: typer.Context,
    spec: SpecFile,
    *,
    digest: Annotated[
        str | None,
        typer.Option("--digest", metavar="D", help="Apply only the plan of this digest.", show_default=False),
    ] = None,
    yes: Yes = False,
    detach: Annotated[
        bool, typer.Option("--detach", help="Hand the work over and return at once.", show_default=False)
    ] = False,
    timeout: Timeout = None,
) -> None:
    """Put a service where its policy says: plan, ask, apply, watch.

    Examples:
      greenctl deploy service.yaml                       show the plan, ask, apply, watch
      greenctl deploy service.yaml --yes                 without asking, as in a pipeline
      greenctl deploy service.yaml --digest 9c41e7a2b0d3  exactly the plan that was shown
      greenctl deploy service.yaml --yes --detach        return at once; the controller does the work

    Ctrl-C stops watching, never the work. The controller, and with it the gateway, is started when none runs.
    """
    session = Session.of(ctx)
    loaded = read_spec(session, spec)
    require_idle(session.runtime, loaded.spec.name)
    plan = session.run(preview_deploy(loaded.spec, loaded.digest, session.runtime))
    say_unread(session, unread(session))
    if digest is not None:
        _require(plan, digest, session)
    if not plan.actions and is_recorded(session, loaded):
        session.say(line(f"Nothing to do: {plan.service} already runs as this file says."))
        see_to_controller(session)  # after a reboot that is what was missing: replicas are on record, and may be gone
        _conclude(session, loaded, plan, None, "unchanged")
        return
    refuse_while_paused(plan.service, session.runtime)
    tell = session.say if yes else session.complain
    tell(page.render(plan, loaded.spec, width=session.talk.width, offers=OFFERS_SHOWN))
    tell(money.worst_case(bill_of(loaded.spec, session.runtime, plan.actions)))
    session.confirm(_question(plan), yes=yes)
    operation, news = _hand_over(session, loaded, plan)
    if detach:
        session.say(line("Handed over. Watch it with: ", (f"greenctl rollout status {plan.service} --watch", "bold")))
        _conclude(session, loaded, plan, operation, "queued")
        return
    watch(session, operation, after_event=news, timeout=timeout)
    _conclude(session, loaded, plan, operation, "done")


def _require(plan: Plan, digest: str, session: Session) -> None:
    """Refuse to apply anything but the plan that was shown."""
    if plan.digest == digest:
        return
    shown = plan_memory.recall(session.settings.cache_dir, digest)
    plan_memory.remember(session.settings.cache_dir, plan)
    changed = [] if shown is None else plan_memory.differences(shown, plan)
    details = "".join(f"\n{words}" for words in changed) or "\nthe plan that was shown is not remembered here"
    raise StalePlan(f"the plan is now {plan.digest}, not {digest}{details}")


def _question(plan: Plan) -> str:
    """Ask about money where money is spent."""
    buys = any(a.kind is not ActionKind.RETIRE for a in plan.actions)
    rate = plan.totals.usd_per_hour
    if not plan.actions:
        return "Nothing is bought or removed; record the new file? [y/N]:"
    if not buys:
        return f"Remove {len(plan.actions)} replica{'' if len(plan.actions) == 1 else 's'}? [y/N]:"
    if rate is None:
        return "The price of a part is unknown. Go ahead? [y/N]:"
    if rate == 0:
        return "This costs nothing per hour. Go ahead? [y/N]:"
    return f"Spend up to {usd(rate)}/h (about {usd(rate * HOURS_PER_DAY)} a day)? [y/N]:"


def _hand_over(session: Session, loaded: LoadedSpec, plan: Plan) -> tuple[Operation, int]:
    """Store the request; returns it with the id of the last old event. A controller is there before it is written."""
    runtime = session.runtime
    news = last_event_id(runtime, plan.service)
    see_to_controller(session)
    operation = submit_deploy(loaded.spec, loaded.digest, plan, runtime, actor=session.outside.actor())
    return operation, news


def _conclude(session: Session, loaded: LoadedSpec, plan: Plan, operation: Operation | None, state: str) -> None:
    endpoint = Endpoint.of(session, loaded.spec)
    say_if_elsewhere(session)
    session.emit(
        deploy={
            "service": plan.service,
            "state": state,
            "operation": None if operation is None else operation.id,
            "plan": plan,
            "worst_case_bill": bill_of(loaded.spec, session.runtime, plan.actions if state == "queued" else ()),
            "endpoint": endpoint,
        }
    )
    if state != "queued":
        session.show(endpoint.render())
