"""Start the builtin engine: ``python -m orchestrator.provisioners.local.builtin_engine --port 8000``.

The key comes in ``VLLM_API_KEY``, as for vLLM. Arguments that vLLM knows and we do not are named and ignored.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from aiohttp import web

from orchestrator import __version__
from orchestrator.provisioners.local.builtin_engine.app import BuiltinEngine, Settings
from orchestrator.provisioners.local.builtin_engine.faults import VARIABLE, FaultFile, Faults, parse_faults


def main() -> int:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="greenctl-builtin-engine", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--served-model-name", default="builtin")
    parser.add_argument("--max-model-len", type=int, default=4096)
    parser.add_argument("--max-num-seqs", type=int, default=64)
    parser.add_argument("--tokens-per-second", type=float, default=200.0, help="pace of one answer; 0: no pause")
    parser.add_argument("--first-token-seconds", type=float, default=0.01)
    parser.add_argument("--shutdown-timeout", type=float, default=0.0, help="seconds for running answers")
    parser.add_argument("--fault-file", type=Path, default=None)
    options, ignored = parser.parse_known_args()
    say("this engine has no model: its text is made up of words from a list")
    if ignored:
        say(f"ignored arguments: {' '.join(ignored)}")
    faults = parse_faults(os.environ.get(VARIABLE, ""))
    fault_file = FaultFile(faults, options.fault_file)
    misbehave_at_start(fault_file.now())
    settings = Settings(
        model=options.served_model_name,
        api_key=os.environ.get("VLLM_API_KEY", ""),
        version=__version__,
        max_model_len=options.max_model_len,
        max_num_seqs=options.max_num_seqs,
        tokens_per_second=options.tokens_per_second,
        first_token_seconds=options.first_token_seconds,
    )
    asyncio.run(serve(settings, fault_file, options.host, options.port, options.shutdown_timeout))
    return 0


async def serve(settings: Settings, faults: FaultFile, host: str, port: int, shutdown_timeout: float) -> None:
    """Answer until told to end, then end as vLLM does."""
    engine = BuiltinEngine(settings, faults)
    told = asyncio.Event()

    def end() -> None:
        if not faults.now().ignore_sigterm:
            told.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    runner = web.AppRunner(engine.application(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        say(f"listening on {host}:{port}")
        await told.wait()
        say("told to end")
        await engine.close(shutdown_timeout)
    finally:
        await runner.cleanup()
    say("done")


def misbehave_at_start(faults: Faults) -> None:
    """Be slow, leave a child behind, or fail."""
    if faults.stray_child:
        subprocess.Popen(("/bin/sleep", "300"), env={}, start_new_session=True, stdin=subprocess.DEVNULL)
    if faults.start_delay_seconds:
        time.sleep(faults.start_delay_seconds)
    if faults.exit_at_start is not None:
        say("RuntimeError: fault on demand: cannot start")
        sys.exit(faults.exit_at_start)


def say(text: str) -> None:
    """Write one line to the log."""
    print(f"builtin engine: {text}", file=sys.stderr, flush=True)  # noqa: T201 - the log is our standard error


if __name__ == "__main__":
    sys.exit(main())
