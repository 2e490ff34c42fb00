"""Live through ten simulated hours, and keep the journal with what the planner was asked before each of its decisions.

Run it by hand from the root of a checkout, an old one too, since it needs nothing of this folder::

    PYTHONPATH=. python .../tests/golden/journals/write.py FOLDER

A journal says what was decided and what of its grounds a person needs; not the whole of what the planner was given.
So that is kept beside it here, as JSON of the version that wrote it.
"""

from __future__ import annotations

import json
import lzma
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from orchestrator.bench.sim.faults import Fault, Setting
from orchestrator.bench.sim.run import run
from orchestrator.codec import to_plain
from orchestrator.control import deciding, preview

FAULTS = (
    Fault(1, 5000.0, "preempt", 0.0, 0.2),
    Fault(2, 9000.0, "full", 4000.0, 0.4),
    Fault(3, 12000.0, "move", 0.0, 0.7),
    Fault(4, 15000.0, "zone_stale", 5000.0, 0.1),
    Fault(5, 18000.0, "scale", 0.0, 0.9),
    Fault(6, 21000.0, "new_workload", 0.0, 0.5),
    Fault(7, 25000.0, "kill", 30.0, 0.5),
    Fault(8, 27000.0, "price_moves", 0.0, 0.3),
    Fault(9, 29000.0, "pause", 1800.0, 0.3),
)
"""A service on spot, to which a little of everything happens that has to be decided about."""


def main(folder: Path) -> None:
    """Write ``store.db.xz`` and ``asked.json.xz``."""
    folder.mkdir(parents=True, exist_ok=True)
    asked: dict[str, dict[str, Any]] = {}
    for module, name in ((deciding, "plan"), (preview, "plan"), (preview, "plan_migration")):
        setattr(module, name, overheard(getattr(module, name), asked))
    file = folder / "store.db"
    file.unlink(missing_ok=True)
    setting = Setting(41, FAULTS, hours=10.0, replicas=2, spot=True, look_seconds=30.0, database="sqlite")
    outcome = run(setting, f"sqlite:///{file}")
    if not outcome.is_good:
        sys.exit(f"not a journal to go by: {outcome.violations}")
    with closing(sqlite3.connect(file)) as tx:
        decisions = {one for (one,) in tx.execute("SELECT id FROM decisions")}
        tx.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    known = {one: asked[one] for one in sorted(decisions & asked.keys())}
    (folder / "store.db.xz").write_bytes(lzma.compress(file.read_bytes(), preset=9))
    (folder / "asked.json.xz").write_bytes(lzma.compress(json.dumps(known).encode(), preset=9))
    file.unlink()
    sys.stdout.write(f"{len(decisions)} decisions, {len(known)} of them with what was asked\n")


def overheard(ask: Callable[..., Any], asked: dict[str, dict[str, Any]]) -> Callable[..., Any]:
    """Ask, and keep what was asked by the id of the decision that came of it."""

    def plan(snapshot: Any, policy: Any, now: Any, **more: Any) -> Any:
        made = ask(snapshot, policy, now, **more)
        more = {name: value for name, value in more.items() if name != "budget"}
        given = {"ask": ask.__name__, "snapshot": snapshot, "policy": policy, "now": now, "more": more}
        asked.setdefault(made.decision.id, {name: to_plain(value) for name, value in given.items()})
        return made

    return plan


if __name__ == "__main__":
    main(Path(sys.argv[1]))
