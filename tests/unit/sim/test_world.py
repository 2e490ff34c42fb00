"""The real controller in the twin: its own ledger against a recount, spot, schedules, and what is refused."""

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain.price import Market
from orchestrator.domain.service import Accelerators, PlacementRules, ResourceRequest, Scaling
from orchestrator.domain.time import HOUR, Window
from orchestrator.errors import NoFeasiblePlacement, UsageError
from orchestrator.sim.bill import Stay, account_of, service_of
from orchestrator.sim.layout import setting_of
from orchestrator.sim.request import SPOTHEDGE, Request, spothedge
from orchestrator.sim.world import WARM_UP, Run, TwinWorld
from orchestrator.spec.policy_file import shipped_policy
from tests.builders import GREEN, offer
from tests.unit.sim.sample_world import (
    PAST_DAYS,
    START,
    carbon,
    flicker,
    offers,
    period,
    request,
    rows,
    spec,
    swinging,
    wait,
)

BOTH = offers((Market.ON_DEMAND, Market.SPOT))


def lived(asked: Request) -> tuple[Run, list[Stay]]:
    """Live through the period; return also the stays that the controller's own records tell of."""
    setting = wait(setting_of(asked))
    world = TwinWorld(setting, asked.spec)
    run = wait(world.live())
    names = [o.id for o in setting.offers]
    begin = START - WARM_UP
    stays = []
    for replica in world.runtime.store.replicas("chat", ended=True):
        created = (replica.created_at - START).total_seconds()
        ended = (replica.ended_at or asked.period.end) - START
        ready = created if replica.ready_at is None else (replica.ready_at - START).total_seconds()
        stays.append(
            Stay(
                replica.slot,
                names.index(replica.offer_id),
                created,
                ready,
                ended.total_seconds(),
                ended.total_seconds(),
                replica.usd_per_hour,
            )
        )
    assert begin < START
    return run, stays


@pytest.mark.parametrize("replicas", [1, 2])
def test_the_meters_ledger_is_what_a_recount_of_its_records_gives(replicas: int) -> None:
    """Dollars to a thousandth, grams to a few: the recount halves a load that a move shifts in steps."""
    source = carbon(swinging((PAST_DAYS + 7) * 24, 5))
    asked = request(spec=spec(replicas, placement=PlacementRules(home="sky/de", max_per_region=1)), carbon=source)
    run, stays = lived(asked)
    setting = wait(setting_of(asked))

    recount = account_of(stays, setting.offers, setting.grid, setting.load)

    assert run.moves > 2
    assert run.account.unknown_kwh == 0
    assert run.account.usd == pytest.approx(recount.usd, rel=1e-3)
    assert run.account.replica_hours == pytest.approx(recount.replica_hours, rel=1e-3)
    assert run.account.kwh == pytest.approx(recount.kwh, rel=5e-3)
    assert run.account.grams == pytest.approx(recount.grams, rel=5e-3)
    assert service_of(stays, asked.period, setting.sizes, setting.load).available_fraction == 1.0
    assert run.service.available_fraction == 1.0
    assert run.service.served_fraction == 1.0
    assert run.failed_looks == 0


def test_what_is_taken_away_is_replaced_and_its_gap_counts() -> None:
    """Spot that is gone for an hour: an on-demand replica stands in as soon as one has started."""
    traces = tuple(flicker(f"sky/{z}", [(40, 2), (41, 0), (168, 2)]) for z in ("de", "fr", "se"))
    wanted = spec(1, resources=replace(spec().resources, use_spot=True), placement=PlacementRules(home="sky/de"))
    found = rows(
        request(spec=wanted, offers=BOTH, traces=traces, policies={"ours": wanted.policy}, rules=("cheapest-spot",))
    )

    ours, bare = found["ours"], found["cheapest-spot"]
    assert ours.losses == bare.losses == 1
    gap = 7 * 86400 * (1 - ours.available_fraction)
    assert 120 <= gap <= 420
    assert 7 * 86400 * (1 - bare.available_fraction) == pytest.approx(3600 + 120)
    assert ours.usd is not None


