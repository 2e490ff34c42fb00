"""What a replica can carry, how many of them carry a load, and what one more draws."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.domain.hardware import PowerModel, Shape
from orchestrator.domain.scale import LoadSeen
from orchestrator.domain.service import ModelSpec
from orchestrator.errors import InvalidSettings
from orchestrator.planner.sizing.capacity import Capacity
from orchestrator.planner.sizing.energy import (
    added_watts,
    batch_energy_curve,
    fleet_watts,
    joules_per_token,
    spare,
)
from orchestrator.planner.sizing.packaged import family_of, fitted, read_fitted, replica_model, rules
from orchestrator.planner.sizing.replica_model import Knowledge, ReplicaModel
from orchestrator.planner.sizing.staffing import (
    WAIT_PROBABILITY,
    beta_for,
    erlang_c,
    halfin_whitt,
    replicas_for,
    usable_fraction,
    wait_quantile,
)
from tests.builders import offer

POWER = PowerModel(100.0, 600.0, 8.0, "test", 0.1, "test")
SIMPLE = ReplicaModel("simple", 0.010, 0.0001, 1e-7, 10_000.0, 100_000, None, Knowledge.FITTED, 0.05, "test")


def shape(accelerator: str, count: int = 1) -> Shape:
    return Shape(f"{count}x{accelerator}", accelerator, count, 8.0, 64.0, None)


class TestStaffing:
    @pytest.mark.parametrize(("servers", "offered", "expected"), [(1, 0.5, 0.5), (2, 1.0, 1 / 3), (5, 4.0, 0.5541)])
    def test_erlang_c_is_that_of_the_tables(self, servers: int, offered: float, expected: float) -> None:
        """One server waits with probability rho; the others are standard examples."""
        assert erlang_c(servers, offered) == pytest.approx(expected, abs=1e-4)

    def test_halfin_whitt_is_the_limit_of_erlang_c(self) -> None:
        """With ten thousand servers the exact probability of waiting is within a hundredth of the limit."""
        for beta in (0.2, 0.65, 1.0, 2.0):
            servers = 10_000
            offered = servers - beta * servers**0.5
            assert erlang_c(servers, offered) == pytest.approx(halfin_whitt(beta), abs=0.01)

    def test_the_grade_is_the_one_that_gives_the_probability(self) -> None:
        """Its two directions agree."""
        assert halfin_whitt(beta_for(WAIT_PROBABILITY)) == pytest.approx(WAIT_PROBABILITY, abs=1e-9)

    @pytest.mark.parametrize(("replicas", "fraction"), [(1, 0.53), (3, 0.69), (10, 0.81), (50, 0.91)])
    def test_larger_services_are_used_more_fully(self, replicas: int, fraction: float) -> None:
        """What is left free falls with the root of the size."""
        assert usable_fraction(replicas) == pytest.approx(fraction, abs=0.01)
        assert replicas_for(usable_fraction(replicas) * replicas) == replicas
        assert replicas_for(usable_fraction(replicas) * replicas * 1.01) == replicas + 1

    def test_nothing_to_do_still_wants_one(self) -> None:
        """A service without load serves the next request."""
        assert replicas_for(0.0) == 1

    @pytest.mark.parametrize("offered", [-1.0, float("nan")])
    def test_a_load_that_is_none_is_refused(self, offered: float) -> None:
        """A silent default would be a size."""
        with pytest.raises(ValueError, match="offered load"):
            replicas_for(offered)

    def test_waiting_grows_without_bound_towards_full(self) -> None:
        """No wait while there is room, longer ones near the end of it, endless ones beyond."""
        waits = [wait_quantile(10, offered, 2.0, 0.95) for offered in (1.0, 8.0, 9.5, 9.9, 10.0)]
        assert waits == sorted(waits)
        assert (waits[0], waits[-1]) == (0.0, float("inf"))


class TestReplica:
    def test_the_cache_bounds_the_batch(self) -> None:
        """Long contexts fill it with few sequences, short ones are bound by the engine's places."""
        assert SIMPLE.usable_batch(100, 100, 256) == 256
        assert SIMPLE.usable_batch(9_000, 2_000, 256) == 10

    def test_the_time_between_tokens_bounds_the_batch(self) -> None:
        """A step may not take longer than the promise."""
        batch = SIMPLE.usable_batch(0, 200, 256, itl_slo_seconds=0.021)
        assert batch == pytest.approx(100)
        assert SIMPLE.step_seconds(batch, 100) == pytest.approx(0.021)

    def test_prefill_takes_its_time_from_decoding(self) -> None:
        """Twice the prompt, fewer requests; the sum of both times is the whole second."""
        rate = SIMPLE.requests_per_second(1000, 100, 64)
        assert rate * SIMPLE.busy_seconds(SIMPLE.usable_batch(1000, 100, 64), 1000, 100) == pytest.approx(1.0)
        assert SIMPLE.requests_per_second(2000, 100, 64) < rate

    def test_littles_law_closes(self) -> None:
        """The batch at a rate is that rate times the stay of a request at that batch."""
        rate, prompt, output = 3.0, 200.0, 150.0
        batch = SIMPLE.batch_at(rate, prompt, output, 256)
        stay = output * SIMPLE.step_seconds(batch, prompt + output / 2) / (1 - rate * prompt / 10_000.0)
        assert batch == pytest.approx(rate * stay, rel=1e-9)

    def test_work_that_takes_no_time_is_refused(self) -> None:
        """A parameter of zero would make capacity endless."""
        with pytest.raises(ValueError, match="tau0"):
            replace(SIMPLE, tau0=0.0)


