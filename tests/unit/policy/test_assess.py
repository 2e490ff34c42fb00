"""Pricing and judging one offer: every rule leaves its verdict, and what is unknown stays unknown."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.domain.carbon import Gap, Kind
from orchestrator.domain.crossover import Crossover
from orchestrator.domain.decision import Assessment, Verdict
from orchestrator.domain.offer import Candidate
from orchestrator.domain.price import Market
from orchestrator.domain.scale import Work
from orchestrator.domain.service import (
    CarbonRules,
    Objective,
    PlacementRules,
    Policy,
    ResourceRequest,
    Scaling,
    ServiceSpec,
    SpotLoss,
    WeighedTerm,
    WhenStale,
    WhenUnknown,
)
from orchestrator.domain.time import HOUR, Instant, Window
from orchestrator.forecasting.coming import coming_hours
from orchestrator.policy.assess import HORIZON_RULE, assess_all
from tests.builders import (
    GREEN,
    L4,
    MINUTE,
    NOON,
    PROVIDERS,
    candidate,
    failed_rules,
    intensity,
    series,
    service_spec,
    shape,
    stale,
)

MICROSECOND = timedelta(microseconds=1)


def judged(
    candidates: Sequence[Candidate], spec: ServiceSpec | None = None, policy: Policy = GREEN
) -> dict[str, Assessment]:
    """Judge offers at noon, at four concurrent sequences; by offer id."""
    return {a.offer_id: a for a in assess_all(candidates, spec or service_spec(), policy, NOON, 4.0, PROVIDERS)}


def one(candidate: Candidate, spec: ServiceSpec | None = None, policy: Policy = GREEN) -> Assessment:
    """Judge a single offer."""
    (found,) = judged([candidate], spec, policy).values()
    return found


def verdict(assessment: Assessment, rule: str) -> Verdict:
    """Return the verdict of a rule that must have been applied once."""
    (found,) = [v for v in assessment.verdicts if v.rule == rule]
    return found


class TestArithmetic:
    def test_energy_is_power_at_the_expected_load_times_pue(self) -> None:
        """Kilowatt-hours per hour at the facility's meter."""
        found = one(candidate("aws/se", 30.0, pue=1.2))
        assert found.kwh_per_hour == pytest.approx(L4.watts(4.0) / 1000 * 1.2)

    def test_emissions_now_and_over_the_horizon_are_two_numbers(self) -> None:
        """The present intensity is what is emitted now; what is expected follows the coming hours."""
        found = one(candidate("aws/se", 30.0, ahead=[30.0, 90.0, 90.0, 90.0] * 6))
        assert found.kwh_per_hour is not None
        assert found.grams_per_hour == pytest.approx(found.kwh_per_hour * 30.0)
        assert found.expected_grams_per_hour == pytest.approx(found.kwh_per_hour * 75.0)

    def test_without_a_forecast_the_coming_hours_are_unknown(self) -> None:
        """A fresh value alone is enough to place by, and says of this hour what is emitted, and no more."""
        found = one(candidate("aws/se", intensity("SE", 30.0)))
        assert found.allowed
        assert found.grams_per_hour is not None
        assert found.expected_grams_per_hour is found.next_24h_grams_per_kwh is None
        assert verdict(found, HORIZON_RULE).text == (
            "coming hours known for 1 of 24: their mean is unknown and comes after those known"
        )

    def test_one_hour_ahead_the_present_is_all_there_is(self) -> None:
        """A policy that looks at the present hour alone needs no forecast."""
        found = one(candidate("aws/se", intensity("SE", 30.0)), policy=replace(GREEN, horizon=HOUR))
        assert found.expected_grams_per_hour == found.grams_per_hour
        assert HORIZON_RULE not in {v.rule for v in found.verdicts}

    def test_nights_that_nobody_knows_are_not_like_the_days(self) -> None:
        """Of a zone that tells of its daylight alone nothing is known of a whole day, and the reason names the hole."""
        daylight = [50.0] * 5 + [None] * 15 + [50.0] * 4
        found = one(candidate("aws/se", 50.0, ahead=daylight))
        assert found.allowed
        assert found.grams_per_hour is not None
        assert found.expected_grams_per_hour is found.next_24h_grams_per_kwh is None
        assert found.next_24h_kind is None
        assert verdict(found, HORIZON_RULE).text.startswith("coming hours known for 9 of 24: ")

    @pytest.mark.parametrize(("missing", "is_known"), [(0, True), (2, True), (3, False)])
    def test_a_tenth_of_the_horizon_may_be_missing(self, missing: int, is_known: bool) -> None:
        """Two hours of a day change its mean by less than the forecast is wrong anyway; that they lack is said."""
        found = one(candidate("aws/se", 30.0, ahead=[30.0] * 10 + [None] * missing + [90.0] * (14 - missing)))
        assert (found.expected_grams_per_hour is not None) is is_known
        said = [v.text for v in found.verdicts if v.rule == HORIZON_RULE]
        assert bool(said) is bool(missing)
        assert all(text.startswith(f"coming hours known for {24 - missing} of 24") for text in said)

    def test_a_day_of_history_is_known_whole(self) -> None:
        """A fresh install whose source tells of the last 26 hours has each hour of the day."""
        past = series("SE", [30.0] * 26, NOON - 26 * HOUR, kind=Kind.MEASURED)
        coming = coming_hours(past, Window.starting(NOON, 25 * HOUR), NOON)
        found = one(replace(candidate("aws/se", 30.0), forecast=coming))
        assert found.expected_grams_per_hour == found.grams_per_hour
        assert HORIZON_RULE not in {v.rule for v in found.verdicts}

    def test_an_expression_sees_what_is_unknown(self) -> None:
        """A rule or a weight on the coming hours is told that they are not known, and its file says what then."""
        weigh = WeighedTerm("ahead_grams_per_hour", 1.0, "g/h", WhenUnknown.LAST)
        policy = Policy("p", Objective.LOWEST_SCORE, max_extra_cost_fraction=None, weigh=(weigh,))
        found = one(candidate("aws/se", 50.0, ahead=[50.0] * 9), policy=policy)
        assert found.allowed
        assert found.score_usd_per_hour is None

    def test_the_numbers_keep_their_origin(self) -> None:
        """Kind, source and age of the intensity and the source of the price travel with them."""
        old = intensity("SE", 30.0, NOON - 80 * MINUTE, kind=Kind.ESTIMATED, source="api")
        found = one(candidate("aws/se", old, ahead=[20.0] * 24))
        assert (found.intensity_kind, found.intensity_source) == (Kind.ESTIMATED, "api")
        assert found.intensity_age_seconds == 20 * 60
        assert found.next_24h_kind is Kind.FORECAST
        assert found.price_source == "list"


