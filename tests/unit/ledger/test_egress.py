"""The way of the weights: gigabytes, dollars and grams of one launch, what is unknown of them, and the table."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.domain.service import WEIGHTS_AT_HAND, Engine, ModelSpec
from orchestrator.domain.transfer import UNNAMED, Egress, Span
from orchestrator.errors import InvalidSettings
from orchestrator.ledger.egress import Way, WorstFetch, egress_of, on_grids, rates, read_rates, weights_gb
from orchestrator.ledger.report import fetched

QWEN = ModelSpec("Qwen/Qwen3-8B")
HEAD = "provider,class,low_usd_per_gb,usd_per_gb,high_usd_per_gb,source,as_of,confidence\n"


def of(model: ModelSpec, region: str) -> Egress:
    """Return what is fetched there; something is."""
    found = egress_of(model, region)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("name", "gb"),
    [
        ("Qwen/Qwen3-8B", 16.0),
        ("Qwen/Qwen2.5-0.5B-Instruct", 1.0),
        ("Qwen/Qwen3-235B-A22B", 470.0),
        ("Qwen/Qwen3-8B-FP8", 8.0),
        ("Qwen/Qwen3-8B-AWQ", 8 * 0.5313),
        ("openai/gpt-oss-120b", 120 * 0.5313),
        ("mistralai/Mixtral-8x7B-v0.1", None),
        ("org/model", None),
        ("org/model-8B-GGUF", None),
        ("org/phi3b5", None),
    ],
)
def test_the_size_is_told_by_the_name_or_unknown(name: str, gb: float | None) -> None:
    """Billions of weights times the bytes of the precision that the name tells; never a guess beyond that."""
    found, origin = weights_gb(ModelSpec(name))
    assert found == (None if gb is None else pytest.approx(gb))
    assert origin


def test_what_is_written_goes_before_the_name() -> None:
    """The owner knows better than a name does."""
    assert weights_gb(ModelSpec("Qwen/Qwen3-8B", weights_gb=5.5)) == (5.5, "model.weights_gb")


def test_from_the_hub_the_clouds_charge_nothing_for_what_comes_in() -> None:
    """Free is a fact of the table, with its source; the grams are a range all the same."""
    found = on_grids(of(QWEN, "aws/eu-north-1"), {"aws/eu-north-1": 100.0}, "aws/eu-north-1")
    assert found.usd == Span(0.0, 0.0, 0.0)
    assert "confidence high" in found.usd_origin
    assert found.grams == Span(*(pytest.approx(16 * 100 * kwh) for kwh in (0.002, 0.03, 0.06)))


@pytest.mark.parametrize(
    ("where", "usd_per_gb"),
    [("aws/eu-north-1", 0.0), ("aws/us-east-1", 0.02), ("gcp/europe-west3", 0.12), ("azure/westeurope", 0.087)],
)
def test_a_bucket_is_charged_by_the_way(where: str, usd_per_gb: float) -> None:
    """Nothing in its own region, the price between regions of one provider, the internet's from another one."""
    found = of(ModelSpec("Qwen/Qwen3-8B", weights_from=where), "aws/eu-north-1")
    assert found.usd is not None
    assert found.usd.counted == pytest.approx(16 * usd_per_gb)
    assert found.usd.low <= found.usd.counted <= found.usd.high


def test_a_provider_that_is_not_listed_has_no_price() -> None:
    """Unknown is not zero, at either end of the way."""
    assert of(QWEN, "vast/somewhere").usd is None
    assert "vast" in of(QWEN, "vast/somewhere").usd_origin
    assert of(ModelSpec("Qwen/Qwen3-8B", weights_from="vast/somewhere"), "aws/eu-north-1").usd is None
    assert WorstFetch(ModelSpec("Qwen/Qwen3-8B", weights_from="hub"))("vast/somewhere") is None
    assert of(QWEN, "vast/somewhere").is_untold
    assert WorstFetch(QWEN)("vast/somewhere") == 0.0


def test_a_source_that_nobody_named_costs_a_range_and_its_dear_end_counts() -> None:
    """From nothing to the dearest line there is, for a folder whose name tells its size."""
    found = of(ModelSpec("/models/llama-8B"), "aws/eu-north-1")
    dearest = max(rate.usd_per_gb.high for rate in rates().values())
    assert found.source == UNNAMED
    assert found.usd == Span(0.0, pytest.approx(16 * dearest), pytest.approx(16 * dearest))


