"""Single values: what is taken, what is refused, and what is suggested."""

from datetime import timedelta

import pytest

from orchestrator.domain.service import Accelerators
from orchestrator.spec import forms, grammar, sky_values
from orchestrator.spec.grammar import Unreadable


def refusal(read: object, value: object) -> Unreadable:
    """The refusal of a value."""
    with pytest.raises(Unreadable) as caught:
        read(value)  # type: ignore[operator]
    return caught.value


@pytest.mark.parametrize(
    ("text", "seconds"), [("800ms", 0.8), ("90s", 90), ("15m", 900), ("2h", 7200), ("7d", 604_800), ("0s", 0)]
)
def test_durations(text: str, seconds: float) -> None:
    """A whole number and a unit."""
    assert grammar.duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("2 hours", "Write 2h"),
        ("90 Seconds", "Write 90s"),
        ("1.5h", "Write 90m"),
        ("0.5s", "Write 500ms"),
        ("1.5ms", "like 90s"),
        ("2 weeks", "like 90s"),
        ("1h30m", "like 90s"),
        (90, "like 90s"),
        (None, "nothing is not a duration"),
        ("-5m", "like 90s"),
        ("٣h", "like 90s"),
        ("2h\n", "is not a duration"),
        ("99999d", "longer than 366 days"),
        ("999999999d", "longer than 366 days"),
    ],
)
def test_what_is_nearly_a_duration_gets_the_right_spelling(text: object, hint: str) -> None:
    """The message shows how to write what was meant, if that is clear."""
    assert hint in refusal(grammar.duration, text).message


@pytest.mark.parametrize(("text", "fraction"), [("15%", 0.15), ("0%", 0.0), ("7.5%", 0.075), ("99.9%", 0.999)])
def test_percentages_become_the_nearest_fraction(text: str, fraction: float) -> None:
    """15% is exactly the number that 0.15 is."""
    assert grammar.percent(text) == fraction


@pytest.mark.parametrize(
    ("value", "hint"),
    [(0.15, "Write 15%"), (15, "Write 15%"), ("15 percent", "Write 15%"), ("a", "it like 15%"), (1, "15%")],
)
def test_a_number_without_its_sign_is_not_guessed(value: object, hint: str) -> None:
    """0.15 and 15 might both be meant as a percentage, so neither is taken."""
    assert hint in refusal(grammar.percent, value).message


@pytest.mark.parametrize(
    ("text", "grams", "period"),
    [("25kg/month", 25_000, "month"), ("800g/day", 800, "day"), ("0.5t/week", 500_000, "week")],
)
def test_budgets_are_read_in_grams(text: str, grams: float, period: str) -> None:
    """Grams per day, week or month."""
    assert grammar.budget(text) == (grams, period)


@pytest.mark.parametrize("text", ["25kg", "25 kg/month", "-1kg/day", "0g/day", "1e3kg/day", "25kg/year", 25, None])
def test_what_is_no_budget_is_refused(text: object) -> None:
    """A budget has an amount, a unit and a period."""
    refusal(grammar.budget, text)


@pytest.mark.parametrize(
    "text",
    ["gpt2", "Qwen/Qwen3-8B", "greenctl/tiny", "./models/tiny", "../m", "/srv/models/a+b@c", "../../x/y_z.1", "/a/b/"],
)
def test_models_are_hub_ids_or_paths(text: str) -> None:
    """A hub id has an owner and a name; a path says so by its beginning."""
    assert grammar.model_id(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-rf",
        "--help",
        "a b",
        "a;b",
        "$(id)",
        "`id`",
        "a|b",
        "~/model",
        "a/b/c",
        "a/../b",
        "a..b",
        "/a//b",
        "/",
        ".",
        "..",
        "/a\nb",
        "gpt2\n",
        "modèle",
        "https://host/x",
        "s3://bucket/x",
        "/a/$HOME",
        "/a/{b,c}",
        "/a/*",
        "x" * 2000,
        7,
        None,
        ["a"],
    ],
)
def test_what_is_neither_is_refused(text: object) -> None:
    """No space, no shell character, no option, nothing that some layer would expand."""
    refusal(grammar.model_id, text)


def test_a_path_without_its_beginning_is_recognised() -> None:
    """models/qwen/tiny cannot be a hub id, so the path is suggested."""
    assert refusal(grammar.model_id, "models/qwen/tiny").suggestion == "./models/qwen/tiny"


