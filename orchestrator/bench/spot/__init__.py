"""Three ready replicas on preemptible capacity, on published availability traces, with the settings of SpotHedge.

Each window of a day is replayed by every policy on the same capacity; what they held is scored by one ledger.

Ours is the rule of ``planner/hedge/hedge.py``, which chooses zones, spares and stand-ins at each tick. The controller
does not run it: it chooses places by its plan, and takes the number of spares from ``planner/hedge/spares.py``, which
shares the memory and the sum over losses with that rule. ``greenctl simulate`` runs the controller's.
"""
