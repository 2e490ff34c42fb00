"""Whose turn it is, and when they were heard of last.

Types are spelled out and not imported from the store: a migration never changes when the code does. A controller of the
version before writes no such row, and is followed at once, as it was.
"""

from __future__ import annotations

import sqlite3

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
FLAG = sa.Boolean().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
STRICT = sqlite3.sqlite_version_info >= (3, 37)  # older libraries do not know the word


def upgrade() -> None:
    op.create_table(
        "turn",
        sa.Column("singleton", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("epoch", WHOLE, nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("state_dir", sa.Text(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("pid", WHOLE, nullable=False),
        sa.Column("since", MOMENT, nullable=False),
        sa.Column("heard_at", MOMENT, nullable=False),
        sa.Column("is_over", FLAG, nullable=False),
        sa.Column("quiet_until", MOMENT, nullable=False),
        sa.CheckConstraint("singleton = 1", name=op.f("ck_turn_singleton")),
        sa.PrimaryKeyConstraint("singleton", name=op.f("pk_turn")),
        sqlite_strict=STRICT,
    )


def downgrade() -> None:
    op.drop_table("turn")
