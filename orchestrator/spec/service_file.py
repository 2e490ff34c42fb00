"""Service files: from YAML to a :class:`~orchestrator.domain.service.ServiceSpec`, or every problem at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.domain.service import Policy, ServiceSpec
from orchestrator.errors import InvalidSpec, Problem
from orchestrator.spec import checks, grammar, shipped, to_domain
from orchestrator.spec.blocks import PolicyBlock
from orchestrator.spec.checks import Finding
from orchestrator.spec.codec import spec_digest
from orchestrator.spec.files import read_text
from orchestrator.spec.grammar import Unreadable
from orchestrator.spec.policy_file import KIND, as_problems, override, resolve_policy
from orchestrator.spec.problems import in_order, render_problems, validate
from orchestrator.spec.service_model import ServiceFile
from orchestrator.spec.sky_task import TASK_KEYS
from orchestrator.spec.yaml_tree import Document, read

__all__ = ["LoadedSpec", "load_service_file", "parse_service", "render_problems"]


@dataclass(frozen=True, slots=True)
class LoadedSpec:
    """A spec, its digest (12 hex digits of SHA-256 over its canonical JSON) and the text it came from.

    ``notes``: what the file says and this version does not act upon; worth a line to whoever deploys it.
    """

    spec: ServiceSpec
    digest: str
    yaml_text: str
    notes: tuple[Problem, ...] = ()


def load_service_file(path: Path, *, name: str | None = None) -> LoadedSpec:
    """Read a service file; ``name`` overrides its own, as ``sky serve up -n`` does. Raises ``InvalidSpec``.

    Relative paths in the file (a model, a policy) are relative to the file's folder.
    """
    text = read_text(path, str(path))
    return parse_service(text, str(path), base=path.absolute().parent, name=name)


def parse_service(text: str, file: str, *, base: Path | None = None, name: str | None = None) -> LoadedSpec:
    """Read a service from text; ``file`` is its name in messages. Raises ``InvalidSpec`` with every problem.

    Nothing is contacted; of the disk, only the policy file that ``policy.use`` names is read. Without ``base`` a
    relative model path stays as it is.
    """
    document = read(text, file, TASK_KEYS - {"name"})
    if document.data.get("kind") == KIND:
        place = document.problem(("kind",), "this is a policy file. Name it in a service file, under policy.use")
        raise InvalidSpec(file, (place,))
    found = validate(ServiceFile, document)
    templates = shipped.names(shipped.TEMPLATES)
    _note(document, checks.check(found, document.data, templates))
    final_name = _name(found, document, name)
    policy = _policy(found.policy, document, base)
    _note(document, checks.about_the_policy(found, policy))
    if document.problems:
        raise InvalidSpec(file, in_order(document.problems))
    spec = to_domain.service_spec(found, document.data, final_name, policy, base)
    notes = tuple(document.problem(n.path, n.message, at_key=n.at_key) for n in checks.notes(found, document.data))
    return LoadedSpec(spec, spec_digest(spec), text, in_order(notes))


def _note(document: Document, findings: Iterable[Finding]) -> None:
    document.problems.extend(
        document.problem(f.path, f.message, f.suggestion, at_key=f.at_key)
        for f in findings
        if not document.has_its_problem(f.path)
    )


def _name(found: ServiceFile, document: Document, given: str | None) -> str:
    if given is not None:
        try:
            return grammar.service_name(given)
        except Unreadable as error:
            document.problems.append(Problem("name", error.message, suggestion=error.suggestion))
    elif found.name is None:
        _note(document, [Finding(("name",), "missing. Write name: my-service", at_key=True)])
    return found.name or ""


def _policy(block: PolicyBlock | None, document: Document, base: Path | None) -> Policy:
    """Resolve ``policy.use`` and apply ``policy.set``; problems go into the document."""
    default = Policy()
    use = (block.use if block else None) or default.name
    try:
        policy = resolve_policy(use, base)
    except Unreadable as error:
        _note(document, [Finding(("policy", "use"), error.message, error.suggestion)])
        return default
    except InvalidSpec as error:
        _note(document, [Finding(("policy", "use"), line) for line in as_problems(error)])
        return default
    if block is None or block.overrides is None:
        return policy
    try:
        return override(policy, block.overrides)
    except Unreadable as error:
        _note(document, [Finding(("policy", "set"), error.message)])
        return policy
