"""The tables. Column names are the field names of the values that they hold; ``seq`` is the order of arrival.

Lists are ordered by ``seq`` and not by time stamps: a stamp can be stepped back, and is on a replayed grid. Changing
anything here needs a migration beside it; a test compares the two.
"""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)
from sqlalchemy.schema import SchemaItem

from orchestrator.domain.carbon import Accounting, Factors, Kind
from orchestrator.domain.decision import DecisionKind
from orchestrator.domain.energy import EnergyMethod
from orchestrator.domain.orphans import SuspectKind, Work
from orchestrator.domain.price import Market
from orchestrator.domain.records import (
    EventKind,
    IntentKind,
    IntentState,
    OperationKind,
    OperationState,
    ServiceState,
)
from orchestrator.domain.replica import ReplicaState
from orchestrator.store.columns import NUMBER, STRICT_TABLES, WHOLE, Flag, Moment, Word

METADATA = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


def _table(name: str, *parts: SchemaItem) -> Table:
    return Table(name, METADATA, *parts, sqlite_strict=STRICT_TABLES)


def _seq() -> Column[int]:
    return Column("seq", WHOLE, primary_key=True, autoincrement=True)


def _text(name: str, *, null: bool = False, unique: bool | None = None) -> Column[str]:
    return Column(name, Text, nullable=null, unique=unique)


def _moment(name: str, *, null: bool = False) -> Column[object]:
    return Column(name, Moment, nullable=null)


def _number(name: str, *, null: bool = False) -> Column[float]:
    return Column(name, NUMBER, nullable=null)


def _service() -> Column[str]:
    return Column("service", Text, ForeignKey("services.name"), nullable=False)


# ── whose turn it is ─────────────────────────────────────────────────────────────────────────────────

deployment = _table(
    "deployment",
    Column("singleton", Integer, primary_key=True, autoincrement=False),
    _text("uid"),
    Column("epoch", WHOLE, nullable=False),
    CheckConstraint("singleton = 1", name="singleton"),
)
"""One row. Its ``epoch`` is the newest controller's; each journal write locks the row and compares."""

controllers = _table(
    "controllers",
    Column("epoch", WHOLE, primary_key=True, autoincrement=False),
    _text("holder"),
    _moment("claimed_at"),
)

turn = _table(
    "turn",
    Column("singleton", Integer, primary_key=True, autoincrement=False),
    Column("epoch", WHOLE, nullable=False),
    _text("host"),
    _text("state_dir"),
    _text("number"),
    Column("pid", WHOLE, nullable=False),
    _moment("since"),
    _moment("heard_at"),
    Column("is_over", Flag, nullable=False),
    _moment("quiet_until"),
    CheckConstraint("singleton = 1", name="singleton"),
)
"""At most one row: who has the newest turn, and when they were heard of last, see :mod:`orchestrator.store.turns`."""

counters = _table("counters", Column("name", Text, primary_key=True), Column("value", WHOLE, nullable=False))

journal_links = _table(
    "journal_links",
    Column("seq", WHOLE, primary_key=True, autoincrement=False),
    _text("kind"),
    _text("entity"),
    _text("row_key"),
    _text("content_sha256"),
    _text("before_sha256"),
    _text("sha256"),
    _text("detail"),
)
"""One link per change of a row, see :mod:`orchestrator.store.chain`. Numbered by us, without a gap."""

Index("ix_journal_links_entity_row_key", journal_links.c.entity, journal_links.c.row_key, journal_links.c.seq)
Index(
    "ix_journal_links_told",
    journal_links.c.kind,
    journal_links.c.seq,
    sqlite_where=text("kind IN ('noticed', 'accepted')"),
    postgresql_where=text("kind IN ('noticed', 'accepted')"),
)