def test_where_nothing_is_told_nothing_is_capped() -> None:
    """A file with its own run command and no model: unknown, told as that, and no budget refuses it for it."""
    found = of(ModelSpec("", Engine.COMMAND), "aws/eu-north-1")
    assert found.is_untold
    assert (found.gb, found.usd, found.grams) == (None, None, None)
    assert WorstFetch(ModelSpec("", Engine.COMMAND))("aws/eu-north-1") == 0.0
    assert WorstFetch(ModelSpec("", Engine.COMMAND, weights_from="gcp/europe-west3"))("aws/eu-north-1") is None


def test_nothing_is_fetched_where_the_weights_are() -> None:
    """By an engine without a model, out of an image, or on this machine's own disk."""
    assert egress_of(ModelSpec("greenctl/echo", Engine.BUILTIN), "aws/eu-north-1") is None
    assert egress_of(ModelSpec("Qwen/Qwen3-8B", weights_from=WEIGHTS_AT_HAND), "aws/eu-north-1") is None
    assert egress_of(QWEN, "local/se") is None
    assert WorstFetch(ModelSpec("Qwen/Qwen3-8B", weights_from=WEIGHTS_AT_HAND))("vast/somewhere") == 0.0


def test_the_way_lies_on_both_grids_where_both_are_known() -> None:
    """The mean of a bucket's grid and of the replica's; the replica's alone where the other is unknown."""
    found = of(ModelSpec("Qwen/Qwen3-8B", weights_from="aws/us-east-1"), "aws/eu-north-1")
    assert on_grids(found, {"aws/eu-north-1": 20.0, "aws/us-east-1": 400.0}, "aws/eu-north-1").grams_per_kwh == 210.0
    assert on_grids(found, {"aws/eu-north-1": 20.0}, "aws/eu-north-1").grams_per_kwh == 20.0
    assert on_grids(found, {"aws/us-east-1": 400.0}, "aws/eu-north-1").grams is None


def test_every_line_of_the_packaged_table_says_who_says_so() -> None:
    """Source, year and confidence of each price; and the big three with all of their ways."""
    for rate in rates().values():
        assert rate.source
        assert rate.as_of.isdigit()
        assert rate.confidence in {"high", "medium", "low"}
    assert all((provider, way) in rates() for provider in ("aws", "azure", "gcp") for way in Way)


@pytest.mark.parametrize(
    "line",
    [
        "aws,ingress,0,nan,0,s,2025,high",
        "aws,ingress,0,inf,inf,s,2025,high",
        "aws,ingress,0.2,0.1,0.3,s,2025,high",
        "aws,teleport,0,0,0,s,2025,high",
        "aws,ingress,0,cheap,0,s,2025,high",
        "aws,ingress,0,0,0,s,2025,high\naws,ingress,0,0,0,s,2025,high",
    ],
)
def test_a_damaged_table_is_refused_with_its_line(tmp_path: Path, line: str) -> None:
    """File and line are named; no number that cannot be a price gets in."""
    table = tmp_path / "egress.csv"
    table.write_text(f"# a note\n{HEAD}{line}\n", encoding="utf-8")
    with pytest.raises(InvalidSettings, match=r"egress\.csv:[34]"):
        read_rates(table)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    """No traceback for a broken installation."""
    with pytest.raises(InvalidSettings, match=r"absent\.csv cannot be read"):
        read_rates(tmp_path / "absent.csv")


def test_a_report_adds_up_what_is_known_and_counts_what_is_not() -> None:
    """Three launches, one of them on a grid that is not known: its grams are in no range."""
    lit = on_grids(of(QWEN, "aws/a"), {"aws/a": 100.0}, "aws/a")
    found = fetched([lit, lit, of(QWEN, "aws/a")])
    assert found is not None
    assert (found.launches, found.unknown, found.gb) == (3, 1, 48.0)
    assert found.grams is not None
    assert found.grams.counted == pytest.approx(2 * 16 * 100 * 0.03)
    assert fetched([]) is None
