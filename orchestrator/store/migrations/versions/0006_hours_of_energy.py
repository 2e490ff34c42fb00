"""Old samples of energy become rows of an hour; indexes of what is open, and of what ended lately.

Types are spelled out and not imported from the store: a migration never changes when the code does.
"""

from __future__ import annotations

import sqlite3

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NUMBER: sa.types.TypeEngine[float] = sa.Double().with_variant(sa.REAL(), "sqlite")
MOMENT = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
STRICT = sqlite3.sqlite_version_info >= (3, 37)  # older libraries do not know the word
UNFINISHED = sa.text("NOT (state IN ('failed', 'lost', 'terminated') AND cleaned_up)")
OPEN_INTENT = sa.text("state IN ('planned', 'issued')")

SHARED = (
    *("replica", "window_start", "window_end", "service", "region", "zone", "engine_seconds", "mean_batch", "watts"),
    *("it_joules", "pue", "facility_joules", "grams_per_kwh", "intensity_kind", "intensity_source", "grams", "usd"),
    *("prompt_tokens", "output_tokens", "method", "method_detail", "uncertainty_fraction"),
)


def upgrade() -> None:
    op.create_table(
        "energy_hours",
        sa.Column("replica", sa.Text(), nullable=False),
        sa.Column("window_start", MOMENT, nullable=False),
        sa.Column("window_end", MOMENT, nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("zone", sa.Text(), nullable=True),
        sa.Column("engine_seconds", NUMBER, nullable=False),
        sa.Column("mean_batch", NUMBER, nullable=False),
        sa.Column("watts", NUMBER, nullable=False),
        sa.Column("it_joules", NUMBER, nullable=False),
        sa.Column("pue", NUMBER, nullable=False),
        sa.Column("facility_joules", NUMBER, nullable=False),
        sa.Column("grams_per_kwh", NUMBER, nullable=True),
        sa.Column("intensity_kind", sa.Text(), nullable=True),
        sa.Column("intensity_source", sa.Text(), nullable=False),
        sa.Column("grams", NUMBER, nullable=True),
        sa.Column("usd", NUMBER, nullable=True),
        sa.Column("prompt_tokens", WHOLE, nullable=False),
        sa.Column("output_tokens", WHOLE, nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("method_detail", sa.Text(), nullable=False),
        sa.Column("uncertainty_fraction", NUMBER, nullable=False),
        sa.Column("samples", WHOLE, nullable=False),
        sa.Column("samples_sha256", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["replica"], ["replicas.name"], name=op.f("fk_energy_hours_replica")),
        sa.ForeignKeyConstraint(["service"], ["services.name"], name=op.f("fk_energy_hours_service")),
        sa.PrimaryKeyConstraint("replica", "window_start", name=op.f("pk_energy_hours")),
        sqlite_strict=STRICT,
    )
    op.create_index("ix_energy_hours_service_window_start", "energy_hours", ["service", "window_start"], unique=False)
    op.create_index("ix_replicas_ended_at", "replicas", ["ended_at"], unique=False)
    op.create_index(
        "ix_replicas_unfinished",
        "replicas",
        ["service", "seq"],
        unique=False,
        sqlite_where=UNFINISHED,
        postgresql_where=UNFINISHED,
    )
    op.create_index(
        "ix_intents_open",
        "intents",
        ["service", "seq"],
        unique=False,
        sqlite_where=OPEN_INTENT,
        postgresql_where=OPEN_INTENT,
    )


def downgrade() -> None:
    # The hours are all that is left of old months: they go on as samples that are an hour long. What stood for the
    # samples in the chain is unknown to the schema before, so a check there finds them, and a person accepts them.
    hours = sa.table("energy_hours", *(sa.column(name) for name in SHARED))
    samples = sa.table("energy_samples", *(sa.column(name) for name in SHARED))
    op.execute(samples.insert().from_select(SHARED, sa.select(*(hours.c[name] for name in SHARED))))
    op.drop_index("ix_intents_open", table_name="intents", sqlite_where=OPEN_INTENT, postgresql_where=OPEN_INTENT)
    op.drop_index("ix_replicas_unfinished", table_name="replicas", sqlite_where=UNFINISHED, postgresql_where=UNFINISHED)
    op.drop_index("ix_replicas_ended_at", table_name="replicas")
    op.drop_index("ix_energy_hours_service_window_start", table_name="energy_hours")
    op.drop_table("energy_hours")
