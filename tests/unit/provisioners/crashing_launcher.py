"""Launches replicas and is killed meanwhile; see ``test_local_crashes``.

crashing_launcher.py crash STATE UID             one launch per crash point, a line each
crashing_launcher.py race STATE UID NAME COUNT   as many launches of one name at once
crashing_launcher.py launch STATE UID NAME       launch and wait to be killed
crashing_launcher.py stop STATE UID NAME GRACE   launch an engine that ignores SIGTERM, ask it to end, wait
crashing_launcher.py pause STATE UID NAME        stop (as SIGSTOP does) just before the keeper would be started
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from orchestrator.control.ports import LaunchRequest, Phase
from orchestrator.domain.service import Engine, ModelSpec
from orchestrator.errors import NoCapacity
from orchestrator.provisioners.local.provisioner import LocalProvisioner
from tests.builders import offer
from tests.provisioner_bench import ArgvLauncher

FULL = 17

STUBBORN = ArgvLauncher(("/bin/sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"))

WATCHED = {"os.mkdir", "os.chmod", "os.rename", "os.remove", "fcntl.flock", "subprocess.Popen", "os.fork"}


def report(**what: object) -> None:
    """Tell the test."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def launch(
    state: str, uid: str, name: str, launcher: ArgvLauncher | None = None, limits: dict[str, int] | None = None
) -> LocalProvisioner:
    """Launch one replica."""
    provisioner = LocalProvisioner(Path(state), {Engine.BUILTIN: launcher or ArgvLauncher()}, max_replicas=limits)
    model = ModelSpec("any", Engine.BUILTIN)
    asyncio.run(provisioner.launch(LaunchRequest(name, uid, "chat", "intent", offer("local/se"), model)))
    return provisioner


def before_each_step(state: str, act: Callable[[str], None]) -> None:
    """Call ``act`` before every operation that leaves a trace outside this process."""

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        is_ours = event == "open" and str(arguments[0]).startswith(state)
        if event in WATCHED or is_ours:
            act(event)

    sys.addaudithook(hook)


def in_child(work: Callable[[], None]) -> int:
    """Run in a forked child; return how it ended."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        work()
    except BaseException as error:  # noqa: BLE001 - whatever it was, the child ends here
        sys.stderr.write(f"{error!r}\n")
        os._exit(1)
    os._exit(0)


def crash(state: str, uid: str) -> None:
    """Launch again and again, killed one step later each time, until a launch comes through."""
    for moment in range(1, 200):
        name = f"crash-{moment}-{uuid.uuid4().hex[:8]}"

        def work(name: str = name, moment: int = moment) -> None:
            left = [moment]

            def act(_: str) -> None:
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

            before_each_step(state, act)
            launch(state, uid, name)

        status = in_child(work)
        report(name=name, killed=status == -signal.SIGKILL)
        if status == 0:
            return
    raise SystemExit("no launch ever came through")


def race(state: str, uid: str, name: str, count: str) -> None:
    """Let several processes launch one name, all at the same moment."""
    at_once(int(count), lambda _: launch(state, uid, name))


def fill(state: str, uid: str, count: str) -> None:
    """Let several processes launch a replica each, all at the same moment, where only one fits."""

    def work(number: int) -> None:
        try:
            launch(state, uid, f"fill-{number}-{uuid.uuid4().hex[:8]}", limits={"local/se": 1})
        except NoCapacity:
            os._exit(FULL)

    at_once(int(count), work)


def at_once(count: int, work: Callable[[int], object]) -> None:
    """Fork, wait for the same moment, work."""
    start = time.monotonic() + 0.3
    children = []
    for number in range(count):
        child = os.fork()
        if not child:
            time.sleep(max(0.0, start - time.monotonic()))
            try:
                work(number)
            except BaseException:  # noqa: BLE001 - the child must not go on as the parent
                os._exit(1)
            os._exit(0)
        children.append(child)
    for child in children:
        report(status=os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def stop(state: str, uid: str, name: str, grace: str) -> None:
    """Ask for an end, and be killed."""
    provisioner = launch(state, uid, name, STUBBORN)
    while asyncio.run(provisioner.describe(name)).phase is not Phase.RUNNING:
        time.sleep(0.02)
    asyncio.run(provisioner.terminate(name, timedelta(seconds=float(grace))))
    report(asked=name)
    signal.pause()


def pause(state: str, uid: str, name: str) -> None:
    """Fall asleep when everything is written and nothing has been started."""

    def work() -> None:
        def act(event: str) -> None:
            if event == "subprocess.Popen":
                report(paused=os.getpid())
                os.kill(os.getpid(), signal.SIGSTOP)

        before_each_step(state, act)
        launch(state, uid, name)

    report(status=in_child(work))


def main(command: str, *arguments: str) -> None:
    """Run one command."""
    if command == "launch":
        launch(*arguments)
        report(launched=arguments[2])
        signal.pause()
    else:
        {"crash": crash, "race": race, "fill": fill, "stop": stop, "pause": pause}[command](*arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