def test_home_does_not_buy_what_is_sold_out() -> None:
    """Its spot is gone for an hour: on demand at home stands in, and both replicas stay there."""
    traces = tuple(flicker(f"sky/{z}", [(40, 2), (41, 0), (168, 2)]) for z in ("de", "fr", "se"))
    rules = PlacementRules(home="sky/de", max_per_region=1)
    wanted = spec(2, resources=replace(spec().resources, use_spot=True), placement=rules)

    home = rows(request(spec=wanted, offers=BOTH, traces=traces))["home"]

    assert home.losses == 2
    assert set(home.by_region) == {"sky/de"}
    assert 7 * 86400 * (1 - home.available_fraction) == pytest.approx(120)


def test_spothedge_holds_a_spare_and_bridges_with_on_demand() -> None:
    """It is there through a storm that leaves no spot at all."""
    traces = tuple(flicker(f"sky/{z}", [(40, 2), (41, 0), (168, 2)]) for z in ("de", "fr", "se"))
    wanted = spec(1, resources=replace(spec().resources, use_spot=True))
    found = rows(request(spec=wanted, offers=BOTH, traces=traces, rules=(SPOTHEDGE,)))

    hedge = found[SPOTHEDGE]
    assert hedge.replica_hours > 1.9 * 168
    assert hedge.losses == 2
    assert hedge.available_fraction > 1 - 420 / (7 * 86400)
    assert spothedge(wanted, {}).scaling == replace(
        Scaling(1, 1),
        num_overprovision=1,
        dynamic_ondemand_fallback=True,
        spot_placer=spothedge(wanted, {}).scaling.spot_placer,
    )


