"""The process that asks SkyPilot's optimizer: JSON on standard input, JSON on standard output.

It runs with a ``HOME`` of its own, in which the catalogues lie and the clouds are marked as enabled, so that nothing is
contacted and nobody's SkyPilot is touched. In SkyPilot 0.14.1 that is ``sky.optimizer``, ``sky.check`` and
``sky.global_user_state``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from typing import Any


def optimise(question: Mapping[str, Any]) -> dict[str, object]:
    """Ask twice. ``question``: ``clouds`` and ``resources``, any one of which will do."""
    started = time.perf_counter()
    import sky  # noqa: PLC0415  # seconds, and they are measured
    from sky import check, global_user_state, optimizer  # noqa: PLC0415
    from sky.clouds import cloud  # noqa: PLC0415
    from sky.utils.registry import CLOUD_REGISTRY  # noqa: PLC0415

    import_seconds = time.perf_counter() - started
    names = [repr(CLOUD_REGISTRY.from_str(name)) for name in question["clouds"]]
    for capability in cloud.ALL_CAPABILITIES:
        global_user_state.set_enabled_clouds(names, capability, "default")
    global_user_state.set_allowed_clouds(check._get_workspace_allowed_clouds("default"), "default")  # noqa: SLF001

    def ask() -> Any:  # noqa: ANN401  # a sky.Resources
        with sky.Dag() as dag:
            task = sky.Task(name="bench", run="true")
            task.set_resources({sky.Resources(**wanted) for wanted in question["resources"]})
        optimizer.Optimizer.optimize(dag, minimize=sky.OptimizeTarget.COST, quiet=True)
        return task.best_resources

    first = time.perf_counter()
    best = ask()
    again = time.perf_counter()
    ask()
    end = time.perf_counter()
    return {
        "version": sky.__version__,
        "cloud": str(best.cloud).lower(),
        "region": best.region,
        "instance_type": best.instance_type,
        "accelerators": dict(best.accelerators or {}),
        "use_spot": bool(best.use_spot),
        "usd_per_hour": float(best.get_cost(3600)),
        "import_seconds": import_seconds,
        "first_seconds": again - first,
        "again_seconds": end - again,
    }


def main() -> int:
    """Answer one question."""
    question = json.load(sys.stdin)
    answer_to = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # SkyPilot talks on standard output
    try:
        answer = optimise(question)
    except Exception as error:  # noqa: BLE001  # whatever it is, it is the answer
        answer = {"error": f"{type(error).__name__}: {error}"}
    with answer_to:
        json.dump(answer, answer_to)
    return 0


if __name__ == "__main__":
    sys.exit(main())
