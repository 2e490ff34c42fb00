"""The journal's chain: links that name rows by what they contain, and the head that repeats the last one.

The rows that are there already are linked by the first write after this, see :mod:`orchestrator.store.chain`. Types are
spelled out and not imported from the store: a migration never changes when the code does.
"""

from __future__ import annotations

import sqlite3

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
STRICT = sqlite3.sqlite_version_info >= (3, 37)  # older libraries do not know the word
TOLD = sa.text("kind IN ('noticed', 'accepted')")


def upgrade() -> None:
    op.create_table(
        "journal_links",
        sa.Column("seq", WHOLE, autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("entity", sa.Text(), nullable=False),
        sa.Column("row_key", sa.Text(), nullable=False),
        sa.Column("content_sha256", sa.Text(), nullable=False),
        sa.Column("before_sha256", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_journal_links")),
        sqlite_strict=STRICT,
    )
    op.create_index("ix_journal_links_entity_row_key", "journal_links", ["entity", "row_key", "seq"], unique=False)
    op.create_index(
        "ix_journal_links_told",
        "journal_links",
        ["kind", "seq"],
        unique=False,
        sqlite_where=TOLD,
        postgresql_where=TOLD,
    )
    op.create_table(
        "journal_head",
        sa.Column("singleton", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seq", WHOLE, nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.CheckConstraint("singleton = 1", name=op.f("ck_journal_head_singleton")),
        sa.PrimaryKeyConstraint("singleton", name=op.f("pk_journal_head")),
        sqlite_strict=STRICT,
    )


def downgrade() -> None:
    op.drop_table("journal_head")
    op.drop_index("ix_journal_links_told", table_name="journal_links")
    op.drop_index("ix_journal_links_entity_row_key", table_name="journal_links")
    op.drop_table("journal_links")
