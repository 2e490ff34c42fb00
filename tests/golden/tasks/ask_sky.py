"""Ask the real SkyPilot about tasks; a program of its own, because importing SkyPilot takes seconds and reads HOME.

Standard input: a JSON list of task configurations. Standard output, last line: ``tasks``, for each what SkyPilot
understood of it, or ``refused`` with its words; ``clouds``, all that it knows; ``without_images``, those that run no
containers.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def main() -> None:
    """Answer for all of them."""
    from sky.utils import registry  # noqa: PLC0415 - seconds, and only here

    clouds = {str(name): cloud for name, cloud in registry.CLOUD_REGISTRY.items()}
    answer = {
        "tasks": [_understood(config) for config in json.load(sys.stdin)],
        "clouds": sorted(clouds),
        "without_images": sorted(name for name, cloud in clouds.items() if not _runs_images(cloud)),
    }
    sys.stdout.write(json.dumps(answer) + "\n")


def _runs_images(cloud: Any) -> bool:
    """Whether a container is among what it can do; the least that is asked of a machine is said by no resources."""
    import sky  # noqa: PLC0415
    from sky.clouds.cloud import CloudImplementationFeatures as Features  # noqa: PLC0415

    try:
        lacks = cloud._unsupported_features_for_resources(sky.Resources())
    except ImportError:  # Kubernetes asks its cluster; what no cluster has is in the class
        lacks = cloud._CLOUD_UNSUPPORTED_FEATURES
    return Features.DOCKER_IMAGE not in lacks


def _understood(config: dict[str, Any]) -> dict[str, Any]:
    import sky  # noqa: PLC0415 - seconds, and only here
    from sky.utils import common_utils, schemas  # noqa: PLC0415

    try:
        common_utils.validate_schema(config, schemas.get_task_schema(), "task: ")
        common_utils.validate_schema(config["resources"], schemas.get_resources_schema(), "resources: ")
        task = sky.Task.from_yaml_config(json.loads(json.dumps(config)))
    except Exception as error:  # noqa: BLE001 - SkyPilot raises many kinds; all of them are told
        return {"refused": f"{type(error).__name__}: {error}"}
    (resources,) = task.resources
    return {
        "cloud": str(resources.cloud).lower(),
        "region": resources.region,
        "zone": resources.zone,
        "instance_type": resources.instance_type,
        "accelerators": resources.accelerators,
        "cpus": resources.cpus,
        "memory": resources.memory,
        "use_spot": resources.use_spot,
        "image_id": resources.image_id,
        "disk_size": resources.disk_size,
        "ports": resources.ports,
        "labels": resources.labels,
        "max_hourly_cost": resources.max_hourly_cost,
        "setup": task.setup,
        "run": task.run,
        "envs": task.envs,
        "secrets": sorted(task.secrets or {}),
    }


if __name__ == "__main__":
    main()
