"""The front door: what the command line and, later, the API ask for.

Previews and views change nothing; submissions write one durable request, and the controller does the rest.
"""

from __future__ import annotations

from orchestrator.control.outlook import carbon_outlook
from orchestrator.control.pausing import pause, pauses_of, refuse_while_paused, resume
from orchestrator.control.preview import preview_deploy, preview_migration
from orchestrator.control.reporting import service_report
from orchestrator.control.requests import (
    error_of,
    follow,
    known_service,
    submit_deploy,
    submit_down,
    submit_migration,
)
from orchestrator.control.spending import bill_of
from orchestrator.control.status import service_status

__all__ = [
    "bill_of",
    "carbon_outlook",
    "error_of",
    "follow",
    "known_service",
    "pause",
    "pauses_of",
    "preview_deploy",
    "preview_migration",
    "refuse_while_paused",
    "resume",
    "service_report",
    "service_status",
    "submit_deploy",
    "submit_down",
    "submit_migration",
]
