"""Which jurisdictions a country lies in, for rules such as ``residency: [EU, EEA]``. Pure.

Country codes are ISO 3166-1 alpha-2. A region of a country carries that code and the names of the unions below; where
an operator is incorporated, and whom it must answer, is another question that is not answered here.
"""

from __future__ import annotations

EU = frozenset(
    "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK".split()  # noqa: SIM905  # a list of codes reads best as one line
)
"""The 27 member states of the European Union since 2020-02-01 (Treaty on European Union, article 52)."""

EEA = EU | {"IS", "LI", "NO"}
"""The European Economic Area: the EU and Iceland, Liechtenstein and Norway (EEA Agreement). Not Switzerland, not GB."""


def jurisdictions(country: str) -> frozenset[str]:
    """Return the country's code and the unions that it belongs to; nothing for an unknown country (empty text)."""
    if not country:
        return frozenset()
    code = country.upper()
    unions = {name for name, members in (("EU", EU), ("EEA", EEA)) if code in members}
    return frozenset({code} | unions)
