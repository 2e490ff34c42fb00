"""SkyPilot's newest word about all of our replicas, shared by everybody who asks within a few seconds.

Asking makes SkyPilot ask the providers, which takes seconds; a look of the controller asks about every replica. So one
question is under way at a time, in the background, and an answer serves until it is too old to be called one.

What a job does is asked on its machine, which may hang: each is asked by itself, and a picture holds the answers that
have come by then (decision 0068).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from orchestrator.errors import ProviderUnavailable
from orchestrator.provisioners.skypilot.files import Folders
from orchestrator.provisioners.skypilot.meaning import meaning_of
from orchestrator.provisioners.skypilot.sky_api import UP, CallState, Cluster, LaunchCall, SkyApi, SkyFailure

OLDEST_SECONDS = 60.0
"""An answer older than that is no answer: nothing is concluded from it."""

ANSWER_SECONDS = 20.0
"""How long an answer that is on its way is waited for by whoever has other services to look after. Counted from when it
was asked for, so that a SkyPilot that is silent holds up one look for so long, and the next ones not at all."""

FRESH_ANSWER_SECONDS = 60.0
"""The same, where only an answer to a question of now is any good: all providers are asked for it."""

CALLS_EVERY_SECONDS = 2.0
"""How often the API server is asked how far the launches are: it answers from its memory."""

JOB_EVERY_SECONDS = 30.0
"""How often SkyPilot is asked about a job, which it does by logging in to the machine. Whether the engine answers is
looked at every second by others; this is for engines that die before they ever did."""

SETTLED_JOB_EVERY_SECONDS = 300.0
"""The same, once it has been seen to run."""

MOST_JOBS_ASKED = 16
"""Machines that are asked about their jobs at a time: one that hangs keeps its place until it is given up, and it is
SkyPilot's API server that waits for it. Who was asked longest ago is next."""

ENDED_JOBS = frozenset({"FAILED", "FAILED_SETUP", "FAILED_DRIVER", "SUCCEEDED", "CANCELLED"})


