"""SIGKILL to everything of a living installation, at random, while clients hold streams open."""