journal_head = _table(
    "journal_head",
    Column("singleton", Integer, primary_key=True, autoincrement=False),
    Column("seq", WHOLE, nullable=False),
    _text("sha256"),
    CheckConstraint("singleton = 1", name="singleton"),
)
"""One row, the last link once more: links cannot be cut off at the end without a trace."""

# ── what is wanted ───────────────────────────────────────────────────────────────────────────────────

services = _table(
    "services",
    Column("name", Text, primary_key=True),
    Column("revision", WHOLE, nullable=False),
    Column("state", Word(ServiceState), nullable=False),
    Column("paused", Flag, nullable=False),
    _moment("created_at"),
    _moment("updated_at"),
)

pauses = _table(
    "pauses",
    _seq(),
    _text("service"),
    Column("paused", Flag, nullable=False),
    _text("actor"),
    _text("reason"),
    _moment("at"),
    Index("ix_pauses_service", "service"),
)
"""Every word about pausing, in order; the newest about a service is in force. ``service`` is empty for all of them,
hence no foreign key. ``services.paused`` repeats the word about that service alone."""

operations = _table(
    "operations",
    _seq(),
    _text("id", unique=True),
    _service(),
    Column("kind", Word(OperationKind), nullable=False),
    Column("state", Word(OperationState), nullable=False),
    _text("actor"),
    _text("payload_json"),
    _moment("created_at"),
    _moment("updated_at"),
    _text("error_code"),
    _text("error"),
)

OPEN_OPERATION = text("state IN ('queued', 'running')")
"""Requests that wait or run. Here, too, a query has to say it in these very words for the index to be used."""

ONE_OPEN_OPERATION = Index(
    "uq_operations_open_service",
    operations.c.service,
    unique=True,
    sqlite_where=OPEN_OPERATION,
    postgresql_where=OPEN_OPERATION,
)
"""Two command lines can race; the database lets one of them through."""

Index("ix_operations_service", operations.c.service)

spec_revisions = _table(
    "spec_revisions",
    _service(),
    Column("revision", WHOLE, nullable=False),
    _text("digest"),
    _text("spec"),
    Column("operation_id", Text, ForeignKey("operations.id"), nullable=False, unique=True),
    _moment("created_at"),
    PrimaryKeyConstraint("service", "revision"),
)
"""``spec`` is JSON, see :mod:`orchestrator.store.codec`."""

# ── what was bought ──────────────────────────────────────────────────────────────────────────────────

replicas = _table(
    "replicas",
    _seq(),
    _text("name", unique=True),
    _service(),
    Column("slot", WHOLE, nullable=False),
    _text("offer_id"),
    _text("region"),
    _text("zone", null=True),
    _text("shape"),
    Column("market", Word(Market), nullable=False),
    _number("usd_per_hour", null=True),
    Column("state", Word(ReplicaState), nullable=False),
    _text("intent_id"),
    Column("revision", WHOLE, nullable=False),
    _text("workload_digest"),
    _moment("created_at"),
    _moment("state_since"),
    _moment("ready_at", null=True),
    _moment("ended_at", null=True),
    _text("endpoint", null=True),
    _text("replaces", null=True),
    Column("weight_percent", Integer, nullable=False),
    _moment("weight_since", null=True),
    _text("reason"),
    Column("cleaned_up", Flag, nullable=False),
    CheckConstraint("weight_percent BETWEEN 0 AND 100", name="weight"),
    Index("ix_replicas_service_slot", "service", "slot"),
    Index("ix_replicas_ended_at", "ended_at"),
)

UNFINISHED = text("NOT (state IN ('failed', 'lost', 'terminated') AND cleaned_up)")
"""Replicas that need attention still. A query has to say it in these very words for its index to be used."""

Index(
    "ix_replicas_unfinished",
    replicas.c.service,
    replicas.c.seq,
    sqlite_where=UNFINISHED,
    postgresql_where=UNFINISHED,
)

leases = _table(
    "leases",
    Column("replica", Text, ForeignKey("replicas.name"), primary_key=True),
    _moment("ends_at"),
)
"""When each replica's lease ends: a row of its own, as it changes every few minutes."""

