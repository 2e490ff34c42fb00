"""SkyPilot through worker processes: started at the first call, started again when they have died.

There are two. What hangs in a worker is ended with the worker, and with it whatever else it is doing. A machine whose
login hangs is an everyday thing, so the questions that make SkyPilot log in have a worker of their own: they cost each
other an answer, and neither a launch whose files are being carried nor the end of a machine (decision 0068).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from orchestrator.own_process import NOWHERE, own_module, with_our_package
from orchestrator.provisioners.skypilot.sky_api import CallState, Cluster, LaunchCall, SkyFailure

WORKER = "orchestrator.provisioners.skypilot.worker"
LONGEST_LINE = 16 * 2**20
WORKER_DIED = "WorkerDied"

PATIENCE_SECONDS: Final[Mapping[str, float]] = {
    "ensure_server": 300.0,
    "launch": 900.0,  # carries files
    "clusters": 600.0,  # asks every provider
    "down": 1800.0,  # a cloud may take many minutes
}
"""SkyPilot itself waits for its API server without end. What takes longer than this, since the worker began with it,
will not be answered: the worker, one of whose threads hangs in the call, is ended, and the next call starts another.
What was asked for goes on at the API server. Whoever has only waited for his turn for so long is told so, and the
worker goes on with the others."""

OTHER_PATIENCE_SECONDS: Final = 180.0
"""For calls that the API server answers from its memory, or by logging in to one machine."""


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


@dataclass(slots=True)
class _Asked:
    """A call that has no answer yet. ``patience``: seconds, ``None`` without end; ``limit`` is when they are over."""

    answer: asyncio.Future[Any]
    patience: float | None
    limit: asyncio.Timeout
    has_begun: bool = False

    def begin(self) -> None:
        """Count its time from now: what it has waited for its turn is not its own."""
        self.has_begun = True
        if self.patience is not None and not self.limit.expired():
            self.limit.reschedule(asyncio.get_running_loop().time() + self.patience)


@dataclass(slots=True)
class _Talk:
    """One worker, and who waits for its answers. ``lines``: how many it has said."""

    process: asyncio.subprocess.Process
    asked: dict[int, _Asked] = field(default_factory=dict)
    lines: int = 0


class RemoteSky:
    """A :class:`~orchestrator.provisioners.skypilot.sky_api.SkyApi` in other processes."""

    def __init__(self, connection: Connection, patience: Mapping[str, float] = PATIENCE_SECONDS) -> None:
        self._server = _Worker(connection, patience)
        self._machines = _Worker(connection, patience)

    async def ensure_server(self) -> None:
        """Reach the API server; a local one is started if none runs."""
        await self._server.call("ensure_server")

    async def enabled_clouds(self, wanted: frozenset[str]) -> frozenset[str]:
        """Return the clouds that have credentials; the wanted ones are checked if that is not known yet."""
        return frozenset(await self._server.call("enabled_clouds", wanted=sorted(wanted)))

    async def launch(self, cluster: str, task: Mapping[str, Any], mounts: Mapping[str, str]) -> str:
        """Post a launch and return its request id."""
        return str(await self._server.call("launch", cluster=cluster, task=dict(task), mounts=dict(mounts)))

    async def launches(self, cluster: str) -> Sequence[LaunchCall]:
        """Return every launch of this cluster name that the server remembers."""
        found = await self._server.call("launches", cluster=cluster)
        return [LaunchCall(c["id"], CallState(c["state"]), c["posted_at"]) for c in found]

    async def outcome(self, request_id: str) -> None:
        """Return when the request has ended well; raises what it failed with."""
        await self._server.call("outcome", request_id=request_id)

    async def follow(self, request_id: str, log: Path) -> None:
        """Append the request's progress to a file until it ends."""
        await self._server.call("follow", endless=True, request_id=request_id, log=str(log))

    async def cancel(self, request_id: str) -> None:
        """Cancel a request."""
        await self._server.call("cancel", request_id=request_id)

    async def clusters(self, prefix: str) -> Sequence[Cluster]:
        """Return the clusters whose names begin so, after asking their providers."""
        return [Cluster(**c) for c in await self._server.call("clusters", prefix=prefix)]

    async def job_state(self, cluster: str) -> str:
        """Return the state of the cluster's newest job."""
        return str(await self._machines.call("job_state", cluster=cluster))

    async def job_log(self, cluster: str) -> str:
        """Return the end of that job's log."""
        return str(await self._machines.call("job_log", cluster=cluster))

    async def down(self, cluster: str) -> None:
        """End the cluster and wait for it."""
        await self._server.call("down", cluster=cluster)

    async def close(self) -> None:
        """End the workers; what they asked for goes on at the API server."""
        await asyncio.gather(self._server.close(), self._machines.close())


