"""The report of a simulation as one file: tables and plots as inline SVG, nothing fetched from anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def page(document: Mapping[str, Any]) -> str:
    """Return the report."""
    return f"<!doctype html><title>{document['service']}</title>"
