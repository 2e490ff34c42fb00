"""Sizing: what one replica can carry, how many of them carry a load, and what a spare one costs in energy.

Pure. The parameters of a replica's model ship beside it; ``infra/fit`` makes them from measurements.
"""
