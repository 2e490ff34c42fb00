"""Codes of areas."""

import pytest

from orchestrator.signals.feeds.entsoe import AREAS

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-"


@pytest.mark.parametrize("zone", sorted(AREAS))
def test_every_code_ends_in_its_check_character(zone: str) -> None:
    """A slip of the pen would ask about another area (check character: ENTSO-E, EIC reference manual)."""
    code = AREAS[zone]
    weighed = sum(ALPHABET.index(c) * weight for c, weight in zip(code[:15], range(16, 1, -1), strict=True))

    assert len(code) == 16
    assert code[15] == ALPHABET[36 - (weighed - 1) % 37]
