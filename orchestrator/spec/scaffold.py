"""First files for ``greenctl init``: a service that runs on this machine, its policy, and schemas for the editor."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from orchestrator.errors import DiskFull, InvalidSpec, Problem, UsageError, WouldOverwrite
from orchestrator.spec import grammar
from orchestrator.spec.grammar import Unreadable
from orchestrator.spec.schema import policy_schema, schema_text, service_schema

# The two placeholders take checked names in quotes: no other text of a user goes into these files.
_SERVICE = """\
# yaml-language-server: $schema=./service.schema.json
#
# One service.  What it says is what greenctl keeps true; everything that is not said has a sensible default.
#   greenctl validate service.yaml    check this file, contact nothing
#   greenctl plan service.yaml        show where replicas would go, and why
#   greenctl deploy service.yaml      show the plan, ask, do it
apiVersion: greenctl/v1
name: {name}

model:
  id: {model}
  # A hub id (owner/name), or a path that begins with ./ (beside this file) or /.
  # engine: builtin              # answers without a model, to try everything out quickly
  # served_name: chat            # what clients write in "model"; by default the id
  # args: {{max_model_len: 2048}}  # vLLM's own flags, with underscores

# Everything that SkyPilot knows keeps its name and place: resources, service, envs, file_mounts, setup, run.
# Without accelerators a replica runs on processors, as on this machine.
service:
  replicas: 1
  readiness_probe: {{path: /health, initial_delay_seconds: 600}}   # how long a start may take

placement:
  allow: [local/*]               # this machine's regions, each on another grid: local/se, local/de, local/us-mida-pjm
  # residency: [EU]              # only regions that lie there
  # max_per_region: 1
  # home: local/de               # where it would run without greenctl; savings are reported against it

carbon:
  max_age: 90m                   # older numbers count as stale
  when_stale: hold               # hold | forecast | static | ignore

policy:
  use: ./policy.yaml             # or a shipped one: greenctl policy show lists them
  # set: {{max_extra_cost: 10%}}

migration:
  min_dwell: 2h                  # a replica stays at least that long
  min_improvement: 3%            # a move must save that much, besides what it costs
  max_moves_per_day: 6
  # schedule: {{time_zone: Europe/Paris, windows: [{{days: [mon-fri], from: "02:00", to: "05:00"}}]}}   # only then
  canary: [10%, 50%, 100%]       # how traffic shifts to a new replica
  drain: 120s                    # how long running answers may finish at the old one
  abort_if: {{error_rate: 1%}}

gateway:
  retries: 2
  # resume_streams: true         # a broken stream goes on at another replica, and the answer says so

report:
  functional_unit: 1000 output tokens
  # labels: {{team: assistants}}
"""

_POLICY = """\
# yaml-language-server: $schema=./policy.schema.json
apiVersion: greenctl/v1
kind: Policy
name: {name}
description: The cleanest region that costs at most 15 % more than the cheapest one.

objective: greenest              # greenest | cheapest
max_extra_cost: 15%              # above the cheapest that is allowed and carries the load, or unlimited
# price_cap: 0.35                # US dollars per hour of one replica
horizon: 96h                     # emissions are compared over the coming four days
"""


def scaffold(directory: Path, name: str, model_id: str, *, force: bool = False) -> list[Path]:
    """Write ``service.yaml``, ``policy.yaml`` and their schemas; returns the paths, in that order.

    A relative model path is relative to the working directory, as on any command line. Without ``force`` nothing is
    written when any of the files is there already (``WouldOverwrite``). Raises ``InvalidSpec`` for a name or model that
    a service file could not have, ``UsageError`` or ``DiskFull`` when writing fails.
    """
    model = _from_folder(model_id, directory)
    texts = {
        "service.yaml": _SERVICE.format(name=_quoted("name", name), model=_quoted("model.id", model)),
        "policy.yaml": _POLICY.format(name=_quoted("name", f"{name[:33].rstrip('-')}-policy")),
        "service.schema.json": schema_text(service_schema()),
        "policy.schema.json": schema_text(policy_schema()),
    }
    paths = [directory / file for file in texts]
    present = [path for path in paths if os.path.lexists(path)]
    if present and not force:
        raise WouldOverwrite(
            f"{', '.join(str(path) for path in present)} {'is' if len(present) == 1 else 'are'} there already"
        )
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for path, text in zip(paths, texts.values(), strict=True):
            _write(path, text)
    except OSError as error:
        words = f"cannot write into {directory}: {error.strerror or error}"
        raise (DiskFull if error.errno == errno.ENOSPC else UsageError)(words) from error
    return paths


def _from_folder(model_id: str, directory: Path) -> str:
    """Rewrite a model path that is relative to the working directory as one relative to the file's folder."""
    if not model_id.startswith("."):
        return model_id
    path = os.path.relpath(model_id, directory)
    return path if path.startswith("../") else f"./{path}"


def _quoted(path: str, value: str) -> str:
    """Return a checked name in YAML quotes: ``true`` and ``null`` are names, too."""
    try:
        checked = grammar.model_id(value) if path == "model.id" else grammar.service_name(value)
    except Unreadable as error:
        raise InvalidSpec("service.yaml", (Problem(path, error.message, suggestion=error.suggestion),)) from error
    return f'"{checked}"'


def _write(path: Path, text: str) -> None:
    """Replace the file as a whole, so that no half of it is ever seen; a link is replaced, not followed."""
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    with beside.open("x", encoding="utf-8") as stream:
        stream.write(text)
    beside.replace(path)
