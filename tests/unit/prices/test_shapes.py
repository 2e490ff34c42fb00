"""What hardware draws, as far as anybody knows."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from orchestrator.errors import InvalidSettings
from orchestrator.prices.shapes import HOST_SHARE, ShapeCatalogue, packaged_models, read_models


def test_a_loaded_h100_matches_its_measurements() -> None:
    """One GPU without host: 486 W were measured at batch 8 and 688 W at 512 with an 8B model, less with others."""
    model = packaged_models()["H100"]

    assert model.watts(8) == pytest.approx(486, rel=0.2)
    assert model.watts(512) == pytest.approx(574, rel=0.01)
    assert 90 <= model.watts(0) <= 130


def test_power_rises_with_load_and_stays_below_the_data_sheet() -> None:
    """For every part: idle below full, full at most TDP, an honest half-width, a named source."""
    for name, model in packaged_models().items():
        tdp = float(model.method.split()[1])
        assert 0 < model.idle_watts < model.full_watts <= tdp, name
        assert 0.25 <= model.uncertainty_fraction <= 0.5, name
        assert model.source, name


def test_measured_parts_claim_less_uncertainty_only_where_they_may() -> None:
    """H100's fit is good; B200's measurements scatter widely, and the claim says so."""
    models = packaged_models()

    assert models["H100"].uncertainty_fraction < models["A100"].uncertainty_fraction
    assert models["B200"].uncertainty_fraction > models["A100"].uncertainty_fraction


def test_a_shape_is_its_accelerators_and_their_host() -> None:
    """Eight of them draw eight times one, plus the host's share; the knee is that of the replica's batch."""
    shapes, one = ShapeCatalogue.packaged(), packaged_models()["H100"]
    shape = shapes.accelerated("H100", 8, 192, 2048)

    assert (shape.name, shape.accelerator, shape.accelerator_count) == ("8xH100", "H100", 8)
    assert shape.power is not None
    assert shape.power.full_watts == pytest.approx(8 * one.full_watts * (1 + HOST_SHARE))
    assert shape.power.knee_batch == one.knee_batch
    assert "host +43%" in shape.power.method


def test_an_unknown_accelerator_has_no_power_model() -> None:
    """Its energy is unknown, not zero; the shape itself can be offered."""
    shape = ShapeCatalogue.packaged().accelerated("tpu-v6e-8", 1, None, None)

    assert shape.name == "1xtpu-v6e-8"
    assert shape.power is None


def test_the_case_of_a_name_does_not_matter() -> None:
    """SkyPilot accepts both, so the power model is found for both."""
    assert ShapeCatalogue.packaged().accelerated("l4", 1, 4, 16).power is not None


def test_a_cpu_machine_draws_by_size() -> None:
    """Two vCPUs and 4 GB: 3 W idle, 8.6 W busy, half a band each way, and its source by name."""
    shape = ShapeCatalogue.packaged().cpu(2, 4)

    assert shape.name == "2vCPU-4GB"
    assert (shape.accelerator, shape.accelerator_count) == (None, 0)
    assert shape.power is not None
    assert shape.power.idle_watts == pytest.approx(2 * 0.74 + 4 * 0.392)
    assert shape.power.full_watts == pytest.approx(2 * 3.5 + 4 * 0.392)
    assert shape.power.uncertainty_fraction == 0.5
    assert "Cloud Carbon Footprint" in shape.power.source


def test_a_cpu_engine_is_busy_as_often_as_somebody_is_served() -> None:
    """At a mean of one running sequence a CPU engine is busy 63 % of the time (Poisson)."""
    power = ShapeCatalogue.packaged().cpu(8, 16).power

    assert power is not None
    busy = (power.watts(1) - power.idle_watts) / (power.full_watts - power.idle_watts)
    assert busy == pytest.approx(1 - math.exp(-1))


def test_a_misprint_is_refused_with_its_line(tmp_path: Path) -> None:
    """A table with text for a number, or full below idle, is not used."""
    header = (
        "accelerator,form,tdp_watts,bare_idle_watts,context_watts,full_fraction_of_tdp,knee_batch,"
        "uncertainty_fraction,fit\n"
    )
    path = tmp_path / "accelerators.csv"
    for row in ("X,PCIe,many,1,1,0.8,6,0.4,class\n", "X,PCIe,100,90,10,0.8,6,0.4,class\n"):
        path.write_text("# comment\n" + header + row, encoding="utf-8")
        with pytest.raises(InvalidSettings, match=r"accelerators\.csv:3"):
            read_models(path)
