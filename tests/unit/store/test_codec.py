"""Documents: specs and decisions as JSON."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from orchestrator.domain.carbon import Accounting, Basis, Factors
from orchestrator.domain.service import (
    CarbonRules,
    Engine,
    ModelSpec,
    PlacementRules,
    Policy,
    ServiceSpec,
    SpotLoss,
    WhenStale,
)
from orchestrator.errors import StoreIncompatible
from orchestrator.spec.codec import spec_digest as digest_of_a_file
from orchestrator.store.codec import DECISIONS, SPECS, spec_digest
from tests.store_samples import a_decision, a_spec

SPEC = ServiceSpec(
    "chat",
    ModelSpec("org/m", Engine.BUILTIN, "ƒ", args=(("a", 1), ("b", 1.0), ("c", True), ("d", None), ("e", "1e5"))),
    placement=PlacementRules(residency=("EU",), on_spot_loss=SpotLoss.WAIT),
    carbon=CarbonRules(Basis(Accounting.MARGINAL, Factors.DIRECT), when_stale=WhenStale.STATIC, budget_grams=0.1 + 0.2),
    policy=Policy(max_extra_cost_fraction=None, horizon=timedelta(days=400, microseconds=1)),
    ttft_p95=timedelta(milliseconds=800),
    labels=(("b", "2"), ("a", "1")),
)


@pytest.mark.parametrize("spec", [SPEC, a_spec()], ids=["full", "plain"])
def test_a_recorded_spec_has_the_digest_of_its_file(spec: ServiceSpec) -> None:
    """A plan is made for the file's digest and checked against the record's: they are one and the same."""
    assert spec_digest(spec) == digest_of_a_file(spec)
    assert spec_digest(SPECS.decode(SPECS.encode(spec))) == digest_of_a_file(spec)


def test_documents_are_plain_json() -> None:
    """Infinity included, so that PostgreSQL can query them; unknown is null."""

    def refuse(word: str) -> None:
        raise AssertionError(word)

    document = json.loads(DECISIONS.encode(a_decision()), parse_constant=refuse)

    assert document["assessments"][0]["usd_per_hour"] is None
    assert document["assessments"][0]["verdicts"][0]["limit"] == "Infinity"
    assert document["comparisons"][0]["terms"][0]["factors"][1]["value"] == 2.0


def test_an_older_document_takes_the_defaults() -> None:
    """What its version did not know is as if it had not been said."""
    document = json.loads(SPECS.encode(SPEC))
    del document["functional_unit_tokens"]
    del document["policy"]["horizon"]

    found = SPECS.decode(json.dumps(document))

    assert found.functional_unit_tokens == 1000
    assert found.policy.horizon == timedelta(hours=24)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"name": 1}', '"chat"', "{}, {}"])
def test_what_is_no_document_is_refused(text: str) -> None:
    """As a store of another shape, never as a wrong spec or a stray exception."""
    with pytest.raises(StoreIncompatible, match="spec"):
        SPECS.decode(text)


def test_half_a_surrogate_pair_cannot_be_a_document() -> None:
    """It is refused before anything is written."""
    with pytest.raises(ValueError, match="spec"):
        SPECS.encode(a_spec(labels=(("team", "\ud83d"),)))