@pytest.mark.parametrize(
    ("text", "meant"), [("Chat_8B", "chat-8b"), ("my service", "my-service"), ("7up", None), ("", None)]
)
def test_a_name_that_nearly_fits_gets_one_that_does(text: str, meant: str | None) -> None:
    """Lower case, digits and dashes, with a letter first."""
    assert refusal(grammar.service_name, text).suggestion == meant


@pytest.mark.parametrize("text", ["a", "chat-8b", "a" * 40])
def test_names(text: str) -> None:
    """Up to forty characters."""
    assert grammar.service_name(text) == text


@pytest.mark.parametrize("text", ["-a", "a-", "a" * 41, "a_b", "A", "a\n", "é", 7, True])
def test_names_that_no_cloud_would_take_are_refused(text: object) -> None:
    """A name becomes part of host names."""
    refusal(grammar.service_name, text)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("L4", [("L4", 1)]),
        ("A100-80GB:8", [("A100-80GB", 8)]),
        ({"L4:1": None, "L40S": 2}, [("L4", 1), ("L40S", 2)]),
        (["H100:8", "A100"], [("H100", 8), ("A100", 1)]),
        ({"V100": 2.0}, [("V100", 2)]),
        (None, []),
    ],
)
def test_accelerators_in_each_of_skypilots_notations(value: object, found: list[tuple[str, int]]) -> None:
    """Text, list, block, and the block that YAML makes of {L4:1, L40S:1}."""
    assert sky_values.accelerators(value) == tuple(Accelerators(*pair) for pair in found)


@pytest.mark.parametrize(
    "value",
    ["L4:0", "L4:-1", "L4:0.5", "L4:x", "L4:1:2", "", "L4;id", {"L4": "1"}, {"L4": True}, {"L4": 1e300}, [1], 7],
)
def test_what_is_no_accelerator_is_refused(value: object) -> None:
    """A name and a whole number."""
    refusal(sky_values.accelerators, value)


@pytest.mark.parametrize(
    ("value", "gib"), [(16, 16), ("16+", 16), ("16GB", 16), ("512MB+", 0.5), ("1TB", 1024), (0.5, 0.5), (None, None)]
)
def test_memory(value: object, gib: float | None) -> None:
    """A lower bound in GiB."""
    assert sky_values.memory_gib(value) == gib


@pytest.mark.parametrize("value", ["4x", "much", "", 0, -1, True, "1e9", [16], "16 parsecs"])
def test_what_is_no_memory_is_refused(value: object) -> None:
    """A positive amount."""
    refusal(sky_values.memory_gib, value)


@pytest.mark.parametrize(("value", "count"), [(4, 4), ("4+", 4), ("0.5", 0.5), (None, None)])
def test_vcpus(value: object, count: float | None) -> None:
    """A lower bound."""
    assert sky_values.vcpus(value) == count


@pytest.mark.parametrize("value", ["lots", 0, "-1", True, {"a": 1}])
def test_what_are_no_vcpus_is_refused(value: object) -> None:
    """A positive number."""
    refusal(sky_values.vcpus, value)


@pytest.mark.parametrize("value", [True, "1", 1.0, 0, 11, None])
def test_whole_numbers_are_whole_and_in_their_range(value: object) -> None:
    """A boolean is no number here, although it is one to Python."""
    refusal(forms.whole(1, 10).read, value)


@pytest.mark.parametrize("value", [0, 1.1, True, "1", None])
def test_numbers_are_in_their_range(value: object) -> None:
    """The lower end is not included where that is said."""
    refusal(forms.number(0, 1, above=True).read, value)


@pytest.mark.parametrize("value", ["yes", 1, "true", None])
def test_flags_are_true_or_false(value: object) -> None:
    """Nothing is truthy."""
    refusal(forms.flag().read, value)


@pytest.mark.parametrize("text", ["hub", "at-hand", "aws/eu-north-1"])
def test_where_weights_come_from(text: str) -> None:
    """A word, or the region of a bucket."""
    assert grammar.weights_from(text) == text


@pytest.mark.parametrize("value", ["Hub!", "s3://bucket", "", 7, ["hub"], None])
def test_where_weights_cannot_come_from(value: object) -> None:
    """Nothing else, and the words that there are stand in the refusal."""
    assert "at-hand" in refusal(grammar.weights_from, value).message
