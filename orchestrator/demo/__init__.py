"""The demonstration: the whole product on this machine, with real engines, in a few minutes."""
