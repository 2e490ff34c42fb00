"""The policy and template files that come with greenctl.

``policies`` and ``task_templates`` stand at the top of the source tree, where people look for them; links beside this
module lead there, and the wheel carries the files themselves in the links' place. So there is one way to find them.
"""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).parent
POLICIES = _HERE / "policies"
TEMPLATES = _HERE / "task_templates"


def names(folder: Path) -> tuple[str, ...]:
    """Return the names of the YAML files in a shipped folder, sorted."""
    return tuple(sorted(path.stem for path in folder.glob("*.yaml")))
