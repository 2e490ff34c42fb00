"""Tables, sparklines and short names."""

import io

import pytest
from rich.console import Console

from orchestrator.cli.render.labels import find_replica, label, shortened
from orchestrator.cli.render.sparkline import HOLE, LEVELS, Scale, sparkline
from orchestrator.cli.render.table import Column, Grid, columns
from orchestrator.cli.render.text import Escaped
from orchestrator.domain.replica import ReplicaState
from orchestrator.errors import UsageError
from tests.unit.cli.samples import REPLICAS, replica


def drawn(grid: Grid, width: int) -> list[str]:
    output = io.StringIO()
    console = Console(file=output, width=width, markup=False, highlight=False, color_system=None)
    console.print(Escaped(grid.laid_out(width)), crop=False, end="")
    return output.getvalue().splitlines()


def offers() -> Grid:
    grid = Grid(columns("INFRA", Column("ZONE", keep=1), Column("PUE", keep=0, right=True), Column("NOTE", wrap=True)))
    grid.add("aws/eu-north-1", "SE", "1.10", "this is a longer remark that may wrap")
    return grid


def test_columns_leave_in_the_order_of_their_weight() -> None:
    """The least important column goes first, and the page says which ones are missing."""
    assert drawn(offers(), 100)[0].split() == ["INFRA", "ZONE", "PUE", "NOTE"]
    assert drawn(offers(), 40)[0].split() == ["INFRA", "ZONE", "NOTE"]

    lines = drawn(offers(), 34)
    assert lines[0].split() == ["INFRA", "NOTE"]
    assert " ".join(" ".join(lines).split()).endswith("No room for ZONE, PUE: widen the terminal.")


def test_a_cell_is_never_cut() -> None:
    """Half a region name is worse than none: a cell that must stay is folded, with every letter of it."""
    text = "".join("".join(drawn(offers(), 20)).split())

    assert "aws/eu-north-1" in text.replace("thisisa", "")
    assert "…" not in text


@pytest.mark.parametrize("width", range(12, 81))
def test_a_number_is_shown_whole_or_not_at_all(width: int) -> None:
    """Half of $12.0900 is another price: on a phone or in a narrow pane a row becomes a list of its cells."""
    grid = Grid(columns("INFRA", Column("gCO2e/h", right=True), Column("$/h", right=True), Column("WHY", keep=1)))
    rows = (("slurm/eu-north-production-a", "0.194", "12.0900", "cheapest"), ("local/se", "1234.5", "0.0880", ""))
    for row in rows:
        grid.add(*row)

    lines = drawn(grid, width)

    assert all(len(line) <= width for line in lines)
    words = " ".join(lines).split()
    assert all(cell in words for row in rows for cell in row[1:3])
    assert all(row[0] in "".join(line.strip() for line in lines) for row in rows)
    assert ("cheapest" in words) != ("No room for WHY" in " ".join(lines))


def test_a_column_without_anything_to_say_is_left_out_silently() -> None:
    """An empty column is no information, and neither is its absence."""
    grid = Grid(columns("A", "B"))
    grid.add("1", "")

    assert drawn(grid, 80) == ["A", "1"]


def test_a_sparkline_has_one_scale_and_visible_holes() -> None:
    """The lowest and the highest value take the ends; an hour without a number is not the lowest level."""
    scale = Scale.over([10.0, None, 90.0])

    assert sparkline([10.0, None, 50.0, 90.0], scale) == f"{LEVELS[0]}{HOLE}{LEVELS[4]}{LEVELS[-1]}"
    assert sparkline([10.0, 10.0], Scale.over([10.0])) == LEVELS[0] * 2
    assert Scale.over([None, None]) is None
    assert sparkline([None, None], None) == HOLE * 2


def test_a_replica_is_found_by_any_of_its_names() -> None:
    """Full name, short name, id and slot all mean the replica; of two in a slot, the one that lives."""
    old = replica(0, "local/de", "DE", ReplicaState.TERMINATED, name="gc-1a2b3c4d-chat-aaaabbbb11")
    known = (old, *REPLICAS)

    for words in (REPLICAS[0].name, label(REPLICAS[0]), "0e6f7a8b9c", "r0"):
        assert find_replica("chat", words, known) is REPLICAS[0]
    assert find_replica("chat", "r0-aaaa", known) is old


def test_a_wrong_name_is_answered_with_the_right_ones() -> None:
    """The error lists what exists."""
    with pytest.raises(UsageError, match=r"no replica 'r9'; there are: r0-0e6f, r1-1e6f, r2-2e6f"):
        find_replica("chat", "r9", REPLICAS)


def test_full_names_in_a_sentence_become_short_ones() -> None:
    """Sentences of the planner name replicas in full; people read the short name."""
    text = f"stay: {REPLICAS[0].name} fails"

    assert shortened(text, {REPLICAS[0].name: "r0-0e6f"}) == "stay: r0-0e6f fails"
