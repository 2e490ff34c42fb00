"""The process that imports SkyPilot.

    python -m orchestrator.provisioners.skypilot.worker

SkyPilot reads ``HOME`` when it is imported, takes seconds for that, configures logging and prints; in a process of its
own all of it is its own business, and the controller may have another home. It speaks lines of JSON: requests
``{"id": 1, "call": "launch", "with": {...}}`` on standard input, answers ``{"id": 1, "value": ...}`` or
``{"id": 1, "failure": {"kind", "message", "history"}}`` on standard output, and before them, when a call begins,
``{"id": 1, "begun": true}``. Calls run side by side, the short ones at most ``MOST_CALLS`` at a time. It ends with its
input: a controller that dies leaves no worker behind, and what it has asked for goes on at the API server.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TextIO

MOST_CALLS = 32
LOG_LINES = 60
LAUNCH = "sky.launch"
FOLLOW = "follow"
LONG = frozenset({"down", FOLLOW, "launch", "job_state", "job_log"})
"""Calls that last for minutes, or may because a machine hangs: in the queue of the short ones, many of them would keep
everybody else waiting."""
OPEN = ("PENDING", "WAITING", "RUNNING")
HISTORY_KEPT = 5


def main() -> None:
    """Serve until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever SkyPilot prints goes to the log
    lock = threading.Lock()
    pool = ThreadPoolExecutor(MOST_CALLS)
    for line in sys.stdin:
        request = json.loads(line)
        if request["call"] in LONG:
            threading.Thread(target=_serve, args=(request, answers, lock), daemon=True).start()
        else:
            pool.submit(_serve, request, answers, lock)
    os._exit(0)  # nobody waits for the answers that are still to come


def _serve(request: Mapping[str, Any], answers: TextIO, lock: threading.Lock) -> None:
    answer: dict[str, Any] = {"id": request["id"]}
    _say({**answer, "begun": True}, answers, lock)
    try:
        answer["value"] = CALLS[request["call"]](**request["with"])
    except BaseException as error:  # noqa: BLE001 - SkyPilot raises SystemExit, too; everything is told, nothing is lost
        history = [str(e) for e in getattr(error, "failover_history", None) or ()]
        answer["failure"] = {
            "kind": type(error).__name__,
            "message": str(error),
            "history": history[-HISTORY_KEPT:],
        }
    _say(answer, answers, lock)


def _say(line: Mapping[str, Any], answers: TextIO, lock: threading.Lock) -> None:
    with lock:
        answers.write(json.dumps(line) + "\n")
        answers.flush()


def _ensure_server() -> None:
    import sky  # noqa: PLC0415 - seconds, and only here
    from sky.server import common  # noqa: PLC0415

    if common.is_api_server_local():
        sky.api_start()
    sky.api_info()


def _enabled_clouds(wanted: list[str]) -> list[str]:
    """SkyPilot answers from what its last check found; launches that run that check side by side disturb each other."""
    import sky  # noqa: PLC0415
    from sky.client import sdk  # noqa: PLC0415

    known = {str(cloud).lower() for cloud in sky.get(sdk.enabled_clouds())}
    missing = [cloud for cloud in wanted if cloud not in known]
    if missing:
        sky.get(sdk.check(infra_list=tuple(missing), verbose=False))
        known = {str(cloud).lower() for cloud in sky.get(sdk.enabled_clouds())}
    return sorted(known)


def _launch(cluster: str, task: dict[str, Any], mounts: dict[str, str]) -> str:
    import sky  # noqa: PLC0415

    made = sky.Task.from_yaml_config(task)
    made.update_file_mounts(mounts)
    return str(sky.launch(made, cluster_name=cluster))


def _launches(cluster: str) -> list[dict[str, Any]]:
    import sky  # noqa: PLC0415

    known = sky.api_status(cluster_name=cluster, all_status=True, limit=None)
    own = sorted((r for r in known if r.name == LAUNCH and r.cluster_name == cluster), key=lambda r: r.created_at)
    return [{"id": r.request_id, "state": _state(r.status), "posted_at": r.created_at} for r in own]


def _state(status: str) -> str:
    if status in OPEN:
        return "open"
    return "done" if status == "SUCCEEDED" else "failed"


def _outcome(request_id: str) -> None:
    import sky  # noqa: PLC0415

    sky.get(request_id)


def _follow(request_id: str, log: str) -> None:
    import sky  # noqa: PLC0415

    with open(log, "a", encoding="utf-8", opener=_private) as file:
        sky.stream_and_get(request_id, output_stream=file)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _cancel(request_id: str) -> None:
    import sky  # noqa: PLC0415

    sky.get(sky.api_cancel(request_id))


def _clusters(prefix: str) -> list[dict[str, Any]]:
    import sky  # noqa: PLC0415

    names = [c["name"] for c in sky.get(sky.status()) if c["name"].startswith(prefix)]
    if not names:
        return []
    return [_cluster(c) for c in sky.get(sky.status(names, refresh=sky.StatusRefreshMode.FORCE))]


def _cluster(found: Any) -> dict[str, Any]:  # noqa: ANN401 - a class of SkyPilot's
    handle = found["handle"]
    launched = getattr(handle, "launched_resources", None)
    cloud = str(found["cloud"] or getattr(launched, "cloud", "") or "").lower()
    addresses = getattr(handle, "stable_internal_external_ips", None) or []
    # On Slurm the second one is the login node's; elsewhere it is the machine's address to the outside.
    address = addresses[0][0 if cloud == "slurm" else 1] if addresses else None
    return {
        "name": found["name"],
        "state": found["status"].name,
        "cloud": cloud,
        "region": _region(cloud, str(found["region"] or getattr(launched, "region", "") or "")),
        "address": address,
    }


def _region(cloud: str, name: str) -> str:
    """As ``infra`` takes it: SkyPilot's region of an SSH node pool is the pool's context."""
    return name.removeprefix("ssh-") if cloud == "ssh" else name


def _job_state(cluster: str) -> str:
    import sky  # noqa: PLC0415

    states = sky.get(sky.job_status(cluster))
    newest = [state for _, state in sorted((n, s) for n, s in states.items() if n is not None)]
    return newest[-1].name if newest and newest[-1] is not None else ""


def _job_log(cluster: str) -> str:
    import sky  # noqa: PLC0415

    lines = sky.tail_logs(cluster, None, follow=False, tail=LOG_LINES, preload_content=False)
    return "" if isinstance(lines, int) else "".join(line for line in lines if line)


def _down(cluster: str) -> None:
    import sky  # noqa: PLC0415
    from sky import exceptions  # noqa: PLC0415

    try:
        sky.get(sky.down(cluster))
    except (exceptions.ClusterDoesNotExist, ValueError) as error:
        if "not exist" not in str(error) and "not found" not in str(error):
            raise


CALLS: Mapping[str, Callable[..., Any]] = {
    "ensure_server": _ensure_server,
    "enabled_clouds": _enabled_clouds,
    "launch": _launch,
    "launches": _launches,
    "outcome": _outcome,
    FOLLOW: _follow,
    "cancel": _cancel,
    "clusters": _clusters,
    "job_state": _job_state,
    "job_log": _job_log,
    "down": _down,
}


if __name__ == "__main__":
    main()
