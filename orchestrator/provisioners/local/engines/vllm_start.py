"""Start ``vllm serve`` on a CPU with one import instead of three; run with the engine's own Python.

    python vllm_start.py serve MODEL --port ...

vLLM starts its engine and worker processes by *spawn*: each imports torch, transformers and vLLM again, which is
nearly all of the start-up time of a small model. On a CPU there is no accelerator context that a fork could break, so
here the engine process is forked from the server, after the imports and before any thread or connection of its own
exists. Garbage collection rests during the imports (nothing they make is garbage), and what they made is frozen, so
that the two processes share those pages.

Measured with vLLM 0.32.0 on 2 cores, a model of 4 M parameters: ready after 7 s instead of 21 s (two at once: 11 s),
0.8 GB instead of 1.4 GB, gone 1 s instead of 4 s after SIGTERM. Whatever of this a vLLM version does not support is
left out, and it starts the ordinary way.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import itertools
import os
import socket
import stat
import sys
from pathlib import Path
from typing import Any

SHARED = (
    "vllm.entrypoints.cli.main",
    "vllm.entrypoints.cli.serve",
    "vllm.v1.engine.async_llm",
    "vllm.v1.engine.core",
    "vllm.v1.worker.cpu_worker",
)
"""What both processes need; importing them before the fork is the whole point."""


def main() -> None:
    """Import, arrange the fork, and go on as the ``vllm`` command."""
    gc.disable()
    os.register_at_fork(after_in_child=_let_go_of_the_port)
    _fork_instead_of_spawn()
    for module in SHARED:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    _ask_for_the_tile_unit()
    command = importlib.import_module("vllm.entrypoints.cli.main")
    gc.freeze()
    gc.enable()
    # At its end vLLM unfreezes and collects, for programs that live on. This one does not, and walking through half a
    # million imported objects several times takes seconds that a drain has to wait for.
    gc.unfreeze = lambda: None
    sys.argv[0] = "vllm"
    command.main()


def _fork_instead_of_spawn() -> None:
    """Let the CPU platform choose everything but the start method, which it sets in its configuration hook."""
    try:
        platform: Any = importlib.import_module("vllm.platforms.cpu").CpuPlatform
        configure = platform.check_and_update_config
    except (ImportError, AttributeError) as exc:
        print(f"greenctl: this vLLM starts the slow way: {exc}", file=sys.stderr)  # noqa: T201 - the engine's log
        return

    def configure_and_fork(cls: type, config: Any) -> None:  # noqa: ANN401, ARG001 - vLLM's own signature
        configure(config)
        os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "fork"

    platform.check_and_update_config = classmethod(configure_and_fork)


def _ask_for_the_tile_unit() -> None:
    """Ask the kernel for the tile unit (AMX) of Intel's processors, which a process may not use unasked.

    With vLLM 0.32.0 only the first matrix product that runs there asks, and attention uses it before that where the
    first prompt of a start has four tokens or fewer: SIGILL in ``cpu_attention_with_kv_cache``, seen with bfloat16 on
    Sapphire Rapids. What is granted holds for forked processes too (``ARCH_REQ_XCOMP_PERM`` in the kernel's
    Documentation/arch/x86/xstate.rst).
    """
    with contextlib.suppress(ImportError, AttributeError):
        importlib.import_module("torch").cpu._init_amx()  # noqa: SLF001 - it has no public name


def _let_go_of_the_port() -> None:
    """Close the server's socket in a forked child, or a dead server's port would still take connections.

    The number is kept and points at nothing: the objects that the child inherited may close it once more.
    """
    port = next((int(b) for a, b in itertools.pairwise(sys.argv) if a == "--port"), None)
    for number in [int(entry.name) for entry in Path("/dev/fd").iterdir()]:
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(number).st_mode) and _is_bound_to(number, port):
                nothing = os.open(os.devnull, os.O_RDWR)
                os.dup2(nothing, number, inheritable=False)
                os.close(nothing)


def _is_bound_to(number: int, port: int | None) -> bool:
    copy = socket.socket(fileno=os.dup(number))
    with copy:
        return copy.family in {socket.AF_INET, socket.AF_INET6} and copy.getsockname()[1] == port


if __name__ == "__main__":
    main()