class _Worker:
    """One worker process, whichever that is now."""

    def __init__(self, connection: Connection, patience: Mapping[str, float]) -> None:
        self._connection = connection
        self._patience = patience
        self._talk: _Talk | None = None
        self._reader: asyncio.Task[None] | None = None
        self._numbers = itertools.count(1)
        self._starting: asyncio.Lock | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def close(self) -> None:
        """End it."""
        talk, self._talk = self._talk, None
        if talk is not None and talk.process.returncode is None:
            _kill(talk.process)
            await talk.process.wait()
        if self._reader is not None:
            await asyncio.gather(self._reader, return_exceptions=True)

    async def call(self, method: str, *, endless: bool = False, **arguments: object) -> Any:  # noqa: ANN401 - as it says
        """Return what the worker answers. Raises ``SkyFailure``."""
        talk = await self._living()
        number = next(self._numbers)
        patience = None if endless else self._patience.get(method, OTHER_PATIENCE_SECONDS)
        line = json.dumps({"id": number, "call": method, "with": arguments}) + "\n"
        lines_before = talk.lines
        asked: _Asked | None = None
        try:
            if talk.process.stdin is None:
                raise SkyFailure(WORKER_DIED, "the SkyPilot process takes no requests")
            async with asyncio.timeout(patience) as limit:
                asked = talk.asked[number] = _Asked(asyncio.get_running_loop().create_future(), patience, limit)
                talk.process.stdin.write(line.encode())
                await talk.process.stdin.drain()
                return await asked.answer
        except TimeoutError as error:
            # Not for who has only waited for his turn: everybody else's calls would end with the worker.
            if asked is None or asked.has_begun or talk.lines == lines_before:
                _kill(talk.process)
                if self._talk is talk:
                    self._talk = None
            raise SkyFailure("ReadTimeout", f"no answer to {method} within {patience} s") from error
        except (BrokenPipeError, ConnectionResetError) as error:
            raise SkyFailure(WORKER_DIED, "the SkyPilot process ended; it is started again") from error
        finally:
            talk.asked.pop(number, None)

    async def _living(self) -> _Talk:
        """Return the living worker of this event loop; one command may use several loops, one after the other."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._starting, self._talk = loop, asyncio.Lock(), None
        if self._starting is None:
            self._starting = asyncio.Lock()
        async with self._starting:
            if self._talk is None or self._talk.process.returncode is not None:
                self._talk = _Talk(await self._start())
                self._reader = loop.create_task(_read(self._talk, self._connection.log))
            return self._talk

    async def _start(self) -> asyncio.subprocess.Process:
        self._connection.log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        log = os.open(self._connection.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            return await asyncio.create_subprocess_exec(
                *own_module(WORKER),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=with_our_package(self._connection.environment()),
                cwd=NOWHERE,  # SkyPilot starts its API server with `-m`, where it was started itself
                start_new_session=True,
                limit=LONGEST_LINE,
            )
        finally:
            os.close(log)


async def _read(talk: _Talk, log: Path) -> None:
    """Hand every answer to whoever waits for it; when the worker ends, tell them all."""
    process = talk.process
    try:
        while process.stdout is not None and (line := await process.stdout.readline()):
            said = json.loads(line)
            talk.lines += 1
            asked = talk.asked.get(said["id"])
            if asked is not None and not asked.answer.done():
                _hear(said, asked)
    except (ValueError, KeyError, TypeError):
        # No answer of the worker's, or one of more than LONGEST_LINE: what follows it cannot be told apart.
        _kill(process)
    except asyncio.CancelledError:
        _kill(process)
        raise
    finally:
        await process.wait()
        for asked in talk.asked.values():
            if not asked.answer.done():
                asked.answer.set_exception(SkyFailure(WORKER_DIED, f"see {log}"))


def _hear(said: Mapping[str, Any], asked: _Asked) -> None:
    """Raises ``KeyError`` or ``TypeError`` for what is no answer."""
    if said.get("begun"):
        asked.begin()
    elif said.get("failure") is None:
        asked.answer.set_result(said.get("value"))
    else:
        failure = said["failure"]
        asked.answer.set_exception(SkyFailure(failure["kind"], failure["message"], tuple(failure.get("history", ()))))


def _kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
