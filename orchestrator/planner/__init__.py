"""From a snapshot of the world to a plan, and from a plan to the next safe step. Pure."""
