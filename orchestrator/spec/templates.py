"""Engine templates: how an engine is started on each family of accelerators, as typed data.

A command line is built as a tuple of words, never as text for a shell: no value can become an option, a second command
or an expansion.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from orchestrator.domain.service import Engine, JsonScalar, ModelSpec
from orchestrator.errors import InvalidSpec, Problem
from orchestrator.spec import blocks, engine_args, forms, grammar, shipped
from orchestrator.spec.block import Block
from orchestrator.spec.files import read_text
from orchestrator.spec.grammar import Unreadable
from orchestrator.spec.problems import in_order, validate
from orchestrator.spec.words import Path as KeyPath
from orchestrator.spec.words import listed, nearest, show
from orchestrator.spec.yaml_tree import Document, read

KIND = "EngineTemplate"
ACCELERATOR_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
PINNED_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}==[A-Za-z0-9][A-Za-z0-9.+!_-]{0,31}$"
IMAGE_PATTERN = r"^docker:[a-z0-9][a-z0-9._/-]{0,127}:[A-Za-z0-9._-]{1,63}$"
REASON_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9 .,:()/+_-]{0,199}$"
CPU_FAMILY = "cpu"
DISK_GIB = 256
"""SkyPilot's own default (``sky.resources._DEFAULT_DISK_SIZE_GB``, 0.14.1)."""

Accelerator = Annotated[str, forms.pattern(ACCELERATOR_PATTERN, "an accelerator", "H100")]


class FamilyBlock(Block):
    """Defaults for one family of accelerators."""

    args: dict[str, Any] = Field(default_factory=dict, description="Engine arguments; model.args of a service win.")
    accelerators: list[Accelerator] = Field(
        default_factory=list, description="As SkyPilot names them; none for a family of processors."
    )
    chips: dict[Accelerator, Annotated[int, forms.whole(1, 64)]] = Field(
        default_factory=dict, description="Devices that the engine sees in one accelerator, where it is not 1."
    )
    packages: list[Annotated[str, forms.pattern(PINNED_PATTERN, "a pinned package", "vllm==0.32.0")]] = Field(
        default_factory=list, description="What is installed on the machine."
    )
    image: Annotated[str | None, forms.pattern(IMAGE_PATTERN, "a container image", "docker:org/name:tag")] = Field(
        None, description="A container that has the engine."
    )
    disk_gib: Annotated[int | None, forms.whole(50, 65_536)] = Field(None, description="GiB of disk. Default 256.")
    runs: dict[str, list[Any]] = Field(
        default_factory=dict,
        description="Values of arguments that run here, where not all do; an empty list: nothing here knows it.",
    )


class TemplateFile(Block):
    """A template file."""

    api_version: blocks.ApiVersion = Field(None, alias="apiVersion")
    kind: Annotated[str | None, forms.choice((KIND,))] = None
    name: blocks.ServiceName = None
    engine: Annotated[str | None, forms.choice((Engine.VLLM.value,))] = None
    families: dict[Annotated[str, forms.pattern(grammar.NAME_PATTERN, "the name of a family", "cpu")], FamilyBlock] = (
        Field(default_factory=dict)
    )
    unsupported: dict[Accelerator, Annotated[str, forms.pattern(REASON_PATTERN, "a reason", "it has no kernels")]] = (
        Field(
            default_factory=dict,
            description="Accelerators that people ask for, and why the engine has no use for them.",
        )
    )


@dataclass(frozen=True, slots=True)
class FamilyDefaults:
    """Arguments for one family, sorted by name, how the engine gets there, and what of its arguments runs there.

    ``chips``: devices in one accelerator, where it is not 1. ``runs``: by argument the values that run, where not all
    do.
    """

    args: tuple[tuple[str, JsonScalar], ...]
    accelerators: tuple[str, ...] = ()
    chips: tuple[tuple[str, int], ...] = ()
    packages: tuple[str, ...] = ()
    image: str | None = None
    disk_gib: int = DISK_GIB
    runs: tuple[tuple[str, tuple[JsonScalar, ...]], ...] = ()

    def devices(self, accelerator: str | None, count: int) -> int:
        """Return how many devices the engine sees; 0 on processors."""
        if accelerator is None:
            return 0
        chips = {name.casefold(): number for name, number in self.chips}
        return count * chips.get(accelerator.casefold(), 1)

    def does_not_run(self, name: str, value: JsonScalar) -> str:
        """Say why an argument's value has no place here; empty when it has."""
        known = dict(self.runs)
        if name not in known or value in known[name]:
            return ""
        return f"{listed(str(v) for v in known[name])} do" if known[name] else "nothing there knows it"


