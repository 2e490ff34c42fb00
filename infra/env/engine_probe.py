"""Ask the engine's environment what it really holds; run with that environment's own Python.

Prints one JSON object.  ``setup.py`` judges it: this file only reports, so that the judgement can be tested without an
engine.  Importing vLLM takes five to ten seconds.
"""

from __future__ import annotations

import contextlib
import json
import sys
from importlib import metadata

import torch
import vllm
from vllm.platforms import current_platform


def facts() -> dict[str, object]:
    """Versions, the device that vLLM would run on, whether its compiled kernels load, and NVIDIA's distributions."""
    current_platform.import_kernels()  # logs and goes on when they do not load
    names = (distribution.metadata["Name"] for distribution in metadata.distributions())
    return {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "vllm": vllm.__version__,
        "device": current_platform.device_type,
        "kernels": hasattr(torch.ops._C, "init_cpu_memory_env"),  # noqa: SLF001 - the namespace that vLLM registers in
        "nvidia": sorted({name for name in names if name.lower().startswith("nvidia-")}),
    }


if __name__ == "__main__":
    # Imports may talk on standard output; only the answer belongs there.
    with contextlib.redirect_stdout(sys.stderr):
        answer = facts()
    print(json.dumps(answer))
