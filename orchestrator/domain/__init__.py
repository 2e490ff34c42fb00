"""Frozen values of the problem: standard library only, no I/O, no clock, no randomness."""
