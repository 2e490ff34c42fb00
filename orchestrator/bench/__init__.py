"""Measurements of greenctl beside its rivals, on folders of data that anyone can bring.

Each bench reads its data, runs ours and the others under one ledger, and returns rows; nothing here is imported by what
it measures.
"""
