"""Runs one engine on a machine that SkyPilot has prepared, and ends it in order.

    python3 replica.py prepare      install the engine, if it is not there
    python3 replica.py              run it

Standard library only, Python 3.8 or later. Everything that differs between replicas is data: ``launch.json`` beside
this file says what is started (lists of words, no shell), ``key`` is the replica's own key, ``secrets.json`` holds the
values of the service's secrets. Nobody's text is ever part of a command line that a shell reads, and no secret is a
word of any command line.

The engine ends when this program is told to: by SIGTERM, or by the file ``stop`` that the guard writes for an
authenticated request. It gets the time that ``launch.json`` allows to finish what it is saying. When it ends, for
whatever reason, nothing of it is left, and this program ends too: SkyPilot's job ends with its engine.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
POLL_SECONDS = 0.2
STRAGGLER_SECONDS = 5.0
PRIVATE = 0o600


def main():
    """Run one of the two steps; returns the exit status."""
    launch = json.loads((HERE / "launch.json").read_text(encoding="utf-8"))
    if sys.argv[1:] == ["prepare"]:
        return prepare(launch)
    return Supervisor(launch).run()


def prepare(launch):
    """Install the engine into an environment of its own, unless the machine has it."""
    packages = launch.get("packages") or []
    if not packages:
        return 0
    environment = HERE / "engine"
    for argv in (
        [sys.executable, "-m", "pip", "install", "--quiet", "uv"] if not _has_uv() else None,
        [*_uv(), "venv", "--quiet", "--python", launch.get("python", "3.12"), str(environment)],
        [*_uv(), "pip", "install", "--quiet", "--python", str(environment / "bin" / "python"), *packages],
    ):
        if argv is not None:
            status = subprocess.call(argv)
            if status != 0:
                say("installing {} failed with status {}".format(" ".join(packages), status))
                return status
    return 0


def _has_uv():
    return subprocess.call([*_uv(), "--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0


def _uv():
    return [sys.executable, "-m", "uv"]


class Supervisor:
    """Starts the engine, waits for its end or for the word to end it."""

    def __init__(self, launch):
        self.launch = launch
        self.stop_file = HERE / "stop"
        self.told = False
        self.scratch = tempfile.mkdtemp(prefix="gc-")
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._told)

    def _told(self, *_):
        self.told = True

    def run(self):
        """Start, wait, end, clean up; returns the engine's exit status."""
        with contextlib.suppress(FileNotFoundError):
            self.stop_file.unlink()
        self._limit_power()
        argv = [str(word) for word in self.launch["argv"]]
        argv = [PLACES[word]() if word in PLACES else word for word in argv]
        say("starting {}".format(Path(argv[0]).name))
        try:
            engine = subprocess.Popen(argv, env=self._environment(), start_new_session=True)
        except OSError as error:
            say("cannot start {}: {}".format(argv[0], error.strerror))
            return 127
        asked_at = None
        while engine.poll() is None:
            if asked_at is None and (self.told or self.stop_file.exists()):
                say("told to end: the engine finishes what it is saying")
                asked_at = time.monotonic()
                engine.terminate()
            if asked_at is not None and time.monotonic() > asked_at + float(self.launch["grace_seconds"]):
                say("the grace is over")
                break
            time.sleep(POLL_SECONDS)
        self._end_group(engine)
        status = engine.wait()
        shutil.rmtree(self.scratch, ignore_errors=True)
        say("the engine ended with status {}".format(status))
        return 0 if asked_at is not None else (status if status > 0 else 1)

    def _environment(self):
        """Ours, what the launch says, the key and the secrets; caches and temporary files that go with us."""
        environment = dict(os.environ)
        environment.update({str(k): str(v) for k, v in self.launch.get("env", {}).items()})
        for name in ("HF_HOME", "VLLM_CACHE_ROOT", "XDG_CACHE_HOME"):
            environment.setdefault(name, str(HERE / "cache" / name.lower()))
        # Short: engines make unix sockets there, whose paths are limited to 107 bytes.
        environment["TMPDIR"] = self.scratch
        environment["PYTHONPATH"] = str(HERE)
        environment["GREENCTL_STOP_FILE"] = str(self.stop_file)
        environment["VLLM_HOST_IP"] = address()
        key = HERE / "key"
        if key.exists():
            key.chmod(PRIVATE)
            environment["VLLM_API_KEY"] = key.read_text(encoding="ascii").strip()
        secrets = HERE / "secrets.json"
        if secrets.exists():
            secrets.chmod(PRIVATE)
            environment.update({str(k): str(v) for k, v in json.loads(secrets.read_text(encoding="utf-8")).items()})
        return environment

    def _limit_power(self):
        """Cap the accelerators' power, where the machine lets us; otherwise say so and go on."""
        watts = self.launch.get("power_limit_watts")
        if watts is None:
            return
        argv = ["nvidia-smi", "--power-limit={}".format(int(watts))]
        for attempt in (["sudo", "-n", *argv], argv):
            with contextlib.suppress(OSError):
                if subprocess.call(attempt, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0:
                    say("power limit: {} W per accelerator".format(int(watts)))
                    return
        say("power limit of {} W was refused by this machine; going on without".format(int(watts)))

    def _end_group(self, engine):
        """Nothing of the engine's session survives: a moment for who is ending already, then KILL."""
        patience = time.monotonic() + STRAGGLER_SECONDS
        while engine.poll() is not None and _group_lives(engine.pid) and time.monotonic() < patience:
            time.sleep(POLL_SECONDS)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(engine.pid, signal.SIGKILL)


def _group_lives(group):
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def address():
    """The machine's own address as SkyPilot knows it."""
    lines = os.environ.get("SKYPILOT_NODE_IPS", "").split()
    return lines[0] if lines else "127.0.0.1"


PLACES = {
    "@ENGINE@": lambda: str(HERE / "engine" / "bin" / "vllm"),
    "@HERE@/model": lambda: str(HERE / "model"),
    "--host=@ADDRESS@": lambda: "--host=" + address(),
}
"""Words that only this machine knows; a word is replaced whole or not at all."""


def say(text):
    """One line into the job's log."""
    print("greenctl: " + text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