class TestUnknown:
    @pytest.mark.parametrize(
        ("unknown", "rule", "reason"),
        [
            (candidate("aws/se", 30.0, usd=None), "offer.price", "price unknown"),
            (candidate("aws/se", 30.0, zone=None), "region.zone", "grid zone unknown"),
            (candidate("aws/se", 30.0, pue=None), "region.pue", "PUE unknown"),
            (candidate("aws/se", 30.0, on=shape(power=None)), "shape.power", "power model unknown"),
            (candidate("aws/se", Gap("SE", "no data", "api")), "carbon.max_age", "no carbon intensity for SE: no data"),
        ],
        ids=["price", "zone", "pue", "power", "intensity"],
    )
    def test_it_is_shown_and_excluded_with_its_reason(self, unknown: Candidate, rule: str, reason: str) -> None:
        """A missing number is a reason of its own, and the offer stays on the list."""
        found = one(unknown)
        assert failed_rules(found.verdicts) == {rule}
        assert found.excluded_because == reason

    def test_it_is_never_a_zero(self) -> None:
        """Nothing that is computed from an unknown number is known."""
        no_power = one(candidate("aws/se", 30.0, on=shape(power=None)))
        assert no_power.kwh_per_hour is no_power.grams_per_hour is no_power.expected_grams_per_hour is None
        no_pue = one(candidate("aws/se", 30.0, pue=None))
        assert no_pue.kwh_per_hour is no_pue.grams_per_hour is no_pue.expected_grams_per_hour is None
        no_grid = one(candidate("aws/se", Gap("SE", "no data", "api"), ahead=[10.0]))
        assert no_grid.grams_per_kwh is no_grid.grams_per_hour is no_grid.expected_grams_per_hour is None
        assert one(candidate("aws/se", 30.0, usd=None)).usd_per_hour is None

    def test_zero_is_a_number(self) -> None:
        """A free machine on a grid at 0 g/kWh is known in every respect, and allowed."""
        found = one(candidate("local/se", 0.0, usd=0.0))
        assert found.allowed
        assert (found.grams_per_hour, found.usd_per_hour) == (0.0, 0.0)

    def test_an_unpriced_offer_is_not_the_cheapest(self) -> None:
        """It neither passes under a price cap nor sets the level for the others."""
        found = judged(
            [candidate("aws/se", 30.0, usd=None), candidate("aws/pl", 700.0, usd=2.0)],
            policy=Policy(max_extra_cost_fraction=0.1, price_cap_usd_per_hour=5.0),
        )
        assert not found["aws/se:1xL4:on_demand"].allowed
        assert found["aws/pl:1xL4:on_demand"].allowed


