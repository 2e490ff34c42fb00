"""What each replica runs: by the revision that it was launched by, which a deploy since may have changed."""

from __future__ import annotations

from collections.abc import MutableMapping

from orchestrator.control.ports import Records
from orchestrator.domain.offer import variant_in
from orchestrator.domain.records import ServiceRecord
from orchestrator.domain.replica import Replica
from orchestrator.domain.service import ModelSpec, ServiceSpec
from orchestrator.domain.variants import model_of


def model_run_by(
    replica: Replica, service: ServiceRecord, records: Records, known: MutableMapping[str, ModelSpec]
) -> ModelSpec:
    """Return what a replica runs; what the newest spec says, where its own revision is not known any more.

    ``known``: of replicas of other revisions, by name, which is kept here so that each revision is read once for each
    of them: no replica ever changes its own.
    """
    if replica.revision == service.revision:
        return _model_in(service.spec, replica)
    if replica.name not in known:
        own = records.spec_of(service.name, replica.revision)
        known[replica.name] = _model_in(service.spec if own is None else own, replica)
    return known[replica.name]


def _model_in(spec: ServiceSpec, replica: Replica) -> ModelSpec:
    """Return the model of its variant; the main one, whose name is the same, for a variant that the spec lost."""
    return model_of(spec, variant_in(replica.offer_id)) or spec.model
