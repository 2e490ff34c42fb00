"""Adapters that start and end replicas: real processes on this machine, and an in-memory one for tests."""
