"""A SkyPilot task as a document that a person can read, copy, and run with ``sky launch``."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

if TYPE_CHECKING:
    from orchestrator.provisioners.skypilot.task import SkyTask

FILES = "files"
"""The folder, beside the task's own file, where what it carries to the machine is."""

LAUNCH = "launch.json"


def document(task: SkyTask) -> dict[str, Any]:
    """Return the task with its mounts; the paths of our files are beside the task's own."""
    mounts = {str(remote): source for remote, source in (task.config.get("file_mounts") or {}).items()}
    mounts |= {remote: str(local) for remote, local in task.uploads.items()}
    mounts |= {
        remote: f"./{FILES}/{name_of(remote)}" for remote in (*task.files, task.key_path, task.secrets_path) if remote
    }
    return {**task.config, **({"file_mounts": mounts} if mounts else {})}


def name_of(remote: str) -> str:
    """Return the last part of a remote path."""
    return remote.rpartition("/")[2]


def text(task: SkyTask) -> str:
    """Write the document as YAML, and behind it, as comments, what the machine is told to start.

    Plain ASCII without controls: whatever somebody wrote into the file, a terminal shows it and does nothing else.
    """
    lines = [as_yaml(document(task)).rstrip("\n")]
    launch = next((content for remote, content in task.files.items() if name_of(remote) == LAUNCH), "")
    if launch:
        lines += [f"# ./{FILES}/{LAUNCH}, which our own program on the machine reads:"]
        lines += [f"# {line}" for line in launch.splitlines()]
    return "\n".join(lines) + "\n"


def as_yaml(value: Mapping[str, Any]) -> str:
    """Write plain data in block style, keys in the order that they have."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.allow_unicode = False
    yaml.width = 4096
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # ruamel's stub says None
    out = io.StringIO()
    yaml.dump(json.loads(json.dumps(value)), out)
    return out.getvalue()