intents = _table(
    "intents",
    _seq(),
    _text("id", unique=True),
    _service(),
    Column("replica", Text, ForeignKey("replicas.name"), nullable=False),
    Column("kind", Word(IntentKind), nullable=False),
    Column("state", Word(IntentState), nullable=False),
    Column("epoch", WHOLE, nullable=False),
    _text("offer_id"),
    _number("usd_per_hour", null=True),
    _moment("created_at"),
    _moment("updated_at"),
    _text("detail"),
    Index("ix_intents_replica", "replica"),
    Index("ix_intents_service", "service"),
)

OPEN_INTENT = text("state IN ('planned', 'issued')")

Index(
    "ix_intents_open",
    intents.c.service,
    intents.c.seq,
    sqlite_where=OPEN_INTENT,
    postgresql_where=OPEN_INTENT,
)

placements = _table(
    "placements",
    _seq(),
    _service(),
    Column("replica", Text, ForeignKey("replicas.name"), nullable=False, unique=True),
    _text("offer_id"),
    _text("region"),
    _text("zone", null=True),
    _number("usd_per_hour", null=True),
    _text("decision_id"),
    _moment("started_at"),
    _moment("ended_at", null=True),
    _text("end_reason"),
    Index("ix_placements_service", "service"),
)

# ── why ──────────────────────────────────────────────────────────────────────────────────────────────

decisions = _table(
    "decisions",
    _seq(),
    _text("id", unique=True),
    _service(),
    _moment("at"),
    Column("kind", Word(DecisionKind), nullable=False),
    _text("actor"),
    _text("policy"),
    _text("summary"),
    _text("plan_digest"),
    _text("document"),
    Index("ix_decisions_service", "service"),
    Index("ix_decisions_service_kind_at", "service", "kind", "at"),
)
"""``document`` is the whole decision as JSON; the other columns repeat what is asked for by SQL."""

verdicts = _table(
    "verdicts",
    Column("decision_id", Text, ForeignKey("decisions.id"), nullable=False),
    Column("ordinal", Integer, nullable=False),
    _text("subject"),
    _text("rule"),
    Column("passed", Flag, nullable=False),
    _text("text"),
    _number("value", null=True),
    _number("limit", null=True),
    _text("unit"),
    PrimaryKeyConstraint("decision_id", "ordinal"),
)
"""The rules that decided: those that failed, and all of what was chosen or compared. The document has the rest."""

signals_used = _table(
    "signals_used",
    Column("decision_id", Text, ForeignKey("decisions.id"), nullable=False),
    Column("ordinal", Integer, nullable=False),
    _text("zone"),
    _text("source"),
    _text("gap_reason", null=True),
    _number("grams_per_kwh", null=True),
    Column("kind", Word(Kind), nullable=True),
    Column("accounting", Word(Accounting), nullable=True),
    Column("factors", Word(Factors), nullable=True),
    _moment("interval_start", null=True),
    _moment("interval_end", null=True),
    _moment("issued_at", null=True),
    _moment("fetched_at", null=True),
    PrimaryKeyConstraint("decision_id", "ordinal"),
    CheckConstraint("(gap_reason IS NULL) <> (grams_per_kwh IS NULL)", name="value_or_gap"),
)
"""A reading is a number with its origin, or a gap with its reason: never both, never neither."""

resting_days = _table(
    "resting_days",
    _service(),
    _moment("day"),
    Column("kind", Word(DecisionKind), nullable=False),
    _text("policy"),
    _moment("first_at"),
    _moment("last_at"),
    _text("summary"),
    _text("ids_json"),
    _text("decisions_sha256"),
    PrimaryKeyConstraint("service", "day", "kind", "policy"),
)
"""What became of old decisions that changed nothing, see :mod:`orchestrator.store.resting`. ``decisions_sha256``: over
what the chain had of each, so that a backup from before can be compared with it."""