class TestStaleness:
    """A number describes an hour; ``carbon.when_stale`` says what to do when that hour is long over."""

    @pytest.mark.parametrize(
        ("age", "allowed"), [(90 * MINUTE, True), (90 * MINUTE + MICROSECOND, False)], ids=["just-fresh", "too-old"]
    )
    def test_the_limit_itself_is_still_fresh(self, age: timedelta, allowed: bool) -> None:
        """``max_age: 90m`` means up to and including ninety minutes."""
        found = one(candidate("aws/se", stale("SE", 30.0, age)))
        assert found.allowed is allowed
        assert verdict(found, "carbon.max_age").value == pytest.approx(age.total_seconds())

    @pytest.mark.parametrize("rule", list(WhenStale))
    def test_a_fresh_number_needs_no_rule(self, rule: WhenStale) -> None:
        """Whatever is to happen without one, a fresh number is used as it is."""
        spec = service_spec(carbon=CarbonRules(when_stale=rule))
        found = one(candidate("aws/se", 30.0, ahead=[500.0] * 24, trailing=900.0), spec)
        assert (found.grams_per_kwh, found.intensity_kind) == (30.0, Kind.MEASURED)

    @pytest.mark.parametrize(
        ("rule", "grams", "kind"),
        [
            (WhenStale.HOLD, None, None),
            (WhenStale.FORECAST, 50.0, Kind.FORECAST),
            (WhenStale.STATIC, 90.0, Kind.DERIVED),
            (WhenStale.IGNORE, 30.0, Kind.MEASURED),
        ],
    )
    def test_an_old_number_is_replaced_as_the_rule_says(
        self, rule: WhenStale, grams: float | None, kind: Kind | None
    ) -> None:
        """hold: exclude; forecast: this hour's forecast; static: the 28-day mean; ignore: the old number itself."""
        spec = service_spec(carbon=CarbonRules(when_stale=rule))
        found = one(candidate("aws/se", stale("SE", 30.0), ahead=[50.0] * 24, trailing=90.0), spec)
        assert (found.grams_per_kwh, found.intensity_kind) == (grams, kind)
        assert found.allowed is (grams is not None)

    @pytest.mark.parametrize(
        ("rule", "grams"),
        [(WhenStale.HOLD, None), (WhenStale.FORECAST, 50.0), (WhenStale.STATIC, 90.0), (WhenStale.IGNORE, None)],
    )
    def test_a_gap_can_be_bridged_but_not_ignored(self, rule: WhenStale, grams: float | None) -> None:
        """Ignoring the age of a number needs a number."""
        spec = service_spec(carbon=CarbonRules(when_stale=rule))
        found = one(candidate("aws/se", Gap("SE", "no data", "api"), ahead=[50.0] * 24, trailing=90.0), spec)
        assert found.grams_per_kwh == grams
        assert found.allowed is (grams is not None)
        assert found.intensity_age_seconds is None

    @pytest.mark.parametrize("rule", [WhenStale.FORECAST, WhenStale.STATIC])
    def test_a_rule_without_its_number_excludes(self, rule: WhenStale) -> None:
        """No forecast for this hour, no mean of the last weeks: excluded, not guessed."""
        spec = service_spec(carbon=CarbonRules(when_stale=rule))
        found = one(candidate("aws/se", stale("SE", 30.0), ahead=[None, 50.0]), spec)
        assert failed_rules(found.verdicts) == {"carbon.max_age"}

    def test_static_means_static_for_the_coming_hours_too(self) -> None:
        """A forecast made from numbers that are too old does not choose the place through the back door."""
        spec = service_spec(carbon=CarbonRules(when_stale=WhenStale.STATIC))
        found = one(candidate("aws/se", stale("SE", 30.0), ahead=[5.0] * 24, trailing=90.0), spec)
        assert found.expected_grams_per_hour == found.grams_per_hour

    @pytest.mark.parametrize("rule", list(WhenStale))
    def test_a_number_from_tomorrow_is_not_fresh(self, rule: WhenStale) -> None:
        """A misdated value would be young for ever; it is treated as one that is too old."""
        spec = service_spec(carbon=CarbonRules(when_stale=rule))
        tomorrow = intensity("SE", 1.0, NOON + 24 * HOUR)
        found = one(candidate("aws/se", tomorrow, ahead=[50.0] * 24, trailing=90.0), spec)
        assert not verdict(found, "carbon.max_age").text.startswith("intensity 0 min old")
        assert found.allowed is (rule is not WhenStale.HOLD)

    def test_clocks_may_differ_a_little(self) -> None:
        """A value of the hour that begins in a minute, by our clock, is today's news."""
        assert one(candidate("aws/se", intensity("SE", 30.0, NOON + MINUTE))).allowed

    @pytest.mark.parametrize(
        ("age", "hours", "grams", "kind"),
        [
            (30 * MINUTE, 1, 30.0, Kind.MEASURED),
            (59 * MINUTE, 1, 30.0, Kind.MEASURED),
            (60 * MINUTE, 1, 50.0, Kind.FORECAST),
            (MINUTE, 0, 50.0, Kind.FORECAST),
            (90 * MINUTE, 2, 30.0, Kind.MEASURED),
        ],
    )
    def test_beyond_the_crossover_the_forecast_is_believed(
        self, age: timedelta, hours: int, grams: float, kind: Kind
    ) -> None:
        """A value is fresh and yet further from the truth than the forecast that was made from it; the page says so."""
        learnt = Crossover(hours, 29)
        sold = replace(candidate("aws/se", stale("SE", 30.0, age), ahead=[50.0] * 24), crossover=learnt)
        found = one(sold)
        assert (found.grams_per_kwh, found.intensity_kind, found.allowed) == (grams, kind, True)
        assert found.intensity_age_seconds == age.total_seconds()
        said = verdict(found, "carbon.max_age").text
        assert (f"nearer from {hours} h on, learnt from 29 days" in said) is (kind is Kind.FORECAST)

    def test_the_hour_that_is_now_is_never_forecast(self) -> None:
        """Nothing is nearer to the present than the value of the present, whatever was learnt."""
        sold = replace(candidate("aws/se", 30.0, ahead=[50.0] * 24), crossover=Crossover(0, 29))
        assert one(sold).grams_per_kwh == 30.0

    def test_beyond_the_crossover_and_the_limit_the_rule_holds(self) -> None:
        """Hold stays hold: a forecast made from numbers that are too old moves nothing by itself."""
        sold = replace(candidate("aws/se", stale("SE", 30.0, 2 * HOUR), ahead=[50.0] * 24), crossover=Crossover(0, 29))
        assert one(sold).grams_per_kwh is None
        blind = replace(candidate("aws/se", stale("SE", 30.0, HOUR), ahead=[None, 50.0]), crossover=Crossover(0, 29))
        assert one(blind).grams_per_kwh == 30.0, "without a forecast of this hour the value is what there is"

    def test_the_reason_names_age_and_limit(self) -> None:
        """What to mend is readable: how old, how old it may be."""
        assert one(candidate("aws/se", stale("SE", 30.0, 6 * HOUR))).excluded_because == (
            "intensity 360 min old, over the limit of 90 min"
        )