def test_replicas_of_last_week_are_laid_aside_and_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A storm a day: looks go through those that ended lately, and who asks for all is told of all."""
    hours = [(24.0 * day + edge, room) for day in range(7) for edge, room in ((20, 2), (21, 0))]
    traces = tuple(flicker(f"sky/{z}", [*hours, (168, 2)]) for z in ("de", "fr", "se"))
    wanted = spec(1, resources=replace(spec().resources, use_spot=True))
    asked = request(spec=spothedge(wanted, {}), offers=BOTH, traces=traces)

    world = TwinWorld(wait(setting_of(asked)), asked.spec)
    short = wait(world.live())
    store = world.runtime.store
    monkeypatch.setattr("orchestrator.sim.world.REMEMBERED", timedelta(days=999))
    long, stays = lived(asked)

    assert short == long
    everybody = store.replicas("chat", ended=True)
    assert len(everybody) == len(stays) > len(store.replicas("chat", ended=True, ended_since=START + 4 * 24 * HOUR))
    assert len(everybody) > len(store.replicas("chat", ended=True, ended_since=START + 24.1 * HOUR)) > 3
    assert store._state.replicas.all() != everybody  # type: ignore[attr-defined]  # that is what it is for
    assert store.replicas("other", ended=True) == []


def test_the_same_again_is_the_same() -> None:
    """Two runs of one seed, every figure alike."""
    wanted = spec(2, placement=PlacementRules(home="sky/de", max_per_region=1))
    asked = request(
        spec=wanted, period=period(3), policies={"ours": wanted.policy}, rules=("greedy",), with_oracle=True
    )

    assert rows(asked) == rows(asked)


def test_it_looks_when_something_may_change_and_not_every_second() -> None:
    """A week is a few hundred looks."""
    asked = request(policies={"ours": spec().policy})

    ours = rows(asked)["ours"]

    assert 168 <= ours.looks < 168 + 60 * (ours.moves + 1)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"period": Window(START, START + timedelta(minutes=90))}, UsageError, "not of whole hours"),
        ({"period": Window(START, START)}, UsageError, "not of whole hours"),
        ({"cold_start": timedelta(0)}, UsageError, "does not fit"),
        ({"cold_start": HOUR}, UsageError, "does not fit"),
        ({"offers": ()}, NoFeasiblePlacement, "on offer"),
        ({"spec": spec(placement=PlacementRules(home="sky/xx"))}, NoFeasiblePlacement, "placement.home is sky/xx"),
        ({"spec": spec(placement=PlacementRules(allow=("aws/*",)))}, NoFeasiblePlacement, "leave it no region"),
        ({"spec": spec(resources=ResourceRequest())}, NoFeasiblePlacement, "allow no offer"),
    ],
)
def test_what_cannot_be_simulated_is_refused_by_name(
    changes: dict[str, object], error: type[Exception], words: str
) -> None:
    """What, where, and what to do next; never a silent default."""
    load = request().load

    with pytest.raises(error, match=words):
        rows(request(load=load, **changes))


def test_a_policy_that_finds_no_place_says_so_in_its_row() -> None:
    """One policy's refusal is not the others' end."""
    impossible = replace(spec().policy, name="cap", price_cap_usd_per_hour=0.001)

    found = rows(request(period=period(2), policies={"cap": impossible, "ours": spec().policy}))

    assert "price" in found["cap"].refusal
    assert found["ours"].refusal == ""
    assert found["ours"].grams > 0


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_recording_that_begins_with_the_period_refuses_nobody(replicas: int) -> None:
    """Nothing says where it is clean: who goes by that begins at home, and goes on as soon as something is known."""
    levels = {"DE": 300.0, "FR": 20.0, "SE": 500.0}
    source = carbon({zone: [level] * 48 for zone, level in levels.items()}, days=2, past_days=0)
    policies = {name: shipped_policy(name).policy for name in ("green-first", "cheapest", "balanced")}
    rules = PlacementRules(home="sky/se", max_per_region=2)
    asked = request(
        period=period(2),
        spec=spec(replicas, placement=rules),
        carbon=source,
        offers=BOTH,
        policies=policies,
        rules=("home", "B3", SPOTHEDGE),
    )
    told: list[str] = []

    found = rows(asked, told.append)

    assert {name: row.refusal for name, row in found.items()} == dict.fromkeys(found, "")
    assert all(row.available_fraction == 1.0 for name, row in found.items() if name != SPOTHEDGE)
    assert found["green-first"].places[0][1] == ("sky/se",) * replicas
    assert found["green-first"].places[-1][1] == ("sky/fr",) * replicas
    assert found["cheapest"].places[0][1] == ("sky/de",) * replicas
    assert any("nothing is recorded before the period" in words for words in told)


def test_who_has_no_room_at_home_begins_elsewhere_too() -> None:
    """Of two replicas that may not share a region, one is where nothing is known either."""
    source = carbon({zone: [100.0] * 24 for zone in ("DE", "FR", "SE")}, days=1, past_days=0)
    apart = spec(2, placement=PlacementRules(home="sky/de", max_per_region=1))

    found = rows(request(period=period(1), spec=apart, carbon=source, policies={"ours": GREEN}))

    assert found["ours"].refusal == ""
    assert found["ours"].available_fraction == 1.0


def test_a_region_that_cannot_be_counted_is_named() -> None:
    """A comparison without the cleanest region is another one: it is never left out without a word."""
    source = carbon({zone: [100.0] * 24 * (PAST_DAYS + 1) for zone in ("DE", "FR")}, days=1)
    de, fr, se = offers()
    unknown = replace(offer("sky/it"), region=replace(offer("sky/it").region, pue=None, zone="FR"))
    told: list[str] = []

    rows(request(period=period(1), carbon=source, offers=(de, fr, se, unknown)), told.append)

    assert "left out, of whose grid the recording has no value in the period: sky/se (SE)" in told
    assert "left out, whose PUE is not known: sky/it" in told
    assert not any("sky/de" in words or "sky/fr" in words for words in told)


def test_home_is_the_cheapest_machine_of_the_region_that_is_named() -> None:
    """Of two accelerators that the service takes, nobody without greenctl would rent the dearer one."""
    base = offers()[0]
    big = replace(base.shape, name="1xA100", accelerator="A100")
    both = (base, replace(offer("sky/de", usd=3.7, on=big), region=base.region))
    wanted = spec(1, resources=ResourceRequest(accelerators=(Accelerators("L4", 1), Accelerators("A100", 1))))

    found = rows(request(spec=wanted, offers=both, period=period(1)))

    assert found["home"].usd == pytest.approx(24 * 1.0, rel=0.01)
