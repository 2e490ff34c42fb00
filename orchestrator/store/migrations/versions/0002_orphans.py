"""Orphans: who is suspected, what people asked to be done about it, and the intents to end what nobody owns.

Types are spelled out and not imported from the store: a migration never changes when the code does.
"""

from __future__ import annotations

import sqlite3

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
FLAG = sa.Boolean().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
STRICT = sqlite3.sqlite_version_info >= (3, 37)  # older libraries do not know the word


def upgrade() -> None:
    op.create_table(
        "suspects",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("intent_id", sa.Text(), nullable=False),
        sa.Column("epoch", WHOLE, nullable=True),
        sa.Column("deployment_uid", sa.Text(), nullable=False),
        sa.Column("first_seen_at", MOMENT, nullable=False),
        sa.Column("last_seen_at", MOMENT, nullable=False),
        sa.Column("sightings", WHOLE, nullable=False),
        sa.Column("work", sa.Text(), nullable=False),
        sa.Column("counters", sa.Text(), nullable=False),
        sa.Column("idle_since", MOMENT, nullable=True),
        sa.Column("told", FLAG, nullable=False),
        sa.PrimaryKeyConstraint("name", "kind", name=op.f("pk_suspects")),
        sqlite_strict=STRICT,
    )
    op.create_index("ix_suspects_source", "suspects", ["source"], unique=False)
    op.create_table(
        "reap_requests",
        sa.Column("seq", WHOLE, autoincrement=True, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("payload_json", sa.Text(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.Column("outcome_json", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_reap_requests")),
        sa.UniqueConstraint("id", name=op.f("uq_reap_requests_id")),
        sqlite_strict=STRICT,
    )
    op.create_table(
        "reaps",
        sa.Column("seq", WHOLE, autoincrement=True, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("epoch", WHOLE, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["request_id"], ["reap_requests.id"], name=op.f("fk_reaps_request_id")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_reaps")),
        sa.UniqueConstraint("id", name=op.f("uq_reaps_id")),
        sqlite_strict=STRICT,
    )
    op.create_index("ix_reaps_created_at", "reaps", ["created_at"], unique=False)
    op.create_index("ix_reaps_request_id", "reaps", ["request_id"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_reaps_request_id", table_name="reaps")
    op.drop_index("ix_reaps_created_at", table_name="reaps")
    op.drop_table("reaps")
    op.drop_table("reap_requests")
    op.drop_index("ix_suspects_source", table_name="suspects")
    op.drop_table("suspects")
