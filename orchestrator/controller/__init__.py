"""The controller as a process: one per state directory, started and stopped from outside."""
