"""The row that says whose turn it is and when they were heard of last, by the database's own clock.

It is renewed every few seconds and stands for nothing that is decided later, so no link of the journal's chain is about
it.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, delete, func, select, update

from orchestrator.domain.time import as_utc
from orchestrator.domain.turns import Claim, Claimant, Turn, quiet_after
from orchestrator.store import tables
from orchestrator.store.tidy import tidy_text


def turn_in(tx: Connection) -> Turn | None:
    """Return whose turn it is; ``None`` where nobody has said who they are."""
    row = tx.execute(select(tables.turn)).mappings().one_or_none()
    if row is None:
        return None
    claimant = Claimant(row["host"], row["state_dir"], row["number"], int(row["pid"]))
    silent_for = _present(tx) - row["heard_at"]
    moments = row["since"], row["heard_at"]
    return Turn(int(row["epoch"]), claimant, *moments, row["is_over"], silent_for, row["quiet_until"])


def begin_turn(tx: Connection, epoch: int, before: Turn | None, claim: Claim | None) -> None:
    """Put the new holder in the place of the one before; one without a name is not waited for."""
    tx.execute(delete(tables.turn))
    if claim is None:
        return
    now, claimant = _present(tx), claim.claimant
    words = {name: tidy_text(getattr(claimant, name)) for name in ("host", "state_dir", "number")}
    moments = {"since": now, "heard_at": now, "quiet_until": now + quiet_after(before, claim)}
    row = {"singleton": 1, "epoch": epoch, "pid": claimant.pid, "is_over": False}
    tx.execute(tables.turn.insert().values(**row, **words, **moments))


def hear(tx: Connection, *, is_over: bool = False) -> None:
    """Note that its holder lives, or has stopped in order."""
    tx.execute(update(tables.turn).values(heard_at=_present(tx), is_over=is_over))


def _present(tx: Connection) -> datetime:
    """Return what the database's clock says at this moment, which is not when the transaction began."""
    if tx.dialect.name == "sqlite":
        text = tx.execute(select(func.strftime("%Y-%m-%dT%H:%M:%f", "now"))).scalar_one()
        return as_utc(datetime.fromisoformat(f"{text}+00:00"))
    return as_utc(tx.execute(select(func.clock_timestamp())).scalar_one())
