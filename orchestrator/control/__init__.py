"""The shell: gather, decide, apply. Owns the ports; adapters implement them."""
