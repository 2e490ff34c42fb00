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
from orchestrator.spec.blocks import Block
from orchestrator.spec.files import read_text
from orchestrator.spec.grammar import Unreadable
from orchestrator.spec.problems import in_order, validate
from orchestrator.spec.words import listed, nearest, show
from orchestrator.spec.yaml_tree import Document, read

KIND = "EngineTemplate"
ACCELERATOR_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
PINNED_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}==[A-Za-z0-9][A-Za-z0-9.+!_-]{0,31}$"
IMAGE_PATTERN = r"^docker:[a-z0-9][a-z0-9._/-]{0,127}:[A-Za-z0-9._-]{1,63}$"
CPU_FAMILY = "cpu"


class FamilyBlock(Block):
    """Defaults for one family of accelerators."""

    args: dict[str, Any] = Field(default_factory=dict, description="Engine arguments; model.args of a service win.")
    accelerators: list[Annotated[str, forms.pattern(ACCELERATOR_PATTERN, "an accelerator", "H100")]] = Field(
        default_factory=list, description="As SkyPilot names them; none for a family of processors."
    )
    packages: list[Annotated[str, forms.pattern(PINNED_PATTERN, "a pinned package", "vllm==0.32.0")]] = Field(
        default_factory=list, description="What is installed on the machine."
    )
    image: Annotated[str | None, forms.pattern(IMAGE_PATTERN, "a container image", "docker:org/name:tag")] = Field(
        None, description="A container that has the engine."
    )
    quantizations: list[str] = Field(default_factory=list, description="Values of args.quantization that run here.")


class TemplateFile(Block):
    """A template file."""

    api_version: blocks.ApiVersion = Field(None, alias="apiVersion")
    kind: Annotated[str | None, forms.choice((KIND,))] = None
    name: blocks.ServiceName = None
    engine: Annotated[str | None, forms.choice((Engine.VLLM.value,))] = None
    families: dict[Annotated[str, forms.pattern(grammar.NAME_PATTERN, "the name of a family", "cpu")], FamilyBlock] = (
        Field(default_factory=dict)
    )


@dataclass(frozen=True, slots=True)
class FamilyDefaults:
    """Arguments for one family, sorted by name, and how the engine gets there."""

    args: tuple[tuple[str, JsonScalar], ...]
    accelerators: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    image: str | None = None
    quantizations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EngineTemplate:
    """How one engine is started, by family of accelerators."""

    name: str
    engine: Engine
    families: tuple[tuple[str, FamilyDefaults], ...]

    def args_for(self, model: ModelSpec, family: str) -> tuple[tuple[str, JsonScalar], ...]:
        """Return the arguments in force: the family's defaults, overridden by the model's own; sorted by name.

        Raises ``InvalidSpec`` for an unknown family, another engine's model, or an argument outside the allow-list.
        """
        defaults = self._family(family).args
        if model.engine is not self.engine:
            raise self._refuse("model.engine", f"{model.engine} is not what this template starts")
        try:
            own = {name: engine_args.read(name, value) for name, value in model.args}
        except Unreadable as error:
            raise self._refuse("model.args", error.message) from error
        wanted, known = own.get("quantization"), self._family(family).quantizations
        if wanted is not None and known and wanted not in known:
            message = f"{wanted} does not run on {family}: {listed(known)} do"
            raise self._refuse("model.args.quantization", message)
        return tuple(sorted({**dict(defaults), **own}.items()))

    def family_of(self, accelerator: str | None) -> str:
        """Return the family that an accelerator belongs to. Raises ``InvalidSpec`` that names those that are known."""
        if accelerator is None:
            return CPU_FAMILY
        for name, family in self.families:
            if accelerator.casefold() in {known.casefold() for known in family.accelerators}:
                return name
        known = sorted(a for _, family in self.families for a in family.accelerators)
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
    return EngineTemplate(found.name or Path(file).stem, Engine(found.engine or Engine.VLLM), families)


def _defaults(family: str, block: FamilyBlock, document: Document) -> FamilyDefaults:
    args: dict[str, JsonScalar] = {}
    for name, value in block.args.items():
        try:
            args[name] = engine_args.read(name, value)
        except Unreadable as error:
            path = ("families", family, "args", name)
            document.problems.append(document.problem(path, error.message, error.suggestion))
    return FamilyDefaults(
        args=tuple(sorted(args.items())),
        accelerators=tuple(block.accelerators),
        packages=tuple(block.packages),
        image=block.image,
        quantizations=tuple(block.quantizations),
    )
