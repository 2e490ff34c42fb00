"""Runs one engine on a machine that SkyPilot has prepared, and ends it in order.

    python3 replica.py prepare      run the service's own setup script and install the engine, if it is not there
    python3 replica.py              run it

Standard library only, Python 3.8 or later. Everything that differs between replicas is data: ``launch.json`` beside
this file says what is started (lists of words, no shell), ``key`` is the replica's own key, ``secrets.json`` holds the
values of the service's secrets. Nobody's text is ever part of a command line that a shell reads, and no secret is a
word of any command line.

The engine ends when this program is told to: by SIGTERM, by the file ``stop`` that the guard writes for an
authenticated request, or when its lease is over: when for ``lease_seconds`` nobody has written the file ``lease`` again
and nobody was served (the guard touches it for requests). Only this machine's own clock counts. The engine gets the
time that ``launch.json`` allows to finish what it is saying. When it ends, for whatever reason, nothing of it is left,
and this program ends too: SkyPilot's job ends with its engine.
"""

import contextlib
import ctypes
import json
import os
import select
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
PYTHON = "3.12"

HERE_MARK = "@HERE@/"
"""A word that begins with it names a file beside this program; only this machine knows where that is."""

LONGEST_TMP = 60
"""Engines make unix sockets in TMPDIR, named by a UUID; the whole path may have 107 bytes."""

IMAGES_KEEP_IT_IN = ("/opt/venv/bin/vllm", "/usr/local/bin/vllm", "/opt/vllm/bin/vllm")

CACHES = ("HF_HOME", "VLLM_CACHE_ROOT", "XDG_CACHE_HOME", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
"""From linux/prctl.h."""


def main():
    """Run one of the two steps; returns the exit status."""
    os.umask(0o077)
    HERE.chmod(0o700)
    launch = json.loads((HERE / "launch.json").read_text(encoding="utf-8"))
    if sys.argv[1:] == ["prepare"]:
        return prepare(launch)
    return Supervisor(launch).run()


# ── preparing ──


def prepare(launch):
    """Run the service's own setup, then install the engine into an environment of its own. Again changes nothing."""
    setup = [placed(word) for word in launch.get("setup") or []]
    status = subprocess.call(setup, env=environment(launch)) if setup else 0
    if status != 0:
        say("the service's own setup ended with status {}".format(status))
    return status or install(launch.get("packages") or [])


def install(packages):
    """Install what is not there yet."""
    target = HERE / "engine"
    if not packages or (target / "installed").exists():
        return 0
    for argv in installing(target, packages):
        status = subprocess.call(argv)
        if status != 0:
            say("installing {} failed with status {}".format(" ".join(packages), status))
            return status
    (target / "installed").touch()
    return 0


def installing(target, packages):
    """Return the steps: with uv where it is (SkyPilot brings it along), else with the machine's own Python."""
    python = str(target / "bin" / "python")
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path.home() / ".local" / "bin"))
    if uv:
        return [
            [uv, "venv", "--quiet", "--clear", "--python", PYTHON, str(target)],
            [uv, "pip", "install", "--quiet", "--python", python, *packages],
        ]
    return [
        [sys.executable, "-m", "venv", "--clear", str(target)],
        [python, "-m", "pip", "install", "--quiet", *packages],
    ]


# ── running ──


class Supervisor:
    """Starts the engine, waits for its end or for the word to end it."""

    def __init__(self, launch):
        self.launch = launch
        self.stop_file = HERE / "stop"
        self.told = False
        self.lease = Lease(HERE / "lease", launch.get("lease_seconds"))
        # A signal, the engine's end among them, ends a pause at once: it is written into this pipe.
        self.wake, written = os.pipe()
        os.set_blocking(self.wake, False)
        os.set_blocking(written, False)
        signal.set_wakeup_fd(written, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._told)

    def _told(self, *_):
        self.told = True

    def _pause(self):
        """Wait for a signal, but not for long: the file that says stop makes none."""
        select.select([self.wake], [], [], POLL_SECONDS)
        with contextlib.suppress(BlockingIOError):
            os.read(self.wake, 4096)

    def run(self):
        """Start, wait, end, clean up; returns the engine's exit status, 0 when it ended because it was told to."""
        with contextlib.suppress(FileNotFoundError):
            self.stop_file.unlink()
        status = install(self.launch.get("packages") or [])
        if status != 0:
            return status
        limit_power(self.launch.get("power_limit_watts"))
        argv = [placed(word) for word in self.launch["argv"]]
        say("starting {}".format(argv[0]))
        adopt_orphans()
        strangers = children()
        scratch = scratch_folder()
        try:
            engine = subprocess.Popen(
                argv,
                env=dict(environment(self.launch), TMPDIR=scratch),
                start_new_session=True,
                preexec_fn=die_with_us,  # noqa: PLW1509 - this program has one thread
            )
        except OSError as error:
            say("cannot start {}: {}".format(argv[0], error.strerror))
            return 127
        asked = self._wait(engine)
        end_group(engine)
        status = engine.wait()
        end_orphans(strangers)
        shutil.rmtree(scratch, ignore_errors=True)
        say("the engine ended with status {}".format(status))
        return 0 if asked else (status if status > 0 else 1)

    def _wait(self, engine):
        """Wait for its end; whether it was told to."""
        asked_at = None
        while engine.poll() is None:
            why = "" if asked_at is not None else self._why_end()
            if why:
                say(why + ": the engine finishes what it is saying")
                asked_at = time.monotonic()
                engine.terminate()
            if asked_at is not None and time.monotonic() > asked_at + float(self.launch["grace_seconds"]):
                say("the grace is over")
                break
            self._pause()
        return asked_at is not None

    def _why_end(self):
        """Why it is to end now, in words; empty while it is not."""
        if self.told or self.stop_file.exists():
            return "told to end"
        return "the lease is over, nobody renewed it and nobody was served" if self.lease.is_over() else ""


