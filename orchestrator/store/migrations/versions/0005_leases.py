"""Leases: until when each replica goes on by itself.

Types are spelled out and not imported from the store: a migration never changes when the code does. Replicas that were
launched before have no lease and get no row.
"""

from __future__ import annotations

import sqlite3

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
STRICT = sqlite3.sqlite_version_info >= (3, 37)  # older libraries do not know the word


def upgrade() -> None:
    op.create_table(
        "leases",
        sa.Column("replica", sa.Text(), nullable=False),
        sa.Column("ends_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["replica"], ["replicas.name"], name=op.f("fk_leases_replica")),
        sa.PrimaryKeyConstraint("replica", name=op.f("pk_leases")),
        sqlite_strict=STRICT,
    )


def downgrade() -> None:
    op.drop_table("leases")
