"""Pauses: who held what is voluntary, of which service or of all, when and why.

Types are spelled out and not imported from the store: a migration never changes when the code does.
"""

from __future__ import annotations

import sqlite3

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
FLAG = sa.Boolean().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
STRICT = sqlite3.sqlite_version_info >= (3, 37)  # older libraries do not know the word

UNKNOWN_ACTOR = "unknown user"

SERVICES = sa.table(
    "services", sa.column("name", sa.Text()), sa.column("paused", FLAG), sa.column("updated_at", MOMENT)
)
PAUSES = sa.table(
    "pauses",
    sa.column("seq", WHOLE),
    sa.column("service", sa.Text()),
    sa.column("paused", FLAG),
    sa.column("actor", sa.Text()),
    sa.column("reason", sa.Text()),
    sa.column("at", MOMENT),
)


def upgrade() -> None:
    op.create_table(
        "pauses",
        sa.Column("seq", WHOLE, autoincrement=True, nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("paused", FLAG, nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_pauses")),
        sqlite_strict=STRICT,
    )
    op.create_index("ix_pauses_service", "pauses", ["service"], unique=False)
    # What was paused before stays so; who did it was not written down then.
    bind = op.get_bind()
    held = sa.select(SERVICES.c.name, SERVICES.c.updated_at).where(SERVICES.c.paused)
    rows = [(str(name), at) for name, at in bind.execute(held.order_by(SERVICES.c.name))]
    for name, at in rows:
        bind.execute(PAUSES.insert().values(service=name, paused=True, actor=UNKNOWN_ACTOR, reason="", at=at))


def downgrade() -> None:
    # The schema before knows no word about everything: each service keeps what is in force for it.
    bind = op.get_bind()
    every = sa.select(PAUSES.c.paused).where(PAUSES.c.service == "").order_by(PAUSES.c.seq.desc()).limit(1)
    if bind.execute(every).scalar_one_or_none():
        bind.execute(SERVICES.update().values(paused=True))
    op.drop_index("ix_pauses_service", table_name="pauses")
    op.drop_table("pauses")
