"""SkyPilot through a worker process: started at the first call, started again when it has died."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.provisioners.skypilot.sky_api import CallState, Cluster, LaunchCall, SkyFailure

WORKER = "orchestrator.provisioners.skypilot.worker"
LONGEST_LINE = 16 * 2**20
WORKER_DIED = "WorkerDied"


@dataclass(frozen=True, slots=True)
class Connection:
    """Which SkyPilot. ``home``: the ``HOME`` of its side. ``endpoint``: a remote API server; else a local one."""

    log: Path
    home: Path | None = None
    endpoint: str | None = None
    port: int | None = None

    def environment(self) -> dict[str, str]:
        """Return what the worker is started with."""
        dropped = {"PYTHONDONTWRITEBYTECODE", "PYTHONSTARTUP"}
        found = {k: v for k, v in os.environ.items() if k not in dropped and not k.startswith("GREENCTL_")}
        found["SKYPILOT_DISABLE_USAGE_COLLECTION"] = "1"
        # SkyPilot runs its own tools (ssh, rsync, the clouds' programs) by name.
        found["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{found.get('PATH', os.defpath)}"
        if self.home is not None:
            found["HOME"] = str(self.home)
        if self.endpoint is not None:
            found["SKYPILOT_API_SERVER_ENDPOINT"] = self.endpoint
        elif self.port is not None:
            found["SKYPILOT_API_SERVER_LOCAL_PORT"] = str(self.port)
        return found


class RemoteSky:
    """A :class:`~orchestrator.provisioners.skypilot.sky_api.SkyApi` in another process."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._numbers = itertools.count(1)
        self._starting: asyncio.Lock | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def ensure_server(self) -> None:
        """Reach the API server; a local one is started if none runs."""
        await self._call("ensure_server")

    async def enabled_clouds(self, wanted: frozenset[str]) -> frozenset[str]:
        """Return the clouds that have credentials; the wanted ones are checked if that is not known yet."""
        return frozenset(await self._call("enabled_clouds", wanted=sorted(wanted)))

    async def launch(self, cluster: str, task: Mapping[str, Any], mounts: Mapping[str, str]) -> str:
        """Post a launch and return its request id."""
        return str(await self._call("launch", cluster=cluster, task=dict(task), mounts=dict(mounts)))

    async def launches(self, cluster: str) -> Sequence[LaunchCall]:
        """Return every launch of this cluster name that the server remembers."""
        found = await self._call("launches", cluster=cluster)
        return [LaunchCall(c["id"], CallState(c["state"]), c["posted_at"]) for c in found]

    async def outcome(self, request_id: str) -> None:
        """Return when the request has ended well; raises what it failed with."""
        await self._call("outcome", request_id=request_id)

    async def follow(self, request_id: str, log: Path) -> None:
        """Append the request's progress to a file until it ends."""
        await self._call("follow", request_id=request_id, log=str(log))

    async def cancel(self, request_id: str) -> None:
        """Cancel a request."""
        await self._call("cancel", request_id=request_id)

    async def clusters(self, prefix: str) -> Sequence[Cluster]:
        """Return the clusters whose names begin so, after asking their providers."""
        return [Cluster(**c) for c in await self._call("clusters", prefix=prefix)]

    async def job_state(self, cluster: str) -> str:
        """Return the state of the cluster's newest job."""
        return str(await self._call("job_state", cluster=cluster))

    async def job_log(self, cluster: str) -> str:
        """Return the end of that job's log."""
        return str(await self._call("job_log", cluster=cluster))

    async def down(self, cluster: str) -> None:
        """End the cluster and wait for it."""
        await self._call("down", cluster=cluster)

    async def close(self) -> None:
        """End the worker; what it asked for goes on at the API server."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        if self._reader is not None:
            await asyncio.gather(self._reader, return_exceptions=True)

    async def _call(self, method: str, **arguments: object) -> Any:  # noqa: ANN401 - what it is, the caller knows
        process = await self._worker()
        number = next(self._numbers)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        line = json.dumps({"id": number, "call": method, "with": arguments}) + "\n"
        try:
            if process.stdin is None:
                raise SkyFailure(WORKER_DIED, "the SkyPilot process takes no requests")
            process.stdin.write(line.encode())
            await process.stdin.drain()
            return await answer
        except (BrokenPipeError, ConnectionResetError) as error:
            raise SkyFailure(WORKER_DIED, "the SkyPilot process ended; it is started again") from error
        finally:
            self._waiting.pop(number, None)

    async def _worker(self) -> asyncio.subprocess.Process:
        """Return the living worker of this event loop; one command may use several loops, one after the other."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._starting, self._process, self._waiting = loop, asyncio.Lock(), None, {}
        if self._starting is None:
            self._starting = asyncio.Lock()
        async with self._starting:
            if self._process is None or self._process.returncode is not None:
                self._process = await self._start()
                self._reader = loop.create_task(self._read(self._process))
            return self._process

    async def _start(self) -> asyncio.subprocess.Process:
        self._connection.log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        log = os.open(self._connection.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                WORKER,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=self._connection.environment(),
                start_new_session=True,
                limit=LONGEST_LINE,
            )
        finally:
            os.close(log)

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        """Hand every answer to whoever waits for it; when the worker ends, tell them all."""
        try:
            while process.stdout is not None and (line := await process.stdout.readline()):
                answer = json.loads(line)
                waiting = self._waiting.pop(answer["id"], None)
                if waiting is None or waiting.done():
                    continue
                failure = answer.get("failure")
                if failure is None:
                    waiting.set_result(answer.get("value"))
                else:
                    waiting.set_exception(
                        SkyFailure(failure["kind"], failure["message"], tuple(failure.get("history", ())))
                    )
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            raise
        finally:
            await process.wait()
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(SkyFailure(WORKER_DIED, f"see {self._connection.log}"))
