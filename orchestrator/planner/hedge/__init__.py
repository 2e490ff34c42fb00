"""Keep k replicas ready on spot: in which zones, with how many spares, and when on demand stands in. Pure.

The controller takes its number of spares from ``spares``; ``hedge``, which chooses places and stand-ins as well, is run
by ``bench spot`` alone.
"""
