"""Runs migrations on the connection of the store that opens, or on ``-x url=...`` for those who write them."""

from __future__ import annotations

from typing import Literal

from alembic import context
from sqlalchemy import Connection

from orchestrator.store.address import parse_address
from orchestrator.store.columns import Flag, Moment, Word
from orchestrator.store.database import Database
from orchestrator.store.schema import VERSION_TABLE
from orchestrator.store.tables import METADATA

PLAIN_TYPES = {
    Moment: 'sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")',
    Flag: 'sa.Boolean().with_variant(sa.Integer(), "sqlite")',
    Word: "sa.Text()",
}


def in_plain_words(kind: str, item: object, _context: object) -> str | Literal[False]:
    """Write our column types as what they are on disk: a migration must not change when the code does."""
    return PLAIN_TYPES.get(type(item), False) if kind == "type" else False


def run(connection: Connection) -> None:
    """Run what was asked for in the transaction that is already open."""
    context.configure(
        connection=connection,
        target_metadata=METADATA,
        version_table=VERSION_TABLE,
        render_as_batch=True,  # SQLite changes most things only by rebuilding the table
        render_item=in_plain_words,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    database = Database(parse_address(context.get_x_argument(as_dictionary=True)["url"]))
    try:
        database.rebuild(run)
    finally:
        database.close()
