"""The settings of the replay: those of SpotHedge's own simulator, so that figures can stand side by side.

Source: the public artefact of Z. Mao et al., "SkyServe: Serving AI Models across Regions and Clouds with Spot
Instances", EuroSys 2025 (its evaluation with the constant autoscaler, and cold starts of 120 s).
"""

from __future__ import annotations

from typing import Final

TICK_SECONDS: Final = 30
WINDOW_TICKS: Final = 2880
"""One day."""
COLD_START_TICKS: Final = 4
"""A replica is ready at a tick if it has been held at that tick and the four before it; starting ones are paid."""
TARGET: Final = 3
OVER_PROVISION: Final = 1
"""SpotHedge's one spare, and the optimum's freedom: at most four of a kind."""
ON_DEMAND_PRICE: Final = 3
"""Of an on-demand replica, in spot replicas; the same in every zone."""
SEED: Final = 0
"""Of the artefact: its windows, its random choices, and the order in which it asks the zones, which stays as it is."""
OPTIMUM_WINDOWS: Final = 10
"""The optimum is solved on the first windows only: a linear program each."""
KILOWATTS: Final = 1.0
"""Power of a replica while it is held, starting or ready, for the ledger of grams."""
