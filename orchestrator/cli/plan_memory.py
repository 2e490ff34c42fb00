"""The plans that were shown lately, so that a plan that is out of date can be set beside the new one.

A cache and nothing more: it may be deleted at any time, and a plan that is not found is simply not compared.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Final

from orchestrator.codec import plan_from_json, to_json
from orchestrator.domain.plan import DIGEST_LENGTH, Action, Plan

KEPT: Final = 50
_DIGEST: Final = re.compile(rf"[0-9a-f]{{{DIGEST_LENGTH}}}")


def remember(cache_dir: Path, plan: Plan) -> None:
    """Keep a plan that is being shown; a cache that cannot be written is no reason to fail."""
    folder = cache_dir / "plans"
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / f"{plan.digest}.json").write_text(to_json(plan), encoding="utf-8")
        for old in sorted(folder.glob("*.json"), key=lambda f: f.stat().st_mtime)[:-KEPT]:
            old.unlink()


def recall(cache_dir: Path, digest: str) -> Plan | None:
    """Return the plan of that digest, ``None`` when it is not kept or cannot be read any more."""
    if not _DIGEST.fullmatch(digest):
        return None
    try:
        return plan_from_json((cache_dir / "plans" / f"{digest}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def differences(before: Plan, after: Plan) -> list[str]:
    """Say in words what the digest of ``after`` binds that ``before`` did not, and the other way round."""
    lines: list[str] = []
    if before.service != after.service:
        lines.append(f"it was for the service {before.service}")
    if before.spec_digest != after.spec_digest:
        lines.append(f"the service file has changed (was {before.spec_digest[:12]}, is {after.spec_digest[:12]})")
    was, now = {_words(a) for a in before.actions}, {_words(a) for a in after.actions}
    lines += [f"no longer: {words}" for words in sorted(was - now)]
    lines += [f"now: {words}" for words in sorted(now - was)]
    return lines


def _words(action: Action) -> str:
    where = action.offer_id or action.from_region
    price = "" if action.usd_per_hour is None else f" at ${action.usd_per_hour:.6f}/h"
    return f"{action.kind.value} r{action.slot} {where}{price}" + (f" ({action.replica})" if action.replica else "")
