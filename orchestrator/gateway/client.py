"""The controller's side of the control sockets: publish to every gateway process, sum what they report."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Final

import aiohttp

from orchestrator.domain.counters import GatewayStatus, sum_statuses
from orchestrator.domain.routing import RoutingTable
from orchestrator.domain.wire import InvalidRouting
from orchestrator.errors import Conflict, GatewayUnavailable
from orchestrator.gateway.sockets import FOLDER, short_path, sockets_in
from orchestrator.gateway.table import TableFile

logger = logging.getLogger(__name__)

DEADLINE_SECONDS: Final = 5.0
"""For one gateway process to answer. One that is alive and silent makes the call fail: it may still send traffic."""

_APPLIED = 204
_OK = 200
_INVALID = 400
_CONFLICT = 409


class SocketGateway:
    """Implements the ``Gateway`` port over the sockets under ``<state_dir>/gateway``."""

    def __init__(self, state_dir: Path, *, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        self._folder = state_dir / FOLDER
        self._deadline = deadline_seconds

    async def publish(self, table: RoutingTable) -> None:
        """Return once every live gateway process has applied the table; publishing it again changes nothing.

        Raises ``GatewayUnavailable`` when none is there or one does not answer, ``Conflict`` when one already has a
        newer table (the message names its version).
        """
        body = table.to_json().encode()
        done: set[Path] = set()
        # A process that was starting may have read the old file before we wrote the new one: look again after writing.
        while waiting := [path for path in sockets_in(self._folder) if path not in done]:
            answers = await asyncio.gather(*(self._put(path, table, body) for path in waiting))
            done |= {path for path, answer in zip(waiting, answers, strict=True) if answer is not None}
            for answer in answers:
                _require_applied(answer)
        if not done:
            raise GatewayUnavailable("no gateway process listens")

    async def _put(self, path: Path, table: RoutingTable, body: bytes) -> tuple[int, bytes] | None:
        """Hand over the table; in an older form to a gateway that is older than what it says, and refuses that."""
        answer = await self._ask("PUT", path, "/table", body)
        for older in table.older_forms():
            if answer is None or answer[0] != _INVALID:
                break
            logger.info("%s does not take the table as it is: it is older than this controller", path.name)
            answer = await self._ask("PUT", path, "/table", older.to_json().encode())
        return answer

    async def applied(self) -> RoutingTable | None:
        """Return the table on the disk, from which every gateway process starts; ``None`` before there was one.

        Raises ``GatewayUnavailable`` when it cannot be read.
        """
        try:
            return TableFile(self._folder).load()
        except InvalidRouting as error:
            raise GatewayUnavailable(f"the gateway's table cannot be read: {error}") from error

    async def status(self) -> GatewayStatus:
        """Return the sum over the live gateway processes. Raises ``GatewayUnavailable``."""
        paths = sockets_in(self._folder)
        answers = [a for a in await asyncio.gather(*(self._ask("GET", p, "/status") for p in paths)) if a is not None]
        if not answers:
            raise GatewayUnavailable("no gateway process listens")
        try:
            return sum_statuses(GatewayStatus.from_json(body) for _, body in answers)
        except InvalidRouting as error:
            raise GatewayUnavailable(f"the gateway's status cannot be read: {error}") from error

    async def drain(self) -> None:
        """Make every live gateway process refuse new requests, on its way to being stopped; wait for those that run.

        Raises ``GatewayUnavailable`` when they have not ended by the deadline.
        """
        await asyncio.gather(*(self._ask("POST", path, "/drain") for path in sockets_in(self._folder)))

    async def _ask(self, method: str, path: Path, route: str, body: bytes | None = None) -> tuple[int, bytes] | None:
        """Return status and body; ``None`` when nobody listens there any more, and then the socket is removed."""
        try:
            with short_path(path) as short:
                async with (
                    asyncio.timeout(self._deadline),
                    aiohttp.ClientSession(connector=aiohttp.UnixConnector(short)) as session,
                    session.request(method, f"http://gateway{route}", data=body) as response,
                ):
                    return response.status, await response.read()
        except aiohttp.ClientConnectorError as error:
            if not isinstance(error.os_error, (ConnectionRefusedError, FileNotFoundError)):
                raise GatewayUnavailable(f"{path.name}: {error}") from error
            logger.info("removing the socket of a gateway process that is gone: %s", path.name)
            path.unlink(missing_ok=True)  # noqa: ASYNC240  # one system call on a local folder
            return None
        except TimeoutError as error:
            raise GatewayUnavailable(f"{path.name} did not answer within {self._deadline:g} s") from error
        except (OSError, aiohttp.ClientError) as error:
            raise GatewayUnavailable(f"{path.name}: {error}") from error


def _require_applied(answer: tuple[int, bytes] | None) -> None:
    if answer is None or answer[0] == _APPLIED:
        return
    status, body = answer
    try:
        message = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        message = f"status {status}"
    if status == _CONFLICT:
        raise Conflict(f"the gateway refused an older routing table: {message}")
    raise GatewayUnavailable(f"the gateway did not take the routing table: {message}")
