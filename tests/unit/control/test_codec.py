"""Our values as JSON."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.codec import plan_from_json, to_json, to_plain
from orchestrator.domain.carbon import Kind
from orchestrator.domain.price import Market
from orchestrator.domain.time import HOUR
from orchestrator.planner.plan import plan, plan_migration
from tests.builders import GREEN, NOON, candidate, intensity, replica, service_spec, snapshot

SE, PL = candidate("aws/se", 30.0, trailing=28.0), candidate("aws/pl", 700.0)
PLANS = {
    "place": plan(snapshot([SE, PL], spec=service_spec(2)), GREEN, NOON),
    "move": plan(snapshot([SE, PL], [replica(PL)]), GREEN, NOON),
    "stay": plan(snapshot([SE, PL], [replica(SE)]), GREEN, NOON + timedelta(microseconds=1)),
    "retire": plan(snapshot([SE, PL], [replica(SE)], taking_down=True), GREEN, NOON),
    "asked": plan_migration(
        snapshot([SE, PL], [replica(SE)]), GREEN, NOON, replica=None, to_region=None, actor="ä", reason="“why”"
    ),
}


class TestPlain:
    def test_each_type_has_its_form(self) -> None:
        """Enums as text, instants with Z, durations in seconds, sets in order, paths as text."""
        assert to_plain([Kind.MEASURED, NOON, 90 * HOUR / 60, {"b", "a"}, Path("/x"), None, True, 1, 0.5]) == [
            "measured",
            "2026-06-01T12:00:00Z",
            5400.0,
            ["a", "b"],
            "/x",
            None,
            True,
            1,
            0.5,
        ]

    def test_keys_become_text(self) -> None:
        """Also those of mappings by enum or number."""
        assert to_plain({Market.SPOT: 1, 2: "two"}) == {"spot": 1, "2": "two"}

    def test_a_dataclass_is_its_fields(self) -> None:
        """By name, nested."""
        found = to_plain(intensity("SE", 30.0))
        assert isinstance(found, dict)
        assert found["basis"] == {"accounting": "average", "factors": "lifecycle"}
        assert list(found)[:2] == ["zone", "grams_per_kwh"]

    def test_what_has_no_form_is_refused(self) -> None:
        """No repr sneaks into a document; neither does a class in place of a value."""
        for value in (object(), b"bytes", 1j, type(SE)):
            with pytest.raises(TypeError, match="has no JSON form"):
                to_plain(value)

    def test_text_stays_readable(self) -> None:
        """Not escaped."""
        assert to_json("Zürich") == '"Zürich"'


class TestPlans:
    @pytest.mark.parametrize("made", PLANS.values(), ids=PLANS)
    def test_they_come_back_equal(self, made: object) -> None:
        """Every field, to the last bit of each number, and with the same digest."""
        read = plan_from_json(to_json(made))
        assert read == made
        assert to_json(read) == to_json(made)

    def test_the_digest_is_written_beside_them(self) -> None:
        """Scripts can confirm a plan from its JSON."""
        made = PLANS["place"]
        assert json.loads(to_json(made))["digest"] == made.digest

    @pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"service": "chat"}'])
    def test_anything_else_is_refused(self, text: str) -> None:
        """ValueError, never a half-read plan."""
        with pytest.raises(ValueError, match=r"."):
            plan_from_json(text)
