"""Three ready replicas on preemptible capacity, on published availability traces, with the settings of SpotHedge.

Each window of a day is replayed by every policy on the same capacity; what they held is scored by one ledger.
"""
