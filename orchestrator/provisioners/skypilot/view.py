"""SkyPilot's newest word about all of our replicas, shared by everybody who asks within a few seconds.

Asking makes SkyPilot ask the providers, which takes seconds; a look of the controller asks about every replica. So one
question is under way at a time, in the background, and an answer serves until it is too old to be called one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from orchestrator.errors import ProviderUnavailable
from orchestrator.provisioners.skypilot.files import Folders
from orchestrator.provisioners.skypilot.meaning import meaning_of
from orchestrator.provisioners.skypilot.sky_api import CallState, Cluster, LaunchCall, SkyApi, SkyFailure

OLDEST_SECONDS = 60.0
"""An answer older than that is no answer: nothing is concluded from it."""

JOB_EVERY_SECONDS = 30.0
"""How often the job of a running replica is asked about; its health is looked at every second by others."""

ENDED_JOBS = frozenset({"FAILED", "FAILED_SETUP", "FAILED_DRIVER", "SUCCEEDED", "CANCELLED"})


@dataclass(frozen=True, slots=True)
class Picture:
    """What there was at ``asked_at`` (monotonic seconds, before anything was asked)."""

    asked_at: float
    clusters: Mapping[str, Cluster]
    launches: Mapping[str, LaunchCall]
    jobs: Mapping[str, str] = field(default_factory=dict)


class View:
    """Keeps the newest picture."""

    def __init__(
        self, api: SkyApi, folders: Folders, *, refresh_seconds: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._api = api
        self._folders = folders
        self._refresh_seconds = refresh_seconds
        self._now = now
        self._picture: Picture | None = None
        self._asking: asyncio.Task[Picture] | None = None
        self._job_asked: dict[str, float] = {}

    async def newest(self, prefix: str) -> Picture:
        """Return a picture that may be some seconds old; a newer one is asked for meanwhile.

        Raises ``ProviderUnavailable`` when there is none that is young enough.
        """
        age = float("inf") if self._picture is None else self._now() - self._picture.asked_at
        if age > self._refresh_seconds:
            task = self._ask(prefix)
            if age > OLDEST_SECONDS:
                return await task
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        if self._picture is None:
            raise ProviderUnavailable("SkyPilot has not answered yet")
        return self._picture

    async def fresh(self, prefix: str) -> Picture:
        """Return a picture that was asked for now. Raises ``ProviderUnavailable``."""
        started = self._now()
        picture = await self._ask(prefix)
        return picture if picture.asked_at >= started else await self._ask(prefix)

    def _ask(self, prefix: str) -> asyncio.Task[Picture]:
        running = self._asking
        if running is None or running.done() or running.get_loop() is not asyncio.get_running_loop():
            running = self._asking = asyncio.create_task(self._look(prefix))
        return running

    async def _look(self, prefix: str) -> Picture:
        asked_at = self._now()
        open_ones = [r for r in self._folders.records() if not r.ended and r.name.startswith(prefix)]
        try:
            calls = await asyncio.gather(*(self._api.launches(r.name) for r in open_ones))
            launches = {r.name: known[-1] for r, known in zip(open_ones, calls, strict=True) if known}
            clusters = {c.name: c for c in await self._api.clusters(prefix)}
            jobs = dict(self._picture.jobs) if self._picture is not None else {}
            for name, cluster in clusters.items():
                call = launches.get(name)
                settled = call is None or call.state is CallState.DONE
                if cluster.state == "UP" and settled and self._job_is_due(name, jobs.get(name, "")):
                    jobs[name] = await self._api.job_state(name)
        except SkyFailure as failure:
            raise meaning_of(failure) from failure
        self._picture = Picture(asked_at, clusters, launches, {n: j for n, j in jobs.items() if n in clusters})
        return self._picture

    def _job_is_due(self, name: str, state: str) -> bool:
        last = self._job_asked.get(name)
        if state == "RUNNING" and last is not None and self._now() - last < JOB_EVERY_SECONDS:
            return False
        self._job_asked[name] = self._now()
        return state not in ENDED_JOBS
