"""A pytest plugin that puts one mutant into the code before any test is collected: ``MUTANT=name pytest -p ...``."""

from __future__ import annotations

import os
from contextlib import ExitStack

from tests.sim.mutants import MUTANTS, applied

_open = ExitStack()


def pytest_configure() -> None:
    """Put it in, if one is named; the process ends with the tests."""
    name = os.environ["MUTANT"]
    if name:
        _open.enter_context(applied(next(m for m in MUTANTS if m.name == name).changes))