class TestPlaces:
    @pytest.mark.parametrize(
        ("rules", "failed"),
        [
            (PlacementRules(residency=("EU",)), set()),
            (PlacementRules(residency=("US", "EU")), set()),
            (PlacementRules(residency=("US",)), {"placement.residency"}),
            (PlacementRules(allow=("gcp/*", "aws/s?")), set()),
            (PlacementRules(allow=("gcp/*",)), {"placement.allow"}),
            (PlacementRules(allow=("AWS/*",)), {"placement.allow"}),
            (PlacementRules(deny=("gcp/*",)), set()),
            (PlacementRules(deny=("aws/se",)), {"placement.deny"}),
            (PlacementRules(allow=("aws/*",), deny=("*/se",)), {"placement.deny"}),
            (PlacementRules(deny=("AWS/S*",)), {"placement.deny"}),
        ],
        ids=[
            "resident",
            "resident-in-one-of-two",
            "not-resident",
            "allowed-by-glob",
            "not-on-the-list",
            "case-counts",
            "another-denied",
            "denied",
            "deny-wins",
            "denied-in-another-case",
        ],
    )
    def test_rules_about_places(self, rules: PlacementRules, failed: set[str]) -> None:
        """Residency: any of the jurisdictions; allow and deny: globs over region ids, and deny wins."""
        found = one(candidate("aws/se", 30.0, residency=("EU", "SE")), service_spec(placement=rules))
        assert failed_rules(found.verdicts) == failed

    def test_where_nobody_can_launch_is_excluded(self) -> None:
        """A catalogue may know more providers than are configured here."""
        found = one(candidate("azure/se", 30.0))
        assert found.excluded_because == "no provisioner is configured for azure"

    @pytest.mark.parametrize(
        ("until", "allowed"),
        [(NOON + MICROSECOND, False), (NOON, True), (NOON - HOUR, True)],
        ids=["yet", "now", "over"],
    )
    def test_what_failed_lately_is_left_alone_until_then(self, until: Instant, allowed: bool) -> None:
        """The back-off ends at its instant, and the reason names what happened."""
        found = one(candidate("aws/se", 30.0, avoid_until=until))
        assert found.allowed is allowed
        assert allowed or found.excluded_because.startswith("no_capacity: sold out; not tried before 01 Jun 12:00 UTC")


