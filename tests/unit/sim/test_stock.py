"""Recorded availability: what belongs to whom, what is drawn, what is refused."""

from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.domain.price import Market
from orchestrator.errors import SignalFormatError, SignalUnavailable
from orchestrator.sim.stock import MOST, Stock, read_traces, stock_of
from tests.unit.sim.sample_world import START, flicker, offers, period

INDEX = "trace_id,kind,cloud,zone,instance_or_accelerator\n"
RUNS = "trace_id,offset_s,duration_s,available_instances\n"
SPOT = offers((Market.ON_DEMAND, Market.SPOT))


def folder(at: Path, index: str, runs: str) -> Path:
    """Write the two files."""
    (at / "spot").mkdir()
    (at / "spot" / "availability_index.csv").write_text(INDEX + index)
    (at / "spot" / "availability_runs.csv").write_text(RUNS + runs)
    return at


def test_traces_are_read_with_their_region_and_accelerator(tmp_path: Path) -> None:
    """Zones become regions; the traces of what lived on are not of what could be launched."""
    made = folder(
        tmp_path,
        "a,availability,aws,us-east-1a,v100_1\nb,availability,gcp,us-central1-b,a100_40gb_8\nc,preemption,aws,us-east-1b,v100_1\n",
        "a,0,600,1\na,600,300,0\nb,0,60,2\nc,0,60,1\n",
    )

    traces = read_traces(made)

    assert [(t.id, t.region, t.accelerator) for t in traces] == [
        ("a", "aws/us-east-1", "v100"),
        ("b", "gcp/us-central1", "a100"),
    ]
    assert traces[0].sampled(4, 0.0).tolist() == [1, 1, 0, 1]


def test_no_folder_is_no_traces(tmp_path: Path) -> None:
    """Whoever has no spot in the recording has none."""
    assert read_traces(tmp_path) == ()


@pytest.mark.parametrize(
    ("index", "runs", "words"),
    [
        ("a,availability,aws,us-east-1a,v100_1\n", "b,0,60,1\n", "has no run of a"),
        ("", "a,0,x,1\n", "availability_runs.csv:2"),
        ("", "a,0,60,-1\n", "availability_runs.csv:2"),
        ("", "a,0,60,1\na,0,60,1\n", "availability_runs.csv:3: runs of a do not follow one another"),
        ("", "a,0,300,0\na,86400,300,4\n", "csv:3: .* begins at 86400 s, the one before ended at 300 s"),
        ("", "a,60,60,1\n", "availability_runs.csv:2: .* begins at 60 s, the one before ended at 0 s"),
        ("", "a,0,inf,1\n", "availability_runs.csv:2"),
    ],
)
def test_damaged_traces_are_refused_with_their_place(tmp_path: Path, index: str, runs: str, words: str) -> None:
    """File and line, and what is wrong there."""
    with pytest.raises(SignalFormatError, match=words):
        read_traces(folder(tmp_path, index, runs))


def test_more_than_anybody_wants_is_enough(tmp_path: Path) -> None:
    """A zone with a hundred thousand instances is one that never runs out, not an error of ours."""
    (trace,) = read_traces(folder(tmp_path, "a,availability,aws,us-east-1a,v100_1\n", "a,0,300,100000\na,300,300,3\n"))

    assert trace.sampled(2, 0.0).tolist() == [MOST, 3]


def test_half_a_recording_is_refused(tmp_path: Path) -> None:
    """Runs without their index say nothing about anybody."""
    made = folder(tmp_path, "", "a,0,60,1\n")
    (made / "spot" / "availability_index.csv").unlink()

    with pytest.raises(SignalUnavailable, match="has only one of"):
        read_traces(made)


def test_an_offer_gets_its_own_trace_and_others_are_drawn_by_the_seed() -> None:
    """On demand never runs out; the same seed draws the same."""
    own = flicker("sky/de", [(2, 1), (3, 0)])
    other = flicker("aws/elsewhere", [(1, 1), (5, 0), (9, 2)])

    made = stock_of(SPOT, period(1), (own, other), seed=7)

    assert made.room("sky/de:1xL4:on_demand", START) is None
    assert made.room("sky/de:1xL4:spot", START) == 1
    assert made.room("sky/de:1xL4:spot", START + timedelta(hours=2, minutes=5)) == 0
    assert made.room("sky/de:1xL4:spot", START + timedelta(hours=3)) == 1
    again = stock_of(SPOT, period(1), (own, other), seed=7)
    assert {n: c.tolist() for n, c in made.counts.items()} == {n: c.tolist() for n, c in again.counts.items()}
    assert made.notes == again.notes
    assert any("its own" in note for note in made.notes)


def test_without_traces_spot_never_runs_out_and_that_is_said() -> None:
    """Nothing is invented."""
    made = stock_of(SPOT, period(1), (), seed=0)

    assert made.counts == {}
    assert made.notes == ("no availability traces: spot never runs out here",)


def test_changes_are_the_steps_at_which_anything_differs() -> None:
    """The first step is none."""
    made = stock_of(SPOT[:2], period(1), (flicker("sky/de", [(2, 1), (24, 0)]),), seed=0)

    assert made.changes().tolist() == [24]
    assert Stock(period(1)).changes().tolist() == []
