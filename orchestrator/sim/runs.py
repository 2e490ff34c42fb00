"""One policy's run over the period, and its row: the real controller lives, a rule places, the oracle knows.

All are counted by the same ledger, and of batch work by the same promises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from itertools import pairwise

from orchestrator.domain.service import BatchRules, GatewayRules, ServiceSpec
from orchestrator.domain.time import Window
from orchestrator.errors import NoFeasiblePlacement
from orchestrator.sim.batch import at_once, in_hindsight, kept_promises, rounds_of, seconds_each
from orchestrator.sim.bill import Account, Service, Stay, account_of, moves_in, service_of, serving
from orchestrator.sim.board import Board, Choose
from orchestrator.sim.fleet import Fleet
from orchestrator.sim.layout import may_stand
from orchestrator.sim.oracle import as_rule, best, filled_in
from orchestrator.sim.request import ORACLE, Request, sleeps
from orchestrator.sim.rules import RULES
from orchestrator.sim.stock import Stock
from orchestrator.sim.world import Setting, TwinWorld

HOME_ASLEEP = "home-asleep"

Progress = Callable[[str, float], None]
"""Told the policy at work and the fraction of it that is done."""


@dataclass(frozen=True)
class Row:
    """How one policy did over the period. ``kind``: ``rule``, ``ours`` or ``bound``; ``about``: what it does, in words.

    ``refusal``: why it cannot place the service at all; then there are no figures. ``grams`` of what was known, the
    rest is ``unknown_kwh``. ``places``: (second of the period, regions that serve from
    then on). ``looks``: how often the real controller looked. ``held_fraction``: of the requests that waited for a
    replica of a service that slept, at most ``longest_hold_seconds``.
    """

    policy: str
    kind: str
    about: str
    grams: float
    usd: float | None
    kwh: float
    unknown_kwh: float
    replica_hours: float
    moves: int
    losses: int
    available_fraction: float
    served_fraction: float
    crowded_fraction: float
    by_day: Mapping[str, float]
    by_month: Mapping[str, float]
    by_region: Mapping[str, float]
    places: tuple[tuple[float, tuple[str, ...]], ...]
    looks: int = 0
    refusal: str = ""
    held_fraction: float = 0.0
    longest_hold_seconds: float = 0.0


async def lived(name: str, about: str, kind: str, setting: Setting, spec: ServiceSpec, progress: Progress) -> Row:
    """Let the real controller live through the period with that spec; a service that has no place gets a refusal."""
    setting = replace(setting, offers=tuple(o for o in setting.offers if may_stand(o, spec)))
    progress(name, 0.0)
    try:
        run = await TwinWorld(setting, spec).live(lambda fraction: progress(name, fraction))
    except NoFeasiblePlacement as error:
        nothing = Account(unpriced_hours=1.0)
        refused = _row(name, about, kind, nothing, Service(0.0, 0.0), 0, 0, ())
        return replace(refused, refusal=f"{error.message}. {error.hint()}")
    places = tuple(run.places)
    service = run.service if spec.batch is None else _promises(spec.batch, run.served, setting)
    return _row(name, about, kind, run.account, service, run.moves, run.losses, places, run.looks)


def rival(name: str, request: Request, setting: Setting, board: Board) -> Row:
    """Let a rule place the replicas, or of batch work begin each round at once where it says."""
    rule, batch = RULES[name], request.spec.batch
    choose = rule.make(board)
    if batch is None:
        return _played(name, rule.about, "rule", setting, board, choose)
    seconds = seconds_each(batch, request.spec.scaling.max_replicas)
    stays = at_once(board, choose, rounds_of(batch, setting.period), seconds)
    return _worked(name, f"at once: {rule.about}", "rule", setting, board, batch, stays)


def asleep_at_home(request: Request, setting: Setting, board: Board) -> Row:
    """Let it sleep at home: what that saves without any choice of places."""
    about = "home, to zero after the delay of scaling down"
    asleep = replace(board, sizes=setting.sizes)
    choose = RULES["home"].make(asleep)
    return _played(HOME_ASLEEP, about, "rule", setting, asleep, choose, hold=request.spec.gateway)


def bound(request: Request, setting: Setting, own: Board) -> Row:
    """Return the optimum in hindsight, played like everybody; of a service that may sleep, it knows when to."""
    hindsight, hold = own, None
    if (batch := request.spec.batch) is not None:
        seconds = seconds_each(batch, request.spec.scaling.max_replicas)
        known = in_hindsight(own, batch, rounds_of(batch, setting.period), seconds)
        about = "each round in the best hours of its places, in hindsight"
        about += "" if known.exact else ", ignoring max_per_region"
        about += ", in the planner's raster" if batch.preemptible else ""
        return _worked(ORACLE, about, "bound", setting, own, batch, known.stays)
    if sleeps(request.spec):
        hindsight, hold = replace(own, sizes=setting.sizes.foreseen), request.spec.gateway
    found = best(hindsight)
    about = "least grams in hindsight" + ("" if found.exact else ", ignoring max_per_region")
    about += ", asleep by whole hours" if sleeps(request.spec) else ""
    about += "" if request.evenly else ", traffic shared evenly"
    free = replace(hindsight, stock=Stock(request.period), limit=None)
    return _played(ORACLE, about, "bound", setting, free, as_rule(found.path), filled_in(found.path), hold)


def _worked(
    name: str, about: str, kind: str, setting: Setting, board: Board, batch: BatchRules, stays: Sequence[Stay]
) -> Row:
    """Count the stays of batch work."""
    account = account_of(stays, board.offers, setting.grid, setting.load)
    service = _promises(batch, [(s.ready, s.until) for s in stays], setting)
    return _row(name, about, kind, account, service, 0, 0, _places(stays, board, setting.period))


def _promises(batch: BatchRules, served: Iterable[tuple[float, float]], setting: Setting) -> Service:
    return kept_promises(served, setting.period, rounds_of(batch, setting.period), batch.asked_hours)


def _played(
    name: str,
    about: str,
    kind: str,
    setting: Setting,
    board: Board,
    choose: Choose,
    filled: Callable[[int], AbstractSet[int]] | None = None,
    hold: GatewayRules | None = None,
) -> Row:
    stays = Fleet(board, choose, filled).play()
    account = account_of(stays, board.offers, setting.grid, setting.load)
    service = service_of(stays, setting.period, setting.sizes, setting.load, hold)
    losses = sum(s.lost for s in stays)
    return _row(name, about, kind, account, service, moves_in(stays), losses, _places(stays, board, setting.period))


def _row(
    name: str,
    about: str,
    kind: str,
    account: Account,
    service: Service,
    moves: int,
    losses: int,
    places: tuple[tuple[float, tuple[str, ...]], ...],
    looks: int = 0,
) -> Row:
    return Row(
        policy=name,
        kind=kind,
        about=about,
        grams=account.grams,
        usd=None if account.unpriced_hours > 0 else account.usd,
        kwh=account.kwh,
        unknown_kwh=account.unknown_kwh,
        replica_hours=account.replica_hours,
        moves=moves,
        losses=losses,
        available_fraction=service.available_fraction,
        served_fraction=service.served_fraction,
        crowded_fraction=service.crowded_fraction,
        by_day=dict(sorted(account.by_day.items())),
        by_month=account.by_month,
        by_region=dict(sorted(account.by_region.items())),
        places=places,
        looks=looks,
        held_fraction=service.held_fraction,
        longest_hold_seconds=service.longest_hold_seconds,
    )


def _places(stays: Sequence[Stay], board: Board, period: Window) -> tuple[tuple[float, tuple[str, ...]], ...]:
    """Return where replicas serve, from which second on."""
    edges, _ = serving(stays, period)
    found: list[tuple[float, tuple[str, ...]]] = []
    begun = sorted(stays, key=lambda s: s.ready)
    live: list[Stay] = []
    position = 0
    for edge, _end in pairwise(edges):
        while position < len(begun) and begun[position].ready <= edge:
            live.append(begun[position])
            position += 1
        live = [s for s in live if s.until > edge]
        now = tuple(sorted(board.offers[s.offer].region.id for s in live))
        if not found or found[-1][1] != now:
            found.append((edge, now))
    return tuple(found)
