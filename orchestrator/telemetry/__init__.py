"""Adapters that measure: engines, energy, our own metrics."""
