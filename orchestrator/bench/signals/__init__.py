"""Poisoned carbon feeds: whether any of them gets a replica to move where nobody should go."""