class TestMoney:
    @pytest.mark.parametrize(("cap", "allowed"), [(1.0, True), (0.9999, False), (0.0, False)])
    def test_the_price_cap_includes_itself(self, cap: float, allowed: bool) -> None:
        """At most this much per hour; a cap of zero is a cap."""
        found = one(candidate("aws/se", 30.0, usd=1.0), policy=replace(GREEN, price_cap_usd_per_hour=cap))
        assert found.allowed is allowed
        assert verdict(found, "policy.price_cap").limit == cap

    def test_extra_cost_is_measured_against_the_cheapest_allowed_offer(self) -> None:
        """15 % above 1.00 admits 1.15, not 1.16; an offer that may not be used anyway sets no level."""
        found = judged(
            [
                candidate("aws/no", 10.0, usd=1.16),
                candidate("aws/se", 30.0, usd=1.15),
                candidate("aws/pl", 700.0, usd=1.0),
                candidate("aws/us", 400.0, usd=0.1, residency=("US",)),
            ],
            service_spec(placement=PlacementRules(residency=("EU",))),
            Policy(max_extra_cost_fraction=0.15),
        )
        assert [a.region for a in found.values() if a.allowed] == ["aws/pl", "aws/se"]
        assert found["aws/no:1xL4:on_demand"].excluded_because == "$1.1600/h > cheapest +15% ($1.1500/h)"

    def test_who_carries_its_share_is_measured_by_those_that_do(self) -> None:
        """Who is too small for it sets no level for them; where nothing is known, one is measured by the cheapest."""
        offers = [candidate(f"aws/{name}", 30.0, usd=usd) for name, usd in (("a", 1.0), ("b", 2.0), ("c", 2.2))]
        policy = Policy(max_extra_cost_fraction=0.15)

        def allowed(**carries: bool) -> list[str]:
            works = {f"aws/{k}:1xL4:on_demand": Work(4.0, "test", 2, 3, carries=c) for k, c in carries.items()}
            found = assess_all(offers, service_spec(), policy, NOON, 4.0, PROVIDERS, works=works)
            return [a.region[-1] for a in found if a.allowed]

        assert allowed(a=True, b=True, c=True) == ["a"]
        assert allowed(a=False, b=True, c=True) == ["a", "b", "c"]
        assert allowed(a=False, b=False, c=True) == ["a", "c"]
        assert allowed(a=False, b=False, c=False) == ["a"]
        assert allowed(b=True, c=True) == ["a"]
        assert allowed(a=False, b=True) == ["a", "b"]
        assert allowed() == ["a"]

    def test_no_extra_cost_at_all_means_the_cheapest_only(self) -> None:
        """A fraction of zero is a limit, unlike none."""
        offers = [candidate("aws/se", 30.0, usd=1.01), candidate("aws/pl", 700.0, usd=1.0)]
        tight = judged(offers, policy=Policy(max_extra_cost_fraction=0.0))
        loose = judged(offers, policy=Policy(max_extra_cost_fraction=None))
        assert [a.region for a in tight.values() if a.allowed] == ["aws/pl"]
        assert all(a.allowed for a in loose.values())

    def test_the_market_that_was_asked_for(self) -> None:
        """Spot capacity is never bought unasked, nor on-demand where spot was asked for and nothing may stand in."""
        offers = [candidate("aws/se", 30.0), candidate("aws/se", 30.0, usd=0.4, market=Market.SPOT)]
        waiting = PlacementRules(on_spot_loss=SpotLoss.WAIT)
        plain, spot = judged(offers), judged(offers, service_spec(spot=True, placement=waiting))
        assert [a.market for a in plain.values() if a.allowed] == [Market.ON_DEMAND]
        assert [a.market for a in spot.values() if a.allowed] == [Market.SPOT]

    @pytest.mark.parametrize(
        "rules",
        [
            {"placement": PlacementRules(on_spot_loss=SpotLoss.ON_DEMAND)},
            {"dynamic_ondemand_fallback": True},
            {"base_ondemand_fallback_replicas": 1},
        ],
        ids=["on-spot-loss", "stand-ins", "base"],
    )
    def test_on_demand_is_open_to_spot_services_that_may_fall_back(self, rules: dict[str, Any]) -> None:
        """Each of the three ways to it; spot stays closed to a service that did not ask for it."""
        offers = [candidate("aws/se", 30.0), candidate("aws/se", 30.0, usd=0.4, market=Market.SPOT)]
        rules = {"placement": PlacementRules(on_spot_loss=SpotLoss.OTHER_REGION), **rules}
        placement = rules.pop("placement")
        spec = replace(service_spec(spot=True, placement=placement), scaling=Scaling(2, 2, **rules))
        assert all(a.allowed for a in judged(offers, spec).values())
        plain = replace(spec, resources=ResourceRequest(use_spot=False))
        assert [a.market for a in judged(offers, plain).values() if a.allowed] == [Market.ON_DEMAND]

    def test_extra_cost_is_counted_on_each_market(self) -> None:
        """On demand costs more than spot: that is what a fallback is, and no reason to serve nobody."""
        offers = [
            candidate("aws/se", 30.0, usd=1.0),
            candidate("aws/se", 30.0, usd=0.3, market=Market.SPOT),
            candidate("aws/fr", 60.0, usd=1.2),
            candidate("aws/fr", 60.0, usd=0.4, market=Market.SPOT),
        ]
        policy = Policy(max_extra_cost_fraction=0.1)
        found = judged(offers, service_spec(spot=True), policy)
        assert {a.offer_id for a in found.values() if a.allowed} == {"aws/se:1xL4:on_demand", "aws/se:1xL4:spot"}

    def test_spot_is_not_bought_where_nobody_can(self) -> None:
        """A region without a spot market says so, whatever its list has; on demand is not concerned."""
        offers = [candidate("aws/se", 30.0), candidate("aws/se", 30.0, usd=0.4, market=Market.SPOT)]
        made = assess_all(offers, service_spec(spot=True), GREEN, NOON, 4.0, PROVIDERS, frozenset({"aws/se"}))
        on_demand, spot = made
        assert on_demand.allowed
        assert failed_rules(spot.verdicts) == {"provider.spot"}
        assert spot.excluded_because == "spot is not sold in aws/se, or cannot be bought there"

    @pytest.mark.parametrize(("usd", "allowed"), [(0.99, True), (1.0, False), (1.5, False)])
    def test_spot_must_be_cheaper_than_on_demand_there(self, usd: float, allowed: bool) -> None:
        """Capacity that can be taken away is only worth it for less money."""
        found = judged(
            [candidate("aws/se", 30.0, usd=1.0), candidate("aws/se", 30.0, usd=usd, market=Market.SPOT)],
            service_spec(spot=True),
        )
        assert found["aws/se:1xL4:spot"].allowed is allowed

    @pytest.mark.parametrize(
        "elsewhere",
        [
            candidate("aws/pl", 30.0, usd=0.1),
            candidate("aws/se", 30.0, usd=0.1, on=shape("2xL4")),
            candidate("aws/se", 30.0, usd=None),
        ],
        ids=["another-region", "another-shape", "unpriced"],
    )
    def test_spot_is_compared_with_its_own_on_demand_price_only(self, elsewhere: Candidate) -> None:
        """Where the same thing has no on-demand price there is nothing to compare with."""
        spot = candidate("aws/se", 30.0, usd=0.9, market=Market.SPOT)
        assert judged([elsewhere, spot], service_spec(spot=True))["aws/se:1xL4:spot"].allowed


