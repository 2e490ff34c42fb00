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

EnvValue = Annotated[str, forms.pattern(r"^[A-Za-z0-9_.,:/+-]{0,200}$", "a plain word (quote numbers)", "nobind")]


class FamilyBlock(Block):
    """Defaults for one family of accelerators."""

    args: dict[str, Any] = Field(default_factory=dict, description="Engine arguments; model.args of a service win.")
    env: dict[
        Annotated[
            str, forms.pattern(r"^(VLLM|OMP|MKL)_[A-Z0-9_]{1,60}$", "a variable of the engine", "OMP_NUM_THREADS")
        ],
        EnvValue | None,
    ] = Field(default_factory=dict, description="Environment of the engine; null: must not be set.")


class TemplateFile(Block):
    """A template file."""

    api_version: blocks.ApiVersion = Field(None, alias="apiVersion")
    kind: Annotated[str | None, forms.choice((KIND,))] = None
    name: blocks.ServiceName = None
    engine: Annotated[str | None, forms.choice((Engine.VLLM.value,))] = None
    families: dict[Annotated[str, forms.pattern(grammar.WORD_PATTERN, "the name of a family", "cpu")], FamilyBlock] = (
        Field(default_factory=dict)
    )


@dataclass(frozen=True, slots=True)
class FamilyDefaults:
    """Arguments and environment for one family, both sorted by name. A variable of ``None`` must not be set."""

    args: tuple[tuple[str, JsonScalar], ...]
    env: tuple[tuple[str, str | None], ...]


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
        if not _is_model(model.id):
            raise self._refuse("model.id", f"{show(model.id)} is not a model")
        try:
            own = {name: engine_args.read(name, value) for name, value in model.args}
        except Unreadable as error:
            raise self._refuse("model.args", error.message) from error
        return tuple(sorted({**dict(defaults), **own}.items()))

    def argv_for(self, model: ModelSpec, family: str) -> tuple[str, ...]:
        """Return what follows ``vllm serve``: the model, its served name, and one word per argument.

        Host, port and key are the caller's. Raises as :meth:`args_for` does.
        """
        flags = tuple(engine_args.flag(name, value) for name, value in self.args_for(model, family))
        return (model.id, f"--served-model-name={model.name}", *flags)

    def env_for(self, family: str) -> tuple[tuple[str, str | None], ...]:
        """Return the variables to set; ``None`` marks one that must not be set. Raises ``InvalidSpec``."""
        return self._family(family).env

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
    found, unsound = validate(TemplateFile, document)
    for key in ("kind", "name", "engine", "families"):
        if not getattr(found, key) and key not in unsound:
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
    return FamilyDefaults(tuple(sorted(args.items())), tuple(sorted(block.env.items())))


def _is_model(identity: str) -> bool:
    """Whether the id can stand as a word of its own: no option, and nothing that a reader of a log would not see."""
    return bool(identity) and not identity.startswith("-") and identity.isprintable()
