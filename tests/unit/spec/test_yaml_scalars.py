"""What plain words mean, on both sides of a file."""

import pytest

from orchestrator.spec.yaml_scalars import BadScalar, resolve


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("NO", "NO"),
        ("yes", "yes"),
        ("on", "on"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("12", 12),
        ("0x1F", 31),
        ("0o17", 15),
        ("1e3", 1000.0),
        ("0.5", 0.5),
        (".5", 0.5),
        ("1_000", "1_000"),
        ("2026-01-01", "2026-01-01"),
        ("15%", "15%"),
        ("2h", "2h"),
    ],
)
def test_our_blocks_follow_yaml_1_2(word: str, value: object) -> None:
    """Norway is a country, and only true and false are booleans."""
    found = resolve(word, as_skypilot=False)

    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(("word", "value"), [("yes", True), ("Off", False), ("no", False), ("12", 12), ("1.5", 1.5)])
def test_skypilots_blocks_follow_yaml_1_1(word: str, value: object) -> None:
    """What SkyPilot's own parser would read as a boolean is one."""
    assert resolve(word, as_skypilot=True) == value


@pytest.mark.parametrize("word", ["012", "1_000", "1:30", "0b11", "0o17", "1e3", "2026-01-01", "-.5", "09", "="])
def test_words_that_mean_two_things_are_refused(word: str) -> None:
    """Nothing may mean one thing to us and another to SkyPilot."""
    with pytest.raises(BadScalar, match="differently"):
        resolve(word, as_skypilot=True)