# ── what it used, what happened ──────────────────────────────────────────────────────────────────────


def _energy(name: str, *more: SchemaItem) -> Table:
    return _table(
        name,
        Column("replica", Text, ForeignKey("replicas.name"), nullable=False),
        _moment("window_start"),
        _moment("window_end"),
        _service(),
        _text("region"),
        _text("zone", null=True),
        _number("engine_seconds"),
        _number("mean_batch"),
        _number("watts"),
        _number("it_joules"),
        _number("pue"),
        _number("facility_joules"),
        _number("grams_per_kwh", null=True),
        Column("intensity_kind", Word(Kind), nullable=True),
        _text("intensity_source"),
        _number("grams", null=True),
        _number("usd", null=True),
        Column("prompt_tokens", WHOLE, nullable=False),
        Column("output_tokens", WHOLE, nullable=False),
        Column("method", Word(EnergyMethod), nullable=False),
        _text("method_detail"),
        _number("uncertainty_fraction"),
        *more,
        PrimaryKeyConstraint("replica", "window_start"),
        Index(f"ix_{name}_service_window_start", "service", "window_start"),
    )


energy_samples = _energy("energy_samples")

energy_hours = _energy("energy_hours", Column("samples", WHOLE, nullable=False), _text("samples_sha256"))
"""What became of old samples, see :mod:`orchestrator.store.compaction`. ``samples``: how many a row stands for;
``samples_sha256``: over what the chain had of each, so that a backup from before can be compared with it."""

events = Table(
    "events",
    METADATA,
    Column("id", WHOLE, primary_key=True, autoincrement=True),
    _text("service"),
    Column("kind", Word(EventKind), nullable=False),
    _moment("at"),
    _moment("wall_at"),
    _text("text"),
    _text("replica"),
    _text("detail_json"),
    Index("ix_events_service_id", "service", "id"),
    sqlite_strict=STRICT_TABLES,
    sqlite_autoincrement=True,  # an id is never given twice, even after the newest rows were removed
)
"""``service`` and ``replica`` are empty where an event concerns none; hence no foreign keys."""

# ── what nobody seems to own ─────────────────────────────────────────────────────────────────────────

suspects = _table(
    "suspects",
    Column("name", Text, nullable=False),
    Column("kind", Word(SuspectKind), nullable=False),
    _text("source"),
    _text("service"),
    _text("region"),
    _text("intent_id"),
    Column("epoch", WHOLE, nullable=True),
    _text("deployment_uid"),
    _moment("first_seen_at"),
    _moment("last_seen_at"),
    Column("sightings", WHOLE, nullable=False),
    Column("work", Word(Work), nullable=False),
    _text("counters"),
    _moment("idle_since", null=True),
    Column("told", Flag, nullable=False),
    PrimaryKeyConstraint("name", "kind"),
    Index("ix_suspects_source", "source"),
)
"""What marks say may be somebody else's words about services and intents that are not here; hence no foreign keys."""

reap_requests = _table(
    "reap_requests",
    _seq(),
    _text("id", unique=True),
    _text("actor"),
    Column("state", Word(OperationState), nullable=False),
    _text("payload_json"),
    _moment("created_at"),
    _moment("updated_at"),
    _text("outcome_json"),
)

reaps = _table(
    "reaps",
    _seq(),
    _text("id", unique=True),
    Column("request_id", Text, ForeignKey("reap_requests.id"), nullable=False),
    _text("name"),
    _text("source"),
    Column("state", Word(IntentState), nullable=False),
    Column("epoch", WHOLE, nullable=False),
    _moment("created_at"),
    _moment("updated_at"),
    _text("detail"),
    Index("ix_reaps_created_at", "created_at"),
    Index("ix_reaps_request_id", "request_id"),
)
"""Intents of their own: those of replicas hang on a replica's record, and an orphan has none."""
