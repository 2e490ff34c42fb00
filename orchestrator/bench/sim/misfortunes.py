"""What each misfortune and each wish does to the world: see the list in ``faults``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from orchestrator.bench.sim.checks import ALLOWED
from orchestrator.bench.sim.cloud import BROKEN_MODEL, LaunchFault
from orchestrator.bench.sim.database import copied, set_back
from orchestrator.bench.sim.faults import HOUR, Fault
from orchestrator.bench.sim.shop import list_price
from orchestrator.bench.sim.timeline import BEGIN
from orchestrator.control.ports import LaunchRequest
from orchestrator.domain.service import ModelSpec
from orchestrator.errors import GreenctlError
from orchestrator.store.memory import MemoryStore

if TYPE_CHECKING:
    from orchestrator.bench.sim.world import SimWorld


HALF = 0.5
HANGING = {
    "hangs_all": ("launch", "describe", "inventory", "terminate", "renew", "preflight"),
    "hangs_listing": ("inventory",),
    "hangs_ending": ("terminate",),
    "hangs_renewing": ("renew",),
}
"""What nobody hears anything of, by the kind of the fault."""

ROOM_FOR = (0, 0, 2, 3, 5)
"""Each so many-th write finds room on a disk that is full, as small ones and those into old pages do; 0: none does."""

ILLS = {"freeze": "is_frozen", "wrong_answers": "serves_errors", "slow": "is_slow", "deaf": "is_deaf"}


class Misfortunes:
    """Lets faults begin and end."""

    def __init__(self, world: SimWorld) -> None:
        self._world = world

    def beginning(self, fault: Fault) -> Callable[[], Awaitable[None]]:
        """Return what lets it begin."""

        async def begin() -> None:
            self._world.tell(str(fault))
            with suppress(GreenctlError):
                await getattr(self, f"_do_{family_of(fault.kind)}")(fault)
            self._world.wake()

        return begin

    def _later(self, fault: Fault, end: Callable[[], Any]) -> None:
        async def ended() -> None:
            end()
            self._world.tell(f"#{fault.number} is over")
            self._world.wake()

        self._world.timeline.at(self._world.clock.elapsed + fault.seconds, ended)

    def _victim(self, fault: Fault) -> str | None:
        there = [n for n in self._world.cloud.existing() if not self._world.cloud.machines[n].is_stray]
        return there[int(fault.pick * len(there))] if there else None

    def _region(self, fault: Fault) -> str:
        return sorted(ALLOWED)[int(fault.pick * len(ALLOWED))]

    async def _do_create(self, fault: Fault) -> None:
        seconds = max(10.0, fault.seconds)
        self._world.cloud.launch_faults.append(LaunchFault(fault.kind.removeprefix("create_"), seconds))

    async def _do_end(self, fault: Fault) -> None:
        self._world.cloud.end_faults.append(LaunchFault(fault.kind.removeprefix("end_"), fault.seconds))

    async def _do_full(self, fault: Fault) -> None:
        weather, region = self._world.cloud.weather, self._region(fault)
        place, what = {
            "full": (weather.full, f"{region}!"),
            "spot_full": (weather.full, region),
            "full_later": (weather.full_later, region),
            "quota": (weather.quota, region),
        }[fault.kind]
        place.add(what)
        self._later(fault, lambda: place.discard(what))

    async def _do_region(self, fault: Fault) -> None:
        cloud, region = self._world.cloud, self._region(fault)
        cloud.lose(region)
        self._later(fault, lambda: cloud.weather.lost.discard(region))

    async def _do_away(self, fault: Fault) -> None:
        self._world.cloud.weather.away = fault.kind.removeprefix("away_")
        self._later(fault, lambda: setattr(self._world.cloud.weather, "away", ""))

    async def _do_hangs(self, fault: Fault) -> None:
        self._world.cloud.hang(HANGING[fault.kind], fault.seconds)
        self._later(fault, lambda: None)

    async def _do_listing(self, fault: Fault) -> None:
        self._world.cloud.weather.listing = fault.kind.removeprefix("listing_")
        if fault.kind == "listing_stale":
            self._world.cloud.remember()
        self._later(fault, lambda: setattr(self._world.cloud.weather, "listing", ""))

    async def _do_stale_looks(self, fault: Fault) -> None:
        self._world.cloud.weather.stale_describe = True
        self._later(fault, lambda: setattr(self._world.cloud.weather, "stale_describe", False))

    async def _do_old_looks(self, fault: Fault) -> None:
        self._world.cloud.remember()
        self._world.cloud.weather.old_looks = True
        self._later(fault, lambda: setattr(self._world.cloud.weather, "old_looks", False))

    async def _do_out_of_sight(self, fault: Fault) -> None:
        name, hidden = self._victim(fault), self._world.cloud.weather.out_of_sight
        if name is not None:
            hidden.add(name)
            self._later(fault, lambda: hidden.discard(name))

    async def _do_machine(self, fault: Fault) -> None:
        name = self._victim(fault)
        if name is None:
            return
        machine = self._world.cloud.machines[name]
        match fault.kind:
            case "preempt" | "deleted_by_hand":
                self._world.cloud.vanish(name)
            case "preempt_with_notice":
                end = self._world.clock.elapsed + fault.seconds
                machine.ends_at = end if machine.ends_at is None else min(machine.ends_at, end)
            case "preempt_region":
                region = machine.request.offer.region.id
                for other in self._world.cloud.existing():
                    if (
                        self._world.cloud.machines[other].request.offer.region.id == region
                        and other not in self._world.foreign
                    ):
                        self._world.cloud.vanish(other)
            case "machine_fails":
                self._world.cloud.fail(name, "killed by SIGKILL")
            case "mark_removed":
                machine.has_mark = False
            case _:
                what = ILLS[fault.kind]
                setattr(machine, what, True)
                self._later(fault, lambda: setattr(machine, what, False))

    async def _do_all_deaf(self, fault: Fault) -> None:
        self._world.probe.hears_nobody = True
        self._later(fault, lambda: setattr(self._world.probe, "hears_nobody", False))

    async def _do_stray(self, fault: Fault) -> None:
        mine = fault.kind == "stray_ours"
        name = f"gc-{self._world.uid[:8]}-chat-stray{fault.number:05d}"
        request = LaunchRequest(
            name=name,
            deployment_uid=self._world.uid if mine else "somebody-else",
            service="chat",
            intent_id=f"stray{fault.number:05d}",
            offer=next(o for o in self._world.on_sale.values() if o.region.id == self._region(fault)),
            model=ModelSpec("org/model", served_name="chat"),
        )
        self._world.cloud.plant(request, mine=mine)
        if not mine:
            self._world.foreign.append(name)

    async def _do_db(self, fault: Fault) -> None:
        trouble = self._world.database
        match fault.kind:
            case "db_down":
                trouble.is_down = True
                self._later(fault, lambda: setattr(trouble, "is_down", False))
            case "db_read_only":
                trouble.read_only = True
                self._later(fault, lambda: setattr(trouble, "read_only", False))
            case "db_hangs" | "db_silent" | "db_locked":
                trouble.hang(fault.kind, fault.seconds)
                self._later(fault, lambda: None)
            case "db_write_fails":
                trouble.fails_before += 1 + int(3 * fault.pick)
            case "db_late":
                trouble.late += [fault.seconds] * (1 + int(3 * fault.pick))
            case "db_answer_lost":
                trouble.fails_after += 1 + int(3 * fault.pick)
            case "db_failover":
                await self._lose_transactions(fault.at + 1 + 20 * fault.pick)
            case _:
                # Not after the bad hours are over: from then on nothing may go wrong.
                over = max(fault.at + 1, self._world.setting.hours * HOUR - 1)
                await self._lose_transactions(min(fault.at + 60 + 5 * HOUR * fault.pick, over))

    async def _do_disk(self, fault: Fault) -> None:
        trouble = self._world.database
        trouble.is_full, trouble.room_for = True, ROOM_FOR[int(fault.pick * len(ROOM_FOR))]
        self._later(fault, lambda: setattr(trouble, "is_full", False))

    async def _lose_transactions(self, until: float) -> None:
        """Keep a copy, and set the database back to it then; whoever has it open is cut off."""
        store = self._world.truth
        if not isinstance(store, MemoryStore):
            return  # a database on a disk is not set back: such faults are not drawn for it
        backup = copied(store._state)

        async def back() -> None:
            if any(p.is_looking for p in self._world.processes if p.is_alive):
                self._world.timeline.at(self._world.clock.elapsed + 1.0, back)
                return
            self._world.lost_rows = True
            for process in self._world.processes:
                self._world.kill(process)
            set_back(store, backup)
            self._world.tell("the database is set back")
            self._world.supervise_in(5.0)

        self._world.timeline.at(until, back)

    async def _do_kill(self, fault: Fault) -> None:
        if fault.kind == "kill":
            self._world.kill()
        else:
            self._world.kill_in = 1 + int(40 * fault.pick)
        self._world.supervise_in(fault.seconds + 1.0)
        if fault.kind == "kill_at_call":
            for later in (60.0, 600.0, 3600.0):
                self._world.supervise_in(fault.seconds + later)

    async def _do_host(self, fault: Fault) -> None:
        hosts, process = self._world.hosts, self._world.claimant
        if process is None or not process.is_alive:
            return
        match fault.kind:
            case "host_cut_off":
                hosts.cut_off.add(process.host)
                self._later(fault, lambda: hosts.cut_off.discard(process.host))
            case "host_sees_clock_set":
                hosts.set_clock(timedelta(hours=1 if fault.pick < HALF else -1))
                self._later(fault, lambda: hosts.set_clock(timedelta(0)))
            case "host_dies":
                self._world.kill()
                hosts.died(process, fault.seconds)
            case "host_stops":
                hosts.stop(process, fault.seconds)
            case "host_taken_over":
                hosts.take_over(process)
            case _:
                hosts.coming = fault

    async def _do_sleep(self, fault: Fault) -> None:
        self._world.sleep_in = (int(30 * fault.pick), fault)

    async def _do_gateway(self, fault: Fault) -> None:
        match fault.kind:
            case "gateway_away":
                self._world.gateway.is_away = True
                self._later(fault, lambda: setattr(self._world.gateway, "is_away", False))
            case "gateway_answer_lost":
                self._world.gateway.loses_replies = True
            case "gateway_restarts":
                self._world.gateway.restart(keeps=self._world.gateway.table)
            case _:
                self._world.gateway.restart(keeps=self._world.gateway.older if fault.pick > HALF else None)

    async def _do_signals(self, fault: Fault) -> None:
        zone = self._region(fault).partition("/")[2].upper()
        if fault.kind == "signals_away":
            self._world.grid.is_away = True
            self._later(fault, lambda: setattr(self._world.grid, "is_away", False))
        else:
            place = self._world.grid.dark if fault.kind == "zone_dark" else self._world.grid.stale
            place.add(zone)
            self._later(fault, lambda: place.discard(zone))

    async def _do_lies(self, fault: Fault) -> None:
        zone, grid = self._region(fault).partition("/")[2].upper(), self._world.grid
        grid.lie(zone, fault.kind, self._world.clock.now())
        mine = grid.lying[zone]
        self._later(fault, lambda: grid.lying.pop(zone) if grid.lying.get(zone) is mine else None)

    async def _do_clock(self, fault: Fault) -> None:
        hour = HOUR if fault.pick < HALF else -HOUR
        clock = self._world.clock
        clock.stepped_seconds += hour

        def back() -> None:
            clock.stepped_seconds -= hour if clock.stepped_seconds else 0.0

        self._later(fault, back)

    async def _do_prices(self, fault: Fault) -> None:
        if fault.kind == "prices_away":
            self._world.offers.fail("the list cannot be read")
            self._world.prices_away = True
            self._later(fault, self._heal_prices)
            return
        ids = sorted(self._world.on_sale)
        chosen = ids[int(fault.pick * len(ids))]
        self._world.offers.reprice(chosen, list_price(self._world.dice.between(0.3, 3.0, "price", fault.number), BEGIN))

    def _heal_prices(self) -> None:
        self._world.offers.heal()
        self._world.prices_away = False

    async def _do_command(self, fault: Fault) -> None:
        await self._world.commands.interrupted(fault, self._region(fault))

    async def _do_people(self, fault: Fault) -> None:
        service = "chat"
        record = self._world.truth.service(service)
        if record is None:
            return
        match fault.kind:
            case "scale":
                await self._world.people.deploy(
                    replace(record.spec, scaling=self._world.people.spec(number=1 + int(3 * fault.pick)).scaling)
                )
            case "new_workload" if self._world.setting.varied:
                await self._world.people.deploy(self._world.people.with_other_variants(record.spec, fault.pick))
            case "new_workload":
                await self._world.people.deploy(
                    replace(record.spec, model=self._world.people.model(f"org/m{int(3 * fault.pick)}"))
                )
            case "broken_workload":
                await self._world.people.deploy(replace(record.spec, model=self._world.people.model(BROKEN_MODEL)))
            case "same_again":
                await self._world.people.deploy(record.spec)
            case "move":
                await self._world.people.move(self._region(fault))
            case "pause":
                self._world.truth.set_paused(service, paused=True, now=self._world.clock.now())
                self._later(
                    fault, lambda: self._world.truth.set_paused(service, paused=False, now=self._world.clock.now())
                )
            case _:
                self._world.people.down()
                again = self._world.people.spec()

                async def up() -> None:
                    with suppress(GreenctlError):
                        await self._world.people.deploy(again)

                self._world.timeline.at(self._world.clock.elapsed + 60.0 + fault.seconds, up)


def family_of(kind: str) -> str:
    """Name the part of the world that a fault happens to."""
    families = {
        "create": "create",
        "end": "end",
        "full": "full",
        "spot": "full",
        "quota": "full",
        "region": "region",
        "away": "away",
        "throttled": "away",
        "listing": "listing",
        "preempt": "machine",
        "machine": "machine",
        "freeze": "machine",
        "wrong": "machine",
        "slow": "machine",
        "deaf": "machine",
        "deleted": "machine",
        "mark": "machine",
        "stray": "stray",
        "db": "db",
        "disk": "disk",
        "kill": "kill",
        "sleep": "sleep",
        "host": "host",
        "gateway": "gateway",
        "signals": "signals",
        "zone": "signals",
        "clock": "clock",
        "command": "command",
        "hangs": "hangs",
        "lies": "lies",
        "prices": "prices",
        "price": "prices",
    }
    if kind in {"stale_looks", "old_looks", "out_of_sight", "all_deaf"}:
        return kind
    return families.get(kind.partition("_")[0], "people")
