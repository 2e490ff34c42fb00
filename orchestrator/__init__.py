"""greenctl: a carbon-aware multi-cloud deployment orchestrator for LLM services."""

__version__ = "0.1.0"