class TestPackaged:
    def test_every_fitted_setup_says_how_well_it_fits(self) -> None:
        """Each has a source and an error, and none of those on an H100 is off by more than an eighth."""
        models = fitted()
        assert len(models) >= 30
        for (_, _, accelerator, _, _), model in models.items():
            assert model.knowledge is Knowledge.FITTED
            assert "ML.ENERGY" in model.source
            assert 0 < model.error_fraction < (0.125 if accelerator == "H100" else 0.35)

    def test_a_measured_setup_is_found_by_the_names_that_people_write(self) -> None:
        """Tuning and date do not change an architecture; the accelerator's case does not count."""
        found = replica_model(ModelSpec("meta-llama/Llama-3.1-8B-Instruct"), shape("h100"))
        assert found is not None
        assert found.knowledge is Knowledge.FITTED
        assert family_of("Qwen/Qwen3-30B-A3B-Thinking-2507") == family_of("Qwen/Qwen3-30B-A3B-Instruct-2507-FP8")

    def test_what_was_not_measured_is_labelled_with_its_band(self) -> None:
        """A model by its size says so, and how far others so told were off."""
        found = replica_model(ModelSpec("mistralai/Mistral-7B-Instruct-v0.3"), shape("A100-80GB"))
        assert found is not None
        assert found.knowledge is Knowledge.MODELLED
        assert found.error_fraction == rules().error_fraction >= 0.2
        assert "modelled, ±" in found.origin

    @pytest.mark.parametrize(
        ("model", "on"),
        [
            ("x/tiny-llama", shape("H100")),
            ("meta-llama/Llama-3.1-8B", shape("Abacus")),
            ("meta-llama/Llama-3.1-8B", Shape("2vCPU-4GB", None, 0, 2.0, 4.0, None)),
            ("meta-llama/Llama-3.3-70B", shape("L4")),
            ("x/Model-7B-AWQ", shape("H100")),
        ],
    )
    def test_what_nobody_knows_has_no_model(self, model: str, on: Shape) -> None:
        """No size in the name, no data sheet, no room for the weights, or an untold precision: unknown, not average."""
        assert replica_model(ModelSpec(model), on) is None

    def test_a_damaged_table_is_named_with_its_line(self, tmp_path: Path) -> None:
        """Whoever edits it learns where."""
        table = tmp_path / "replicas.csv"
        table.write_text("# head\nmodel,precision,accelerator,count,tensor_parallel\nm,fp8,H100,one,1\n", "utf-8")
        with pytest.raises(InvalidSettings, match=r"replicas\.csv:3"):
            read_fitted(table)


