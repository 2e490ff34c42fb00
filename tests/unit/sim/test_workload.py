"""Loads: what they are on average, and what is refused."""

import gzip
from pathlib import Path

import pytest

from orchestrator.errors import UsageError
from orchestrator.sim.workload import PEAK_OVER_TROUGH, constant, diurnal, recorded
from tests.unit.sim.sample_world import period


def test_a_diurnal_load_has_its_mean_and_its_swing() -> None:
    """Highest over lowest hour is what production traces show."""
    load = diurnal(period(3), 2.0)

    rates = load.requests_per_second
    assert sum(rates) / len(rates) == pytest.approx(2.0)
    assert max(rates) / min(rates) == pytest.approx(PEAK_OVER_TROUGH)
    assert load.mean_concurrency == pytest.approx(2.0 * load.request_seconds)


def test_a_constant_load_is_constant() -> None:
    """Before and after the period its edges count."""
    load = constant(period(1), 0.5)

    assert {load.concurrency(h) for h in (-5, 0, 12, 23, 99)} == {0.5 * 8.0}


def test_a_trace_repeats_with_its_own_tokens(tmp_path: Path) -> None:
    """Three whole hours of requests; the hour begun at the end does not count."""
    file = tmp_path / "trace.csv.gz"
    rows = ["offset_s,input_tokens,output_tokens"]
    rows += [f"{h * 3600 + i},100,{50 * (1 + i % 2)}" for h, n in enumerate([36, 72, 36]) for i in range(n)]
    file.write_bytes(gzip.compress("\n".join([*rows, "10801,100,50"]).encode()))

    load = recorded(period(1), file)

    assert load.requests_per_second[:4] == pytest.approx([0.01, 0.02, 0.01, 0.01])
    assert load.prompt_tokens == 100
    assert load.output_tokens == pytest.approx(75, abs=1)
    scaled = recorded(period(1), file, 2.0)
    assert sum(scaled.requests_per_second) / 24 == pytest.approx(2.0)


def test_the_mean_that_is_asked_for_is_that_of_the_period(tmp_path: Path) -> None:
    """A week that is busy at its end is not that busy on its first day; a day without requests has no mean to scale."""
    file = tmp_path / "rates.csv"
    rates = [0.5] * 24 + [8.0] * 144
    file.write_text("\n".join(["offset_s,requests_per_s", *(f"{h * 3600},{r}" for h, r in enumerate(rates))]) + "\n")

    assert set(recorded(period(1), file, 2.0).requests_per_second) == {2.0}
    assert set(recorded(period(1), file).requests_per_second) == {0.5}

    file.write_text(file.read_text().replace(",0.5", ",0"))
    with pytest.raises(UsageError, match="the 24 hours of the period have no requests, its first is in hour 24"):
        recorded(period(1), file, 2.0)


def test_offsets_may_be_seconds_since_an_epoch(tmp_path: Path) -> None:
    """The trace begins with the hour of its first request, not half a century before it."""
    file = tmp_path / "trace.csv"
    first = 1_700_000_000
    hours = [first - first % 3600 + h * 3600 for h in range(3)]
    stamps = [*(hours[0] + 60 * i for i in range(36)), *(hours[1] + 30 * i for i in range(72)), hours[2]]
    file.write_text("\n".join(["offset_s,input_tokens,output_tokens", *(f"{s},100,50" for s in stamps)]) + "\n")

    assert recorded(period(1), file).requests_per_second[:3] == pytest.approx([0.01, 0.02, 0.01])

    file.write_text("offset_s,input_tokens,output_tokens\n" + "".join(f"{first + i},100,50\n" for i in range(61)))
    assert recorded(period(1), file).requests_per_second[0] == pytest.approx(61 / 60)


def test_a_table_of_rates_says_which_workload(tmp_path: Path) -> None:
    """Rates per ten minutes become rates per hour, tokens means by rate; nobody chooses among several by himself."""
    file = tmp_path / "rates.csv"
    lines = ["a,0,1,100", "a,600,3,300", "a,3600,4,", "b,0,100,7"]
    file.write_text("\n".join(["workload,offset_s,requests_per_s,mean_input_tokens", *lines]) + "\n")

    load = recorded(period(1), tmp_path / "rates.csv:a")

    assert load.requests_per_second[:3] == (2.0, 4.0, 2.0)
    assert load.prompt_tokens == 250
    assert load.output_tokens == 200
    assert load.name == "rates.csv:a"
    for name, said in (("rates.csv", "has several workloads"), ("rates.csv:c", "has no workload 'c'")):
        with pytest.raises(UsageError, match=said) as refused:
            recorded(period(1), tmp_path / name)
        assert "a, b" in refused.value.hint()


def test_a_rate_holds_for_its_step_and_a_hole_is_refused(tmp_path: Path) -> None:
    """Four hours to a row are a day of six rows; rows for busy hours alone do not say what the others were."""
    file = tmp_path / "rates.csv"
    steps = [f"{h * 3600},{1.0 if 8 <= h < 20 else 0.1}" for h in range(0, 24, 4)]
    file.write_text("\n".join(["offset_s,requests_per_s", *steps]) + "\n")

    load = recorded(period(2), file)

    assert load.requests_per_second == ((0.1,) * 8 + (1.0,) * 12 + (0.1,) * 4) * 2
    busy = [f"{h * 3600},1" for h in (8, 9, 10, 32, 33, 34)]
    file.write_text("\n".join(["offset_s,requests_per_s", *busy]) + "\n")
    with pytest.raises(UsageError, match="after offset_s 36000 the next row is of 115200") as refused:
        recorded(period(2), file)
    assert "each step of 1 h, with 0" in refused.value.hint()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no rows"),
        ("a,b\n1,2\n", "it has a, b"),
        ("offset_s,input_tokens,output_tokens\n0,1,x\n", r"trace.csv:2: output_tokens is 'x'"),
        ("offset_s,input_tokens,output_tokens\nnan,1,1\n", r"trace.csv:2: offset_s is 'nan'"),
        ("workload,offset_s,requests_per_s\na,0,0\n", "no requests"),
    ],
)
def test_a_trace_that_is_none_is_refused(tmp_path: Path, text: str, words: str) -> None:
    """File, line and column."""
    file = tmp_path / "trace.csv"
    file.write_text(text)

    with pytest.raises(UsageError, match=words):
        recorded(period(1), file)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    """Nothing to serve is nothing to place."""
    with pytest.raises(UsageError, match="is no load"):
        constant(period(1), rate)


def test_a_missing_trace_is_refused(tmp_path: Path) -> None:
    """A word that is no kind is taken for a file."""
    with pytest.raises(UsageError, match="--workload"):
        recorded(period(1), tmp_path / "none.csv")
