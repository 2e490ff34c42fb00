"""The schema's version: looked at on every open, changed only when it must.

Alembic is imported on the second path alone. It takes longer to load than all the rest of a command.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Text, column, inspect, select
from sqlalchemy import table as plain_table
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.errors import StoreIncompatible
from orchestrator.store.database import Database
from orchestrator.store.faults import is_missing_table
from orchestrator.store.tables import METADATA

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0008"
"""The newest migration; a test compares it with the directory."""

VERSION_TABLE = "greenctl_schema"
MIGRATIONS = Path(__file__).parent / "migrations"

_UPGRADE_LOCK = 0x677265656E
"""Key of the PostgreSQL advisory lock under which one process migrates; the letters "green"."""

_VERSION = plain_table(VERSION_TABLE, column("version_num", Text))


def bring_up_to_date(database: Database) -> None:
    """Migrate to :data:`HEAD` unless the database is there already. Two processes may do this at once.

    Raises ``StoreIncompatible``, having changed nothing, when the database belongs to a newer version or to something
    else.
    """
    if database.read(current_version) != HEAD:
        migrate(database)
    elif database.is_sqlite:
        database.use_write_ahead_log()  # a copy made by SQLite's own tools has forgotten it


def migrate(database: Database, revision: str = "head") -> None:
    """Bring the schema to a revision (``base`` empties it) in one transaction, one process at a time."""
    from alembic import command  # noqa: PLC0415  # heavy, and rarely needed
    from alembic.script import ScriptDirectory  # noqa: PLC0415  # as above

    config = alembic_config()
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}

    def work(tx: Connection) -> None:
        _wait_for_turn(tx)
        _refuse_strange(tx, current_version(tx), known, database.address.shown)
        config.attributes["connection"] = tx
        direction = command.downgrade if revision == "base" else command.upgrade
        direction(config, revision)
        _check_keys(tx)

    if database.is_sqlite:
        database.use_write_ahead_log()
    database.rebuild(work)


def current_version(tx: Connection) -> str | None:
    """Return the version that the database says it has; ``None`` when it was never ours."""
    try:
        with tx.begin_nested():
            return tx.execute(select(_VERSION.c.version_num)).scalar_one_or_none()
    except SQLAlchemyError as error:
        if is_missing_table(error):
            return None
        raise


def alembic_config() -> Config:
    """Return the configuration that the packaged migrations run with."""
    from alembic.config import Config  # noqa: PLC0415  # as above

    config = Config(MIGRATIONS / "alembic.ini")
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


def _wait_for_turn(tx: Connection) -> None:
    """Let one process migrate at a time. SQLite's writers queue up anyway."""
    if tx.dialect.name == "postgresql":
        tx.exec_driver_sql("SET LOCAL lock_timeout = 0")
        tx.exec_driver_sql("SET LOCAL statement_timeout = 0")
        tx.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_UPGRADE_LOCK})")


def _refuse_strange(tx: Connection, version: str | None, known: set[str], shown: str) -> None:
    if version is not None:
        if version not in known:
            raise StoreIncompatible(f"the database {shown} has schema {version}, this version knows up to {HEAD}")
        return
    present = set(inspect(tx).get_table_names()) - {VERSION_TABLE}
    strange = present if tx.dialect.name == "sqlite" else present & METADATA.tables.keys()
    if strange:
        raise StoreIncompatible(
            f"the database {shown} holds tables that greenctl did not make: {', '.join(sorted(strange)[:3])}",
            hint="Point GREENCTL_DATABASE_URL at a database of its own; nothing was changed.",
        )
    if tx.dialect.name == "postgresql":
        encoding = tx.exec_driver_sql("SHOW server_encoding").scalar_one()
        if encoding != "UTF8":
            raise StoreIncompatible(
                f"the database {shown} has the encoding {encoding}, which cannot keep every text",
                hint="Create it with ENCODING 'UTF8' (TEMPLATE template0).",
            )


def _check_keys(tx: Connection) -> None:
    """Make good for the enforcement that was off while SQLite's tables were rebuilt."""
    if tx.dialect.name == "sqlite":
        broken = tx.exec_driver_sql("PRAGMA foreign_key_check").first()
        if broken is not None:
            raise StoreIncompatible(f"a migration would leave rows of {broken[0]} without their {broken[2]}")
