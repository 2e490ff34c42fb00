"""Read what providers show, each distinct provisioner once, and put it beside the journal. Changes nothing.

The controller's sweep and ``greenctl doctor`` look through the same eyes, so that they never tell different stories.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass

from orchestrator.control.at_once import all_of
from orchestrator.control.ports import Instance, Phase, Provisioner, Records
from orchestrator.control.runtime import Runtime
from orchestrator.domain.counters import GatewayStatus
from orchestrator.domain.orphans import Sighting, Suspect, Work
from orchestrator.domain.replica import Replica
from orchestrator.domain.time import Instant
from orchestrator.errors import GreenctlError
from orchestrator.planner.orphans import Look, long_absent, missing_too_much, suspects_of


@dataclass(frozen=True, slots=True)
class Source:
    """One provisioner with the names of all the providers that it serves, under one name of its own."""

    name: str
    providers: tuple[str, ...]
    provisioner: Provisioner

    def has(self, replica: Replica) -> bool:
        """Whether a replica stands at one of its providers."""
        return replica.region.partition("/")[0] in self.providers


@dataclass(frozen=True, slots=True)
class Listing:
    """What a source answered, ``seen`` beside the journal; with ``trouble`` it failed or is not believed, and why.

    Of a listing that is not believed, only what it does show counts, never what it does not.
    """

    source: Source
    read_at: Instant
    seen: Look | None = None
    trouble: str = ""

    @property
    def look(self) -> Look | None:
        """What may be relied upon in both directions, if anything."""
        return None if self.trouble else self.seen

    @property
    def suspects(self) -> tuple[Suspect, ...]:
        """Who is suspected after it; nobody is known to be where it failed."""
        return () if self.seen is None else suspects_of(self.seen, self.read_at, is_believed=not self.trouble)

    @property
    def shown(self) -> int:
        """How many instances a complete listing shows."""
        return 0 if self.look is None else len(self.look.shown)


def sources(runtime: Runtime) -> tuple[Source, ...]:
    """Return every distinct provisioner once, by name."""
    names: dict[int, list[str]] = {}
    for name, provisioner in sorted(runtime.provisioners.items()):
        names.setdefault(id(provisioner), []).append(name)
    return tuple(Source("+".join(each), tuple(each), runtime.provisioners[each[0]]) for each in names.values())


async def read_source(
    source: Source,
    runtime: Runtime,
    records: Records,
    suspects: Iterable[Suspect],
    status: GatewayStatus | None,
    committed: MutableMapping[str, int] | None = None,
) -> Listing:
    """List one source and compare: first the provider, then the journal, so that no launch falls in between.

    A listing that fails, whatever with, or that suddenly lacks most of what is there, proves nothing. ``committed``: in
    which turn intents were, as far as the caller has them; what is read is added. Raises ``StoreUnavailable``.
    """
    uid, now = records.deployment_uid(), runtime.clock.now()
    before = tuple(s for s in suspects if s.source == source.name)
    try:
        answer = await source.provisioner.inventory(uid)
    except Exception as error:  # noqa: BLE001  # a full disk here is no reason to stop looking at what serves
        return Listing(source, now, trouble=_words(error))
    there = {i.name: i for i in answer if i.phase is not Phase.GONE}
    recorded = {r.name: r for r in records.replicas() if source.has(r) or r.name in there}
    for name in there.keys() - recorded.keys():
        known = records.replica(name)
        if known is not None:
            recorded[name] = known
    here = [r for r in recorded.values() if source.has(r)]
    trouble = missing_too_much(there, here)
    if trouble:
        trouble = missing_too_much(there, here, await _unmarked(before, there, source))
    strangers = [i for i in there.values() if i.name not in recorded]
    seen = {i.name: _sighting(i, source) for i in there.values()}
    at_work = await all_of([_at_work(i, source, runtime, status) for i in strangers])
    seen |= {s.name: s for s in at_work}
    look = Look(
        source=source.name,
        shown=tuple(seen[name] for name in sorted(seen)),
        recorded=recorded,
        intents=_committed(there.values(), records, {} if committed is None else committed),
        before=before,
    )
    return Listing(source, now, look, trouble)


async def _unmarked(before: Iterable[Suspect], shown: Collection[str], source: Source) -> frozenset[str]:
    """Return who has lost its mark: missing for so long that people were told, and found by its own name even now.

    Listings go on lacking it for good. See decision 0094.
    """
    missing = [name for name in long_absent(before) if name not in shown]
    found = await all_of([_is_found(name, source) for name in missing])
    return frozenset(name for name, is_found in zip(missing, found, strict=True) if is_found)


async def _is_found(name: str, source: Source) -> bool:
    try:
        instance = await source.provisioner.describe(name)
    except Exception:  # noqa: BLE001  # as for the listing: whatever it fails with, it proves nothing
        return False
    return instance.phase is not Phase.GONE


def _committed(
    instances: Iterable[Instance], records: Records, committed: MutableMapping[str, int]
) -> Mapping[str, int]:
    """Return in which turn the intents of these were committed, of those that the journal knows."""
    shown = {i.intent_id for i in instances if i.intent_id}
    for unread in shown - committed.keys():
        intent = records.intent(unread)
        if intent is not None:
            committed[unread] = intent.epoch
    return {one: committed[one] for one in shown & committed.keys()}


def fleet(listings: Sequence[Listing]) -> int:
    """Count the instances that all complete listings show."""
    return sum(listing.shown for listing in listings)


def _words(error: Exception) -> str:
    """Say what went wrong; of what nobody expected only what the system says, for its text could hold anything."""
    if isinstance(error, GreenctlError):
        return error.message
    known = error.strerror if isinstance(error, OSError) else None
    return f"{type(error).__name__}: {known}" if known else type(error).__name__


def _sighting(instance: Instance, source: Source, work: Work = Work.UNKNOWN, counters: str = "") -> Sighting:
    return Sighting(
        name=instance.name,
        source=source.name,
        service=instance.service,
        region=instance.region,
        intent_id=instance.intent_id,
        epoch=instance.epoch,
        deployment_uid=instance.deployment_uid,
        work=work,
        counters=counters,
        stopping=instance.phase is Phase.STOPPING,
    )


async def _at_work(instance: Instance, source: Source, runtime: Runtime, status: GatewayStatus | None) -> Sighting:
    """Ask the engine what it does and the gateway what it sends there; who does not answer is not known to be idle."""
    if instance.phase is Phase.FAILED:
        return _sighting(instance, source, Work.ENDED)
    load = None
    if instance.endpoint is not None:
        load = await runtime.probe.load(instance.endpoint, instance.api_key_file)
    routed = None if status is None else status.upstream(instance.name)
    sent = "-" if routed is None else str(routed.ok + routed.failed + routed.truncated + routed.resumed)
    if routed is not None and routed.in_flight:
        return _sighting(instance, source, Work.BUSY)
    if load is None:
        return _sighting(instance, source, Work.UNKNOWN)
    work = Work.BUSY if load.running + load.waiting else Work.IDLE
    return _sighting(instance, source, work, f"{load.prompt_tokens}/{load.output_tokens}/{sent}")
