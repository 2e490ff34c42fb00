"""``model.variants`` and ``model.quality``: what else may answer under the model's name, and how well.

How well is nobody's to guess: each variant has its owner's own figure, and the words that say where it comes from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field, WithJsonSchema

from orchestrator.domain.service import MAIN
from orchestrator.spec import engine_args, forms, grammar
from orchestrator.spec.block import Block
from orchestrator.spec.forms import Form
from orchestrator.spec.grammar import Unreadable
from orchestrator.spec.words import Path, show

MODEL_SCHEMA = {
    "type": "string",
    "anyOf": [{"pattern": grammar.HUB_ID_PATTERN}, {"pattern": grammar.MODEL_PATH_PATTERN}],
    "examples": ["Qwen/Qwen3-8B", "./models/tiny"],
}
MOST_VARIANTS = 8
"""Each of them multiplies the offers that are weighed."""

SOURCE_PATTERN = r"^[^\x00-\x1f\x7f]{1,200}$"

Finding = tuple[Path, str, bool]
"""Where below ``model``, what, and whether the key is meant and not its value."""


class VariantBlock(Block):
    """Another model, or the same in other numbers, that may answer in the main model's place."""

    name: Annotated[str, forms.pattern(grammar.NAME_PATTERN, "the name of a variant", "fp8", "small")] = Field(
        description="How plans, reports and the header x-greenctl-variant call it."
    )
    id: Annotated[str | None, Form(grammar.model_id, MODEL_SCHEMA)] = Field(
        None, description="Hub id or path of its weights. Default: the main model's."
    )
    args: Annotated[dict[str, Any], WithJsonSchema(engine_args.schema())] = Field(
        default_factory=dict, description="Engine arguments that differ; the main model's hold beside them."
    )
    quality: Annotated[float | None, forms.number(0, 1, above=True)] = Field(
        None, description="Of its answers, relative to the main model's (1), by your own evaluation. Never assumed."
    )
    source: Annotated[str | None, forms.pattern(SOURCE_PATTERN, "one line of at most 200 characters")] = Field(
        None, description="Where that figure comes from, as it is shown with every plan."
    )
    serve_as_main: Annotated[bool | None, forms.flag()] = Field(
        None,
        description="Your word that it may answer under the main model's name; the header x-greenctl-variant says so.",
    )
    weights_gb: Annotated[float | None, forms.number(0, 100_000, above=True)] = Field(
        None, description="What a launch of it fetches, in GB (1e9 bytes). Default: by the size in its name."
    )
    memory_gib: Annotated[float | None, forms.number(0, 100_000, above=True)] = Field(
        None, description="Memory that it needs of a replica's accelerators together, KV cache included."
    )
    throughput: Annotated[float | None, forms.number(0.01, 100)] = Field(
        None, description="Its output tokens per second over the main model's on the same machine, as you measured it."
    )
    power: Annotated[float | None, forms.number(0.01, 100)] = Field(
        None, description="Its watts at full load over the main model's on the same machine, as you measured it."
    )


class QualityBlock(Block):
    """How much quality may be given up for what the policy minimises."""

    floor: Annotated[float | None, forms.number(0, 1)] = Field(
        None, description="No variant below it serves, so the mean over all answers is not below it either. Default 0."
    )
    price: Annotated[float | None, forms.number(0, 1_000_000)] = Field(
        None,
        description="US dollars, in a policy that weighs terms, per point (a hundredth) of quality lost and 1,000 "
        "output tokens. Default 0: the floor alone speaks.",
    )


def findings(
    variants: Sequence[VariantBlock], rules: QualityBlock | None, main_args: Mapping[str, object], *, takes_args: bool
) -> Iterator[Finding]:
    """Yield what is missing or contradicts itself. ``main_args``: the main model's; ``takes_args``: its engine does."""
    floor = 0.0 if rules is None or rules.floor is None else rules.floor
    names = [v.name for v in variants]
    for index, variant in enumerate(variants):
        where: Path = ("variants", index)
        if variant.name == MAIN:
            yield (*where, "name"), f"{show(MAIN)} is what the main model itself is called", False
        if variant.name in names[:index]:
            yield (*where, "name"), f"{show(variant.name)} is here twice", False
        yield from _consent(variant, where)
        if variant.quality is not None and variant.quality < floor:
            message = (
                f"{variant.quality:g} is below quality.floor {floor:g}: it would never serve. Remove one of the two"
            )
            yield (*where, "quality"), message, False
        if variant.id is None and not variant.args:
            yield where, "differs from the main model in nothing. Write its id or its args", True
        if variant.args and not takes_args:
            yield (*where, "args"), "the builtin engine takes no arguments", True
        else:
            yield from _args(variant, where, main_args)


def _consent(variant: VariantBlock, where: Path) -> Iterator[Finding]:
    name = variant.name
    if variant.quality is None:
        message = f"{name} has no quality. Write what your own evaluation says of it (0 to 1): none is assumed"
        yield (*where, "quality"), message, True
    if variant.source is None:
        yield (*where, "source"), f"{name}: say in a line where its quality comes from", True
    if not variant.serve_as_main:
        message = f"{name} would answer under the main model's name. Write serve_as_main: true if it may"
        yield (*where, "serve_as_main"), message, True


def _args(variant: VariantBlock, where: Path, main_args: Mapping[str, object]) -> Iterator[Finding]:
    for name, value in variant.args.items():
        try:
            engine_args.read(name, value)
        except Unreadable as error:
            words = f"{error.message}; did you mean {error.suggestion}?" if error.suggestion else error.message
            yield (*where, "args", name), words, name not in engine_args.ARGS
    for name, why in engine_args.contradictions({**main_args, **variant.args}):
        if name in variant.args:
            yield (*where, "args", name), why, True
