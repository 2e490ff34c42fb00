"""Clients of grid APIs, one module each: what to ask, how to read the answer, and its traps."""
