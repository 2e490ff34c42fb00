"""Old decisions that changed nothing become rows of a day.

Types are spelled out and not imported from the store: a migration never changes when the code does.
"""

from __future__ import annotations

import sqlite3

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
STRICT = sqlite3.sqlite_version_info >= (3, 37)  # older libraries do not know the word


def upgrade() -> None:
    op.create_table(
        "resting_days",
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("day", MOMENT, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("first_at", MOMENT, nullable=False),
        sa.Column("last_at", MOMENT, nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("ids_json", sa.Text(), nullable=False),
        sa.Column("decisions_sha256", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["service"], ["services.name"], name=op.f("fk_resting_days_service")),
        sa.PrimaryKeyConstraint("service", "day", "kind", "policy", name=op.f("pk_resting_days")),
        sqlite_strict=STRICT,
    )
    op.create_index("ix_decisions_service_kind_at", "decisions", ["service", "kind", "at"], unique=False)


def downgrade() -> None:
    # What was merged is not whole any more and cannot come back. A check of the version before finds that those
    # decisions are gone, as they are, and a person accepts it.
    op.drop_index("ix_decisions_service_kind_at", table_name="decisions")
    op.drop_table("resting_days")