class Lease:
    """For how long the replica goes on by itself; without ``seconds`` for ever."""

    def __init__(self, path, seconds):
        self.path = path
        self.seconds = seconds
        self.stamp = None
        self.ends_at = 0.0
        if seconds is None:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
        else:
            path.write_text(str(seconds), encoding="ascii")

    def is_over(self):
        """Whether it is. It begins anew whenever the file was written or touched; what it says is for how long."""
        if self.seconds is None:
            return False
        with contextlib.suppress(OSError):
            found = self.path.stat()
            stamp = (found.st_mtime_ns, found.st_ino)
            if stamp != self.stamp:
                self.stamp = stamp
                self.seconds = self._read()
                self.ends_at = time.monotonic() + self.seconds
        return time.monotonic() >= self.ends_at

    def _read(self):
        with contextlib.suppress(OSError, ValueError):
            seconds = float(self.path.read_text(encoding="ascii"))
            if 0 < seconds < float("inf"):
                return seconds
        return self.seconds


def placed(word):
    """Fill in what only this machine knows; a word is replaced whole, by its beginning, or not at all."""
    word = str(word)
    if word == "@ENGINE@":
        return engine_path()
    if word == "--host=@ADDRESS@":
        return "--host=" + address()
    return str(HERE / word[len(HERE_MARK) :]) if word.startswith(HERE_MARK) else word


def engine_path():
    """The engine that was installed, or that the machine's image brings along."""
    installed = HERE / "engine" / "bin" / "vllm"
    known = [str(installed), shutil.which("vllm") or "", *IMAGES_KEEP_IT_IN]
    return next((path for path in known if path and os.access(path, os.X_OK)), str(installed))


def address():
    """The machine's own address as SkyPilot knows it."""
    lines = os.environ.get("SKYPILOT_NODE_IPS", "").split()
    return lines[0] if lines else "127.0.0.1"


def environment(launch):
    """The machine's, the launch's, the secrets, and last what is ours; caches that go with us.

    What is not ``guarded`` is the service's own command: it has its own ideas of caches and modules.
    """
    found = dict(os.environ)
    guarded = launch.get("guarded", True)
    for name in CACHES if guarded else ():
        found[name] = str(HERE / "cache" / name.lower())
    found.update({str(k): str(v) for k, v in launch.get("env", {}).items()})
    secrets = HERE / "secrets.json"
    if secrets.exists():
        secrets.chmod(PRIVATE)
        found.update({str(k): str(v) for k, v in json.loads(secrets.read_text(encoding="utf-8")).items()})
    if guarded:
        found["PYTHONPATH"] = str(HERE)
    found["GREENCTL_STOP_FILE"] = str(HERE / "stop")
    found["GREENCTL_LEASE_FILE"] = str(HERE / "lease")
    found["VLLM_HOST_IP"] = address()
    key = HERE / "key"
    if key.exists():
        key.chmod(PRIVATE)
        found["VLLM_API_KEY"] = key.read_text(encoding="ascii").strip()
    return found


def scratch_folder():
    """A folder for temporary files and sockets: beside us if that is short enough for a socket's path."""
    if len(str(HERE)) <= LONGEST_TMP:
        path = HERE / "tmp"
        shutil.rmtree(str(path), ignore_errors=True)
        path.mkdir()
        return str(path)
    return tempfile.mkdtemp(prefix="gc-")


def limit_power(watts):
    """Cap the accelerators' power, where the machine lets us; otherwise say so and go on."""
    if watts is None:
        return
    argv = ["nvidia-smi", "--power-limit={}".format(int(watts))]
    for attempt in (["sudo", "-n", *argv], argv):
        with contextlib.suppress(OSError):
            if subprocess.call(attempt, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0:
                say("power limit: {} W per accelerator".format(int(watts)))
                return
    say("power limit of {} W was refused by this machine; going on without".format(int(watts)))


# ── ending ──


def die_with_us():
    """In the engine, before it begins: if we are killed outright, so is it."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def adopt_orphans():
    """Processes of the engine whose parent ends become our children, also those that left its session."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)


def prctl(option, value):
    """Ask Linux; where it cannot be asked, what depends on it is not there."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value), 0, 0, 0)


def end_group(engine):
    """Nothing of the engine's session survives: a moment for who is ending already, then KILL."""
    patience = time.monotonic() + STRAGGLER_SECONDS
    while engine.poll() is not None and group_lives(engine.pid) and time.monotonic() < patience:
        reap()
        time.sleep(POLL_SECONDS)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(engine.pid, signal.SIGKILL)


def group_lives(group):
    """Whether a process group has members."""
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def end_orphans(strangers):
    """Kill what has become our child, and its children, until there is none but those that were here before."""
    give_up = time.monotonic() + STRAGGLER_SECONDS
    while time.monotonic() < give_up:
        reap()
        mine = [pid for pid in children() if pid not in strangers]
        if not mine:
            return
        for pid in mine:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(POLL_SECONDS / 4)


def reap():
    """Let the kernel forget children that have ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def children():
    """The processes whose parent we are."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError):
            # The name, in parentheses, may hold anything; behind it come the state and the parent.
            if int(stat.read_text(errors="replace").rpartition(")")[2].split()[1]) == os.getpid():
                found.append(int(stat.parent.name))
    return found


def say(text):
    """One line into the job's log; a full disk keeps nobody from going on."""
    with contextlib.suppress(OSError):
        print("greenctl: " + text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
