"""Pages of services with variants: which were weighed, by whose word, and how good the answers were."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.cli.render.variants import served_words, variant_lines
from orchestrator.domain.decision import Quality
from orchestrator.domain.service import ModelSpec, Variant
from orchestrator.ledger.quality import Served, VariantLine, served
from orchestrator.planner.judged import judge
from tests.builders import GREEN, NOON, candidate, snapshot

FP8 = Variant("fp8", ModelSpec("org/model-FP8", served_name="chat"), 0.98, "our own prompts")


def test_a_plan_names_each_variant_with_its_figure_its_source_and_what_its_loss_counts() -> None:
    """One line for each variant but the main model; an unknown loss is no zero."""
    (plain,) = judge(snapshot([candidate("aws/se", 30.0)]), GREEN, NOON).assessments
    main = replace(plain, quality=Quality("main", 1.0, 0.9, "what quality is relative to", 0.01), chosen=1)
    known = replace(plain, quality=Quality("fp8", 0.98, 0.9, "our own prompts", 0.01, 5000.0))
    unknown = replace(plain, quality=Quality("fp8", 0.98, 0.9, "our own prompts", 0.01))

    assert variant_lines([plain]) == []
    (line,) = variant_lines([main, known])
    assert line.startswith("Variant fp8: quality 0.98 of the main model's (our own prompts), floor 0.9")
    assert "$0.1" in line
    assert line.endswith("not chosen.")
    (line,) = variant_lines([replace(unknown, chosen=2)])
    assert "counts ?/h" in line
    assert line.endswith("2 chosen.")


def test_a_report_tells_who_wrote_what_and_an_unknown_quality_makes_the_mean_unknown() -> None:
    """A variant that left the file has no figure any more; its answers were given all the same."""
    lines = (VariantLine("main", 1.0, "", ("r0",), 300, 0.1), VariantLine("gone", None, "", ("r1",), 100, 0.1))
    words = served_words(Served(lines, None))
    assert words[0].startswith("? of the main model's")
    assert words[1:] == ("main (1) wrote 75 % on r0", "gone (?) wrote 25 % on r1")


def test_a_service_that_never_had_variants_has_no_line() -> None:
    """Its report reads as before; with variants in the file it has one, though nothing was written."""
    assert served([], {"r0": ""}, ()) is None
    empty = served([], {}, (FP8,))
    assert empty is not None
    assert empty.mean is None
