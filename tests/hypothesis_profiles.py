"""How hard Hypothesis searches: a repeatable minute by default, a long random one on request.

``GREENCTL_HYPOTHESIS=thorough`` draws many more examples, differently each time, and prints how to repeat a failure.
Importing this module loads the profile, so a test module that is run on its own has it too.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

_SUPPRESSED = (HealthCheck.too_slow, HealthCheck.data_too_large)
"""Whole worlds are large on purpose; how long they take to draw says nothing about the code under test."""

settings.register_profile(
    "moderate",
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,  # a run that was green is green again, on every machine
    suppress_health_check=_SUPPRESSED,
)
settings.register_profile(
    "thorough",
    max_examples=2000,
    stateful_step_count=80,
    deadline=None,
    print_blob=True,
    suppress_health_check=_SUPPRESSED,
)

PROFILE = os.environ.get("GREENCTL_HYPOTHESIS", "moderate")
settings.load_profile(PROFILE)
