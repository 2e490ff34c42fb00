"""Misfortunes and whims, drawn from one seeded source, so that a week that went wrong can be lived through again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from random import Random
from typing import Any

from orchestrator.domain.service import ModelSpec
from orchestrator.errors import GreenctlError, ProviderError, StoreUnavailable
from tests.scenario.world import RULES, World, chat

TIMEOUT = ProviderError("the answer did not come in time")
REGIONS = ("se", "fr", "de")


class Storm:
    """Does something bad, or something that a person might do, now and then; ``log`` says what and when."""

    def __init__(self, world: World, random: Random, *, per_look: float) -> None:
        self._world = world
        self._random = random
        self._per_look = per_look
        self._until: list[tuple[float, Callable[[], Any]]] = []
        self._silent_until = 0.0
        self.log: list[str] = []
        self._faults: list[tuple[int, Callable[[], str]]] = [
            (4, self._murder),
            (4, self._preempt),
            (4, self._fall_silent),
            (3, self._answer_with_errors),
            (3, self._provider_away),
            (3, self._lose_a_reply),
            (2, self._create_late),
            (2, self._lie_at_the_end),
            (4, self._sell_out),
            (3, self._gateway_away),
            (3, self._gateway_restarts),
            (6, self._kill_controller),
            (3, self._no_signals),
            (2, self._one_dark_zone),
            (2, self._no_prices),
            (2, self._store_fails),
            (2, self._pause),
        ]
        self._whims: list[tuple[int, Callable[[], Awaitable[str]]]] = [
            (4, self._scale),
            (3, self._new_workload),
            (3, self._same_again),
            (4, self._migrate),
            (1, self._down),
        ]

    async def blow(self) -> None:
        """Let what is over be over, and perhaps let something new begin."""
        now = self._world.clock.elapsed
        for ends, end in [u for u in self._until if u[0] <= now]:
            self._until.remove((ends, end))
            end()
        if now < self._silent_until:
            for method in ("describe", "inventory", "launch", "terminate"):
                for _ in range(9):
                    self._world.cloud.fail_next(method, TIMEOUT)
        else:
            self._world.cloud._failures.clear()
        if self._random.random() < self._per_look:
            self._say(self._draw(self._faults)())
        if self._random.random() < self._per_look / 4:
            try:
                self._say(await self._draw(self._whims)())
            except GreenctlError as error:
                self._say(f"refused: {error.code}")

    def calm(self) -> None:
        """End everything bad."""
        for _, end in self._until:
            end()
        self._until.clear()
        world = self._world
        world.sick.clear()
        world.failing.clear()
        world.room.clear()
        world.carbon.heal()
        world.offers.heal()
        world.gateway_is_back()
        world.cloud._failures.clear()
        world.cloud._lost_replies.clear()
        world.cloud._delays_seconds.clear()
        world.cloud._lies = 0
        world.store._state.faults.clear()
        world.store.set_paused(None, paused=False, now=world.now)
        if world.store.service("chat") is not None:
            world.store.set_paused("chat", paused=False, now=world.now)
        if world.controller is None:
            world.start()

    def _draw(self, weighted: list[tuple[int, Any]]) -> Any:
        return self._random.choices([what for _, what in weighted], [weight for weight, _ in weighted])[0]

    def _say(self, what: str) -> None:
        self.log.append(f"{self._world.clock.elapsed:.0f} s {self._world.now:%d %H:%M} {what}")

    def _for_a_while(self, longest: float, end: Callable[[], Any]) -> float:
        seconds = self._random.uniform(1.0, longest)
        self._until.append((self._world.clock.elapsed + seconds, end))
        return seconds

    def _victim(self) -> str | None:
        existing = sorted(self._world.cloud.existing())
        return self._random.choice(existing) if existing else None

    # ── misfortunes ──────────────────────────────────────────────────────────────────────────────────

    def _murder(self) -> str:
        name = self._victim()
        if name is not None:
            self._world.murder(name)
        return f"killed {name}"

    def _preempt(self) -> str:
        name = self._victim()
        if name is not None:
            self._world.preempt(name)
        return f"preempted {name}"

    def _fall_silent(self) -> str:
        name = self._victim()
        if name is None:
            return "nobody to fall silent"
        self._world.sick.add(name)
        seconds = self._for_a_while(40.0, lambda: self._world.sick.discard(name))
        return f"silent for {seconds:.0f} s: {name}"

    def _answer_with_errors(self) -> str:
        name = self._victim()
        if name is None:
            return "nobody to answer with errors"
        self._world.failing.add(name)
        seconds = self._for_a_while(200.0, lambda: self._world.failing.discard(name))
        return f"errors for {seconds:.0f} s: {name}"

    def _provider_away(self) -> str:
        self._silent_until = self._world.clock.elapsed + self._random.uniform(1.0, 90.0)
        return f"provider away until {self._silent_until:.0f} s"

    def _lose_a_reply(self) -> str:
        self._world.cloud.lose_next_reply(TIMEOUT)
        return "the next launch's reply will be lost"

    def _create_late(self) -> str:
        seconds = self._random.uniform(1.0, 200.0)
        self._world.cloud.delay_next_launch(seconds)
        return f"the next launch will be {seconds:.0f} s late"

    def _lie_at_the_end(self) -> str:
        self._world.cloud.lie_at_next_terminate()
        return "the next end will not happen"

    def _sell_out(self) -> str:
        region = f"sky/{self._random.choice(REGIONS)}"
        self._world.room[region] = 0
        seconds = self._for_a_while(300.0, lambda: self._world.room.pop(region, None))
        return f"{region} sold out for {seconds:.0f} s"

    def _gateway_away(self) -> str:
        self._world.gateway_is_away()
        return f"gateway away for {self._for_a_while(90.0, self._world.gateway_is_back):.0f} s"

    def _gateway_restarts(self) -> str:
        keeps = self._random.random() < 0.7
        self._world.gateway_restarts(keeps_table=keeps)
        return f"gateway restarted {'with' if keeps else 'without'} its table"

    def _kill_controller(self) -> str:
        self._world.kill()

        def again() -> None:
            if self._world.controller is None:
                self._world.start()

        return f"controller dead for {self._for_a_while(30.0, again):.0f} s"

    def _no_signals(self) -> str:
        self._world.carbon.fail("the source does not answer")
        return f"no signals for {self._for_a_while(200.0, self._world.carbon.heal):.0f} s"

    def _one_dark_zone(self) -> str:
        zone = self._random.choice(REGIONS).upper()
        self._world.carbon.gap(zone, "the meter is broken")
        return f"{zone} dark for {self._for_a_while(200.0, self._world.carbon.heal):.0f} s"

    def _no_prices(self) -> str:
        self._world.offers.fail("the list cannot be read")
        return f"no prices for {self._for_a_while(60.0, self._world.offers.heal):.0f} s"

    def _store_fails(self) -> str:
        method = self._random.choice(
            ["move_replica", "set_intent", "record_event", "record_energy", "start_replica", "replicas", "services"]
        )
        after = self._random.random() < 0.5
        self._world.store.fail_next(method, StoreUnavailable("the database is gone"), after=after)
        return f"the store will fail {'after' if after else 'at'} {method}"

    def _pause(self) -> str:
        record = self._world.store.service("chat")
        if record is None:
            return "nothing to pause"
        self._world.store.set_paused("chat", paused=not record.paused, now=self._world.now)
        return f"paused: {not record.paused}"

    # ── whims ────────────────────────────────────────────────────────────────────────────────────────

    async def _scale(self) -> str:
        number = self._random.choice([1, 2, 3])
        await self._world.deploy(self._spec(number))
        return f"asked for {number}"

    async def _new_workload(self) -> str:
        model = f"org/model-{self._random.randrange(3)}"
        await self._world.deploy(replace(self._spec(2), model=ModelSpec(model, served_name="chat")))
        return f"asked for {model}"

    async def _same_again(self) -> str:
        record = self._world.store.service("chat")
        spec = self._spec(2) if record is None else record.spec
        await self._world.deploy(spec)
        return "asked for the same again"

    async def _migrate(self) -> str:
        region = self._random.choice(REGIONS)
        await self._world.migrate(region)
        return f"asked for a move to {region}"

    async def _down(self) -> str:
        self._world.down()
        return "asked for the end"

    def _spec(self, replicas: int) -> Any:
        record = self._world.store.service("chat")
        made = chat(replicas, migration=RULES)
        return made if record is None else replace(made, model=record.spec.model)