class TestTheList:
    def test_it_is_in_the_order_of_ids(self) -> None:
        """The same table every time, whoever listed the offers."""
        offers = [candidate(r, 30.0) for r in ("gcp/fi", "aws/se", "aws/de")]
        assert list(judged(offers)) == list(judged(offers[::-1])) == sorted(judged(offers))

    def test_every_rule_that_applied_is_there(self) -> None:
        """Passed ones too, with value, limit and unit: an explanation is the whole row of rules."""
        spec = service_spec(placement=PlacementRules(residency=("EU",), allow=("aws/*",), deny=("gcp/*",)))
        policy = Policy(price_cap_usd_per_hour=2.0, max_extra_cost_fraction=0.5)
        found = one(candidate("aws/se", 30.0), spec, policy)
        assert [v.rule for v in found.verdicts] == [
            "placement.residency",
            "placement.allow",
            "placement.deny",
            "policy.price_cap",
            "carbon.max_age",
            "policy.max_extra_cost",
        ]
        assert verdict(found, "policy.max_extra_cost").limit == pytest.approx(1.5)
        assert {v.unit for v in found.verdicts if v.limit is not None} == {"USD/h", "s"}

    def test_the_first_failure_is_the_reason(self) -> None:
        """An offer that fails many rules is explained by the most telling one; the others are listed."""
        hopeless = candidate("azure/se", Gap("SE", "no data", "api"), usd=None, residency=())
        found = one(hopeless, service_spec(placement=PlacementRules(residency=("EU",))))
        assert found.excluded_because == "no provisioner is configured for azure"
        assert failed_rules(found.verdicts) == {"provider", "placement.residency", "offer.price", "carbon.max_age"}