@dataclass(frozen=True, slots=True)
class EngineTemplate:
    """How one engine is started, by family of accelerators."""

    name: str
    engine: Engine
    families: tuple[tuple[str, FamilyDefaults], ...]
    unsupported: tuple[tuple[str, str], ...] = ()

    def args_for(self, model: ModelSpec, family: str) -> tuple[tuple[str, JsonScalar], ...]:
        """Return the arguments in force: the family's defaults, overridden by the model's own; sorted by name.

        Raises ``InvalidSpec`` for an unknown family, another engine's model, an argument outside the allow-list, a
        value that the family's hardware does not run, or arguments that contradict each other.
        """
        defaults = self._family(family)
        if model.engine is not self.engine:
            raise self._refuse("model.engine", f"{model.engine} is not what this template starts")
        try:
            own = {name: engine_args.read(name, value) for name, value in model.args}
        except Unreadable as error:
            raise self._refuse("model.args", error.message) from error
        for name, value in own.items():
            if reason := defaults.does_not_run(name, value):
                raise self._refuse(f"model.args.{name}", self._elsewhere(name, value, family, reason))
        found = {**dict(defaults.args), **own}
        for name, message in engine_args.contradictions(found):
            raise self._refuse(f"model.args.{name}", message)
        return tuple(sorted(found.items()))

    def _elsewhere(self, name: str, value: JsonScalar, family: str, reason: str) -> str:
        """Say what does not run, what does in its place, and where it would."""
        others = [other for other, defaults in self.families if not defaults.does_not_run(name, value)]
        runs_on = f". It runs on {listed(others)}" if others else ""
        return f"{name} {value} does not run on {family}: {reason}{runs_on}"

    def family_of(self, accelerator: str | None) -> str:
        """Return the family that an accelerator belongs to. Raises ``InvalidSpec`` that names those that are known."""
        if accelerator is None:
            return CPU_FAMILY
        for name, family in self.families:
            if accelerator.casefold() in {known.casefold() for known in family.accelerators}:
                return name
        known = sorted(a for _, family in self.families for a in family.accelerators)
        for name, reason in self.unsupported:
            if accelerator.casefold() == name.casefold():
                raise self._refuse("families", f"{name}: {reason}. Choose one of {listed(known)}")
        message = f"{show(accelerator)} is not one of {listed(known)}"
        raise self._refuse("families", message, nearest(accelerator, known))

    def defaults_of(self, family: str) -> FamilyDefaults:
        """Return what a family says. Raises ``InvalidSpec``."""
        return self._family(family)

    def argv_for(self, model: ModelSpec, family: str) -> tuple[str, ...]:
        """Return the engine's flags, one word per argument (``--max-model-len=1024``).

        Program, model, served name, host, port and key are the caller's. Raises as :meth:`args_for` does.
        """
        return tuple(word for name, value in self.args_for(model, family) for word in engine_args.words(name, value))

    def _family(self, family: str) -> FamilyDefaults:
        known = dict(self.families)
        if family not in known:
            raise self._refuse("families", f"{show(family)} is not one of {listed(known)}", nearest(family, known))
        return known[family]

    def _refuse(self, path: str, message: str, suggestion: str | None = None) -> InvalidSpec:
        return InvalidSpec(f"{self.name}.yaml", (Problem(path, message, suggestion=suggestion),))


@lru_cache
def load_template(name: str) -> EngineTemplate:
    """Return a shipped template. Raises ``InvalidSpec`` when there is none of that name, or it is broken."""
    known = shipped.names(shipped.TEMPLATES)
    if name not in known:
        message = f"{show(name)} is not one of {listed(known)}"
        raise InvalidSpec("task_templates", (Problem("model.template", message, suggestion=nearest(name, known)),))
    path = shipped.TEMPLATES / f"{name}.yaml"
    return parse_template(read_text(path, path.name), path.name)


def parse_template(text: str, file: str) -> EngineTemplate:
    """Read a template from text. Raises ``InvalidSpec`` with every problem."""
    document = read(text, file)
    found = validate(TemplateFile, document)
    for key in ("kind", "name", "engine", "families"):
        if not getattr(found, key) and not document.has_its_problem((key,)):
            document.problems.append(document.problem((key,), "missing", at_key=True))
    families = tuple(sorted((name, _defaults(name, block, document)) for name, block in found.families.items()))
    if document.problems:
        raise InvalidSpec(file, in_order(document.problems))
    unsupported = tuple(sorted(found.unsupported.items()))
    return EngineTemplate(found.name or Path(file).stem, Engine(found.engine or Engine.VLLM), families, unsupported)


def _defaults(family: str, block: FamilyBlock, document: Document) -> FamilyDefaults:
    here: KeyPath = ("families", family)
    args = {name: _read((*here, "args", name), name, value, document) for name, value in block.args.items()}
    runs = {
        name: tuple(_read((*here, "runs", name, i), name, value, document) for i, value in enumerate(values))
        for name, values in block.runs.items()
    }
    for name in sorted(runs.keys() - engine_args.ARGS.keys()):
        path = (*here, "runs", name)
        if not document.has_its_problem(path):
            document.problems.append(document.problem(path, f"{show(name)} is not an engine argument", at_key=True))
    for name in sorted(block.chips.keys() - set(block.accelerators)):
        path = (*here, "chips", name)
        document.problems.append(document.problem(path, f"{show(name)} is not one of the accelerators", at_key=True))
    found = FamilyDefaults(
        args=tuple(sorted(args.items())),
        accelerators=tuple(block.accelerators),
        chips=tuple(sorted(block.chips.items())),
        packages=tuple(block.packages),
        image=block.image,
        disk_gib=block.disk_gib or DISK_GIB,
        runs=tuple(sorted(runs.items())),
    )
    for name, value in found.args:
        if reason := found.does_not_run(name, value):
            message = f"{value} does not run here: {reason}"
            document.problems.append(document.problem((*here, "args", name), message))
    return found


def _read(path: KeyPath, name: str, value: object, document: Document) -> JsonScalar:
    try:
        return engine_args.read(name, value)
    except Unreadable as error:
        at_key = name not in engine_args.ARGS
        document.problems.append(document.problem(path, error.message, error.suggestion, at_key=at_key))
        return None