class TestCapacity:
    LOAD = LoadSeen(30.0, 20.0, 50.0, 2, 50, 0, 0.2, 300.0, 200.0)

    def test_tokens_decide_where_they_are_known(self) -> None:
        """The load over what one replica completes of such requests."""
        offered = Capacity(64, (SIMPLE,)).offered(self.LOAD)
        assert offered.replicas == pytest.approx(20.0 / SIMPLE.requests_per_second(300, 200, 64))
        assert "fitted" in offered.origin

    def test_the_slowest_shape_counts(self) -> None:
        """A mixed fleet is not sized by its best machine."""
        slow = replace(SIMPLE, name="slow", tau0=0.05)
        assert Capacity(64, (SIMPLE, slow)).offered(self.LOAD) == Capacity(64, (slow,)).offered(self.LOAD)

    def test_without_lengths_places_decide(self) -> None:
        """As long as nothing was answered, what is under way is all that is known."""
        offered = Capacity(64, (SIMPLE,)).offered(replace(self.LOAD, output_tokens=None))
        assert offered.replicas == pytest.approx(50 / 64)

    def test_a_promise_of_the_first_token_wants_more(self) -> None:
        """Close to full, waiting breaks the promise before capacity does; one that nothing can keep changes nothing."""
        busy = replace(self.LOAD, requests_per_second=SIMPLE.requests_per_second(300, 200, 8) * 0.5)
        loose, tight = Capacity(8, (SIMPLE,)), Capacity(8, (SIMPLE,), ttft_p95_seconds=0.06)
        assert tight.replicas_for(busy) > loose.replicas_for(busy)
        assert (tight.ttft_seconds(busy, tight.replicas_for(busy)) or 9.0) <= 0.06
        assert Capacity(8, (SIMPLE,), ttft_p95_seconds=0.001).replicas_for(busy) == loose.replicas_for(busy)

    def test_a_token_takes_less_on_fewer_replicas(self) -> None:
        """By the curve at the batch that each would have; without a measured power nobody says so."""
        measured = Capacity(64, (replace(SIMPLE, accelerator_power=POWER),))
        joules = [measured.joules_per_token(self.LOAD, n) for n in (1, 2, 4)]
        assert None not in joules
        assert joules == sorted(joules)  # type: ignore[type-var]
        assert Capacity(64, (SIMPLE,)).joules_per_token(self.LOAD, 2) is None


class TestEnergy:
    def test_fuller_batches_take_less_per_token(self) -> None:
        """The batch-energy curve falls all the way: that is why fewer, fuller replicas can win."""
        joules = [p.joules_per_token for p in batch_energy_curve(SIMPLE, POWER, 100, 200, 256)]
        assert joules == sorted(joules, reverse=True)
        assert joules[0] / joules[-1] > 10

    def test_the_curve_of_an_8b_model_is_the_measured_one(self) -> None:
        """Within a fifth of the two measurements that span it: 0.444 J at batch 8 and 0.082 J at 256 (ML.ENERGY)."""
        model = replica_model(ModelSpec("Qwen/Qwen3-8B"), shape("H100"))
        assert model is not None
        assert model.accelerator_power is not None
        for batch, measured in ((8, 0.444), (256, 0.082)):
            assert joules_per_token(model, model.accelerator_power, batch, 0, 645) == pytest.approx(measured, rel=0.2)

    def test_a_spare_costs_more_than_its_idle_power(self) -> None:
        """It takes sequences from the others, whose power hardly falls; without load it costs just that."""
        assert added_watts(POWER, 3, 0.0) == pytest.approx(100.0)
        assert added_watts(POWER, 3, 60.0) > 100.0

    def test_the_prices_of_all_replicas_add_up_to_the_fleet(self) -> None:
        """No watt is lost between them."""
        assert sum(added_watts(POWER, n, 20.0) for n in range(1, 6)) == pytest.approx(fleet_watts(POWER, 5, 20.0))

    def test_what_is_unknown_of_a_spare_stays_unknown(self) -> None:
        """A price without power, grams without intensity: none of them is zero."""
        on = Shape("1xL4", "L4", 1, 8.0, 32.0, POWER)

        def draws(power: PowerModel, number: int) -> float:
            return power.watts(3.0 / number)

        known = spare(2, offer("sky/se", on=on, pue=1.1), 3, lambda power, _: power.watts(0.0), 30.0)
        assert (known.watts, known.kwh_per_hour, known.grams_per_hour) == pytest.approx((100.0, 0.11, 3.3))
        assert spare(2, offer("sky/se", on=replace(on, power=None)), 3, draws, 30.0).grams_per_hour is None
        assert spare(2, offer("sky/se", on=on, pue=None), 3, draws, 30.0).kwh_per_hour is None
        assert spare(2, offer("sky/se", on=on), 3, draws, None).grams_per_hour is None
        assert spare(2, offer("sky/se", on=on, usd=None), 3, draws, 30.0).usd_per_hour is None
