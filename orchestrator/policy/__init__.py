"""Rules: which offers are allowed, and why not. Pure."""