def seconds_awake_or_not() -> float:
    """Return seconds since an arbitrary origin, those among them in which the machine slept.

    A picture from before that is none of now, and young by ``time.monotonic`` (Linux: clock_gettime(2)).
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


@dataclass(frozen=True, slots=True)
class Picture:
    """What there was, in monotonic seconds. ``asked_at``: before the providers were asked; ``taken_at``: complete.

    ``jobs``: the last known state of each one's job, ``JOB_EVERY_SECONDS`` old and more.
    """

    asked_at: float
    clusters: Mapping[str, Cluster]
    launches: Mapping[str, LaunchCall]
    jobs: Mapping[str, str] = field(default_factory=dict)
    taken_at: float = 0.0


class View:
    """Keeps the newest picture."""

    def __init__(
        self,
        api: SkyApi,
        folders: Folders,
        *,
        refresh_seconds: float,
        job_every_seconds: float = SETTLED_JOB_EVERY_SECONDS,
        answer_seconds: float = ANSWER_SECONDS,
        now: Callable[[], float] = seconds_awake_or_not,
    ) -> None:
        self._api = api
        self._answer_seconds = answer_seconds
        self._folders = folders
        self._refresh_seconds = refresh_seconds
        self._job_every_seconds = job_every_seconds
        self._now = now
        self._picture: Picture | None = None
        self._asking: asyncio.Task[Picture] | None = None
        self._asking_since = 0.0
        self._jobs: dict[str, str] = {}
        self._job_asked: dict[str, float] = {}
        self._asking_jobs: dict[str, asyncio.Task[None]] = {}

    async def newest(self, prefix: str) -> Picture:
        """Return a picture that may be some seconds old; a newer one is asked for meanwhile.

        Raises ``ProviderUnavailable`` when there is none that is young enough.
        """
        age = float("inf") if self._picture is None else self._now() - self._picture.taken_at
        if age > min(CALLS_EVERY_SECONDS, self._refresh_seconds):
            task = self._ask(prefix)
            if age > OLDEST_SECONDS:
                return await self._answer(task, self._answer_seconds)
        if self._picture is None:
            raise ProviderUnavailable("SkyPilot has not answered yet")
        return self._picture

    async def fresh(self, prefix: str, seconds: float | None = FRESH_ANSWER_SECONDS) -> Picture:
        """Return a picture that was asked for now. Raises ``ProviderUnavailable``.

        ``seconds``: how long the answer is waited for, ``None`` where nobody is kept from anything by that.
        """
        started = self._now()
        picture = await self._answer(self._ask(prefix, force=True), seconds)
        if picture.asked_at >= started:
            return picture
        return await self._answer(self._ask(prefix, force=True), seconds)

    def require_answers(self) -> None:
        """Raise ``ProviderUnavailable`` while a question is open for so long that asking more would only wait."""
        task = self._asking
        if task is None or task.done() or task.get_loop() is not asyncio.get_running_loop():
            return
        if self._silent_seconds() > self._answer_seconds:
            raise ProviderUnavailable(f"SkyPilot has not answered for {self._silent_seconds():.0f} s")

    def close(self) -> None:
        """Wait for no machine any more."""
        for task in list(self._asking_jobs.values()):
            task.cancel()

    def _ask(self, prefix: str, *, force: bool = False) -> asyncio.Task[Picture]:
        running = self._asking
        if running is None or running.done() or running.get_loop() is not asyncio.get_running_loop():
            running = self._asking = asyncio.create_task(self._look(prefix, force=force))
            running.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._asking_since = asyncio.get_running_loop().time()
        return running

    async def _answer(self, task: asyncio.Task[Picture], seconds: float | None) -> Picture:
        """Wait for it until so many seconds after it was asked for; the question itself goes on."""
        await asyncio.wait({task}, timeout=None if seconds is None else max(0.0, seconds - self._silent_seconds()))
        if not task.done():
            raise ProviderUnavailable(f"SkyPilot has not answered for {self._silent_seconds():.0f} s")
        return task.result()

    def _silent_seconds(self) -> float:
        return asyncio.get_running_loop().time() - self._asking_since

    async def _look(self, prefix: str, *, force: bool) -> Picture:
        asked_at = self._now()
        open_ones = [r for r in self._folders.records() if not r.ended and r.name.startswith(prefix)]
        last = self._picture
        try:
            calls = await asyncio.gather(*(self._api.launches(r.name) for r in open_ones))
            launches = {r.name: known[-1] for r, known in zip(open_ones, calls, strict=True) if known}
            if force or last is None or self._clusters_are_due(launches, last):
                clusters = {c.name: c for c in await self._api.clusters(prefix)}
            else:
                asked_at, clusters = last.asked_at, dict(last.clusters)
        except SkyFailure as failure:
            raise meaning_of(failure) from failure
        self._ask_jobs(clusters, launches)
        self._jobs = {name: job for name, job in self._jobs.items() if name in clusters}
        self._picture = Picture(asked_at, clusters, launches, dict(self._jobs), self._now())
        return self._picture

    def _clusters_are_due(self, launches: Mapping[str, LaunchCall], last: Picture) -> bool:
        """Whether the last answer is old, or a launch has come to its end since.

        Its own age counts, and not when it was asked for last: a question that failed was not answered.
        """
        if self._now() - last.asked_at > self._refresh_seconds:
            return True
        before = {name: call.state for name, call in last.launches.items()}
        ended = {name: call.state for name, call in launches.items() if call.state is not CallState.OPEN}
        return any(before.get(name) is not state for name, state in ended.items())

    def _ask_jobs(self, clusters: Mapping[str, Cluster], launches: Mapping[str, LaunchCall]) -> None:
        """Begin to ask about those jobs that are due; the answers are in a later picture."""
        due = []
        for name, cluster in clusters.items():
            call = launches.get(name)
            settled = call is None or call.state is CallState.DONE
            if cluster.state == UP and settled and name not in self._asking_jobs and self._job_is_due(name):
                due.append(name)
        due.sort(key=self._job_asked.__getitem__)
        for name in due[: max(0, MOST_JOBS_ASKED - len(self._asking_jobs))]:
            self._job_asked[name] = self._now()
            task = self._asking_jobs[name] = asyncio.create_task(self._learn_job(name), name=name)
            task.add_done_callback(lambda done: self._asking_jobs.pop(done.get_name(), None))

    async def _learn_job(self, name: str) -> None:
        with contextlib.suppress(SkyFailure, OSError):  # of one machine; what was known of its job stands
            self._jobs[name] = await self._api.job_state(name)

    def _job_is_due(self, name: str) -> bool:
        state = self._jobs.get(name, "")
        if state in ENDED_JOBS:
            return False
        last = self._job_asked.setdefault(name, self._now())
        every = SETTLED_JOB_EVERY_SECONDS if state == "RUNNING" else JOB_EVERY_SECONDS
        return self._now() - last >= min(every, self._job_every_seconds)
