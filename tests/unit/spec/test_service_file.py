"""From the text of a service file to a spec."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import get_args

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from orchestrator.domain.service import (
    ClientArea,
    Engine,
    MigrationRules,
    Objective,
    PlacementRules,
    Policy,
    ServiceSpec,
    usual_horizon,
)
from orchestrator.errors import ExitStatus, InvalidSpec
from orchestrator.provisioners.skypilot.resources import KEPT
from orchestrator.provisioners.skypilot.task import CARRIED
from orchestrator.spec.schema import service_schema
from orchestrator.spec.service_file import LoadedSpec, load_service_file, parse_service, render_problems
from orchestrator.spec.service_model import ServiceFile
from orchestrator.spec.sky_task import TASK_KEYS, Passed, ResourcesBlock, ServiceBlock
from orchestrator.spec.yaml_tree import read

SHORTEST = "name: chat\nmodel: {id: greenctl/tiny}\n"
SCHEMA = Draft202012Validator(service_schema())


def spec(text: str) -> ServiceSpec:
    """The spec of the shortest file with something added."""
    return parse_service(SHORTEST + text, "service.yaml").spec


def problems(text: str) -> list[str]:
    """The rendered problems of a text as it is."""
    with pytest.raises(InvalidSpec) as caught:
        parse_service(text, "service.yaml")
    return render_problems(caught.value)


def only_problem(text: str) -> str:
    """The only problem of the shortest file with something added."""
    found = problems(SHORTEST + text)
    assert len(found) == 1, found
    return found[0]


def test_what_is_not_written_keeps_the_domains_defaults() -> None:
    """The defaults live in one place."""
    found = spec("")

    assert (found.placement, found.migration) == (PlacementRules(), MigrationRules())
    assert found == replace(ServiceSpec("chat", found.model), policy=found.policy, passthrough_json='{"name":"chat"}')


def own_keys(model: type[BaseModel] = ServiceFile, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key of ours below a file's top, lists left out: those are gone into by the tests of their blocks."""
    for name, field in model.model_fields.items():
        key = field.alias or name
        if not path and key in TASK_KEYS:
            continue
        yield (*path, key)
        for inner in (field.annotation, *get_args(field.annotation)):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                yield from own_keys(inner, (*path, key))


@pytest.mark.parametrize("path", [p for p in own_keys() if p != ("pool",)], ids=".".join)
def test_a_key_of_ours_without_a_value_is_refused(path: tuple[str, ...]) -> None:
    """Entries that are commented out leave ``residency:`` behind, and nobody means "anywhere" by that."""
    top = "".join(f"{line}\n" for line in SHORTEST.splitlines() if not line.startswith(path[0]))
    lines = [f"{'  ' * depth}{key}:" for depth, key in enumerate(path)]
    nested = [*lines[:-1], f"{lines[-1]}\n{'  ' * len(path)}# what was here is commented out"]
    place = f"{top.count(chr(10)) + len(path)}:{2 * len(path) - 1}"

    found = problems(top + "\n".join(nested) + "\n")
    assert f"service.yaml:{place}  {'.'.join(path)}: has no value. Write one, or remove the key." in found
    assert not SCHEMA.is_valid(read(top + "\n".join(nested), "s.yaml", TASK_KEYS).data)


def test_keys_of_an_entry_are_refused_without_a_value_as_well() -> None:
    """A window without its end would stay open until midnight."""
    found = problems(SHORTEST + "migration: {schedule: {windows: [{days: [mon], from: '02:00', to: }]}}\n")

    assert [line.partition("  ")[2] for line in found] == [
        "migration.schedule.windows[0].to: has no value. Write one, or remove the key."
    ]


def test_empty_blocks_say_nothing() -> None:
    """``{}`` is written on purpose; and SkyPilot's own keys are read as SkyPilot reads them."""
    assert spec("carbon: {}\nplacement: {}\nmigration: {}\nresources:\nservice:\n") == spec("")


@pytest.mark.parametrize(
    "same",
    [
        "{name: chat, model: {id: greenctl/tiny}}",
        "model:\n  id: 'greenctl/tiny'\nname: \"chat\"\n",
        "apiVersion: greenctl/v1\nname: chat\nmodel: {engine: vllm, id: greenctl/tiny, args: {}}\n",
        "name: chat\nmodel: {id: greenctl/tiny}\nmigration: {min_dwell: 120m, canary: [10%, 50%, 100%]}\n",
    ],
)
def test_equal_specs_have_equal_digests(same: str) -> None:
    """The digest names what the file means, not how it is written."""
    first = parse_service(SHORTEST, "a.yaml")

    assert parse_service(same, "b.yaml").digest == first.digest
    assert parse_service(SHORTEST + "carbon: {max_age: 80m}", "c.yaml").digest != first.digest


def test_problems_point_at_lines_and_columns_in_the_order_of_the_file() -> None:
    """An editor can jump to each of them."""
    text = SHORTEST + "carbon:\n  when_stale: use-forecast\nmigration:\n  min_dwell: 2 hours\n"

    assert problems(text) == [
        (
            'service.yaml:4:15  carbon.when_stale: "use-forecast" is not one of hold, forecast, static, ignore.'
            ' Did you mean "forecast"?'
        ),
        'service.yaml:6:14  migration.min_dwell: "2 hours" is not a duration. Write 2h.',
    ]


def test_an_unusable_file_is_an_invalid_spec_with_a_code_and_a_status() -> None:
    """Scripts see code and exit status, people the hint."""
    with pytest.raises(InvalidSpec) as caught:
        parse_service("name: chat", "service.yaml")

    error = caught.value
    assert (error.code, error.exit_status, error.file) == ("invalid_spec", ExitStatus.INVALID, "service.yaml")
    assert "nothing was contacted" in error.hint()


def test_a_name_from_outside_wins_and_is_checked(tmp_path: Path) -> None:
    """A SkyPilot file often has no name; the command line gives it one."""
    file = tmp_path / "sky.yaml"
    file.write_text("run: serve\n")

    assert load_service_file(file, name="mine").spec.name == "mine"
    with pytest.raises(InvalidSpec):
        load_service_file(file)
    with pytest.raises(InvalidSpec) as caught:
        load_service_file(file, name="Not Mine")
    assert caught.value.problems[0].suggestion == "not-mine"


def test_relative_paths_start_at_the_files_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The controller runs elsewhere, so a model beside the file becomes an absolute path; its last part is its name."""
    (tmp_path / "policy.yaml").write_text("kind: Policy\nname: mine\nobjective: cheapest\n")
    (tmp_path / "service.yaml").write_text("name: a\nmodel: {id: ./models/tiny}\npolicy: {use: ./policy.yaml}\n")
    monkeypatch.chdir(tmp_path)

    found = load_service_file(Path("service.yaml")).spec

    assert found.model.id == str(tmp_path / "models/tiny")
    assert found.model.name == "tiny"
    assert found.policy.name == "mine"


# ── a SkyPilot file ──────────────────────────────────────────────────────────────────────────────────


def test_a_plain_skypilot_file_gets_an_engine_that_we_do_not_start() -> None:
    """Its run command is neither read nor guessed at: the model stays unknown and the reader is told."""
    loaded = parse_service("name: sky\nrun: vllm serve Qwen/Qwen3-8B\n", "sky.yaml")

    assert (loaded.spec.model.engine, loaded.spec.model.id, loaded.spec.model.name) == (Engine.COMMAND, "", "sky")
    assert [n.path for n in loaded.notes] == ["run"]


def test_a_model_beside_run_says_what_is_served_and_nothing_more() -> None:
    """Engine, template and arguments would have no effect beside a script that starts the server itself."""
    found = parse_service("name: sky\nmodel: {id: a/b}\nrun: serve\n", "sky.yaml").spec.model
    refused = problems(
        "name: sky\nrun: serve\nmodel: {id: a/b, engine: vllm, template: vllm-openai, args: {seed: 1}}\n"
    )

    assert (found.engine, found.id) == (Engine.COMMAND, "a/b")
    assert [line.split()[1] for line in refused] == ["model.engine:", "model.template:", "model.args:"]
    assert all("no effect beside run" in line for line in refused)


def test_skypilots_part_is_carried_as_data_and_ours_is_not() -> None:
    """The passthrough is SkyPilot's file without our blocks, under the name in force."""
    found = parse_service(
        "name: x\nmodel: {id: a/b}\nsetup: |\n  echo \"$HOME\"\nenvs: {A: yes, B: 'no'}\ncarbon: {max_age: 1h}\n",
        "s.yaml",
        name="y",
    )

    assert found.spec.passthrough_json == '{"envs":{"A":true,"B":"no"},"name":"y","setup":"echo \\"$HOME\\"\\n"}'


def test_resources_become_what_the_planner_needs() -> None:
    """Accelerators in a stable order, lower bounds, market and place."""
    found = spec(
        "resources: {accelerators: [L40S:1, L4], cpus: 8+, memory: 32GB, use_spot: true, infra: aws/eu-west-1}"
    )

    assert [(a.name, a.count) for a in found.resources.accelerators] == [("L4", 1), ("L40S", 1)]
    assert (found.resources.min_vcpus, found.resources.min_memory_gib) == (8, 32)
    assert (found.resources.use_spot, found.resources.infra) == (True, "aws/eu-west-1")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("resources: {cloud: AWS}", "resources: {infra: aws}"),
        ("resources: {infra: GCP/europe-west4}", "resources: {infra: gcp/europe-west4}"),
        ("resources: {infra: K8s}", "resources: {infra: kubernetes}"),
        ("resources: {cloud: DigitalOcean, region: ams3}", "resources: {infra: do/ams3}"),
        ("placement: {allow: [AWS/eu-*]}", "placement: {allow: [aws/eu-*]}"),
        ("placement: {deny: ['AWS/*', k8s/*]}", "placement: {deny: [aws/*, kubernetes/*]}"),
        ("placement: {home: Azure/westeurope}", "placement: {home: azure/westeurope}"),
        (
            "model: {id: greenctl/tiny, weights_from: AWS/eu-north-1}",
            "model: {id: greenctl/tiny, weights_from: aws/eu-north-1}",
        ),
    ],
)
def test_a_provider_may_be_written_in_any_case(written: str, meant: str) -> None:
    """As SkyPilot takes it, with its other names; what was written otherwise denied nobody and found no offer."""
    top = "name: chat\n" if written.startswith("model") else SHORTEST
    found, other = (parse_service(f"{top}{text}\n", "s.yaml").spec for text in (written, meant))

    assert replace(found, passthrough_json=other.passthrough_json) == other


def test_a_region_that_is_denied_in_another_case_is_not_where_the_service_is_put() -> None:
    """Nobody has to know in which case a cloud writes its regions to keep away from them."""
    found = only_problem("resources: {infra: runpod/CA-MTL-1}\nplacement: {deny: [runpod/ca-*]}\n")

    assert "denies runpod/CA-MTL-1, where resources puts the service" in found
    assert "denied again" in only_problem("placement: {allow: [runpod/CA-MTL-1], deny: [runpod/ca-*]}\n")


def test_alternatives_of_places_become_allowed_regions() -> None:
    """any_of with a place in each entry says where the service may run; with placement.allow, where both say so."""
    places = "resources: {any_of: [{infra: aws/eu-north-1/a}, {cloud: gcp}, {region: eu-west-3}]}\n"

    assert spec(places).placement.allow == ("aws/eu-north-1", "gcp/*", "*/eu-west-3")
    assert spec(places + "placement: {allow: ['*/eu-*']}").placement.allow == (
        "aws/eu-north-1",
        "gcp/eu-*",
        "*/eu-west-3",
    )
    assert spec(places + "placement: {allow: [gcp/us-east1, aws/eu-*]}").placement.allow == (
        "aws/eu-north-1",
        "gcp/us-east1",
        "aws/eu-west-3",
    )
    assert "includes none of aws/eu-north-1, gcp/*, */eu-west-3" in only_problem(
        places + "placement: {allow: [azure/us-*]}"
    )
    assert spec("resources: {any_of: [{infra: aws}, {accelerators: L4}]}").placement.allow == ()
    (note,) = parse_service(SHORTEST + places, "s.yaml").notes
    assert "launched in the zones named" in note.message
    inherited = spec("resources: {cloud: aws, ordered: [{region: us-east-2}, {cloud: gcp, region: us-east1}]}")
    assert inherited.placement.allow == ("aws/us-east-2", "gcp/us-east1")


def test_an_alternative_overrides_what_stands_around_it() -> None:
    """As in SkyPilot: what the block says counts where an alternative is silent, and nowhere else."""
    found = spec(
        "resources: {accelerators: L4:1, memory: 32+, cpus: 4+, infra: gcp, any_of: "
        "[{infra: aws/eu-north-1, memory: 128+}, {region: eu-west-1, memory: 64, accelerators: A100:1}]}\n"
    )

    assert (found.resources.min_memory_gib, found.resources.min_vcpus) == (128.0, 4.0)
    assert [a.name for a in found.resources.accelerators] == ["A100", "L4"]
    assert found.placement.allow == ("aws/eu-north-1", "gcp/eu-west-1")
    only_spot_around = "resources: {use_spot: true, any_of: [{use_spot: false, infra: aws}]}\n"
    assert not spec(only_spot_around).resources.use_spot


def test_no_alternative_is_bought_smaller_than_it_is_written() -> None:
    """An L4 with 32 GiB is none of the two: the most counts for all, and a note says so."""
    text = "resources: {any_of: [{accelerators: 'L4:1', memory: 128+}, {accelerators: 'A100:1', memory: 32+}]}\n"
    loaded = parse_service(SHORTEST + text, "s.yaml")

    assert loaded.spec.resources.min_memory_gib == 128.0
    (note,) = loaded.notes
    assert note.message == "of cpus and memory the most that an alternative asks for holds for all of them"


@pytest.mark.parametrize(
    "text",
    [
        "{infra: aws/eu-north-1/eu-north-1a}",
        "{cloud: aws, region: eu-north-1, zone: eu-north-1a}",
        "{infra: aws/eu-north-1/eu-north-1a, any_of: [{cpus: 4+}, {cpus: 8+}]}",
        "{cloud: aws, any_of: [{region: eu-north-1, zone: eu-north-1a}]}",
    ],
)
def test_a_zone_is_part_of_the_place(text: str) -> None:
    """Under whichever of SkyPilot's names it stands."""
    assert spec(f"resources: {text}\n").resources.infra == "aws/eu-north-1/eu-north-1a"


def test_the_older_keys_may_leave_parts_of_a_place_out() -> None:
    """A zone alone says in which region it is; a star says nothing."""
    assert spec("resources: {cloud: aws, zone: eu-north-1a}\n").resources.infra == "aws/*/eu-north-1a"
    assert spec("resources: {infra: slurm/hpc1/preempt}\n").resources.infra == "slurm/hpc1/preempt"
    assert spec("resources: {infra: aws/eu-north-1/*}\n").resources.infra == "aws/eu-north-1/*"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("{infra: aws/eu-north-1/eun1-az1}", 'resources.infra: "eun1-az1" is the id of a zone. Write the name'),
        ("{cloud: aws, region: eu-north-1, zone: eun1-az1}", 'resources.zone: "eun1-az1" is the id of a zone'),
        ("{cloud: aws, any_of: [{zone: eun1-az1}]}", 'resources.any_of[0].zone: "eun1-az1" is the id of a zone'),
        ("{infra: aws/eu-north-1/eu-north-1*}", "write one zone, or none for any of the region's"),
        ("{infra: k8s/team/gpus}", "a context with a slash cannot be a region here"),
        ("{infra: aws/eu-north-1, zone: eu-north-1a}", "says the same as cloud, region and zone"),
        ("{infra: aws/eu-north-1/eu-north-1a}\nplacement: {deny: ['aws/*']}", "denies aws/eu-north-1, where resources"),
    ],
)
def test_a_zone_that_nobody_could_launch_in_is_refused(text: str, word: str) -> None:
    """SkyPilot takes names of zones, one of them."""
    assert word in "\n".join(problems(f"{SHORTEST}resources: {text}\n"))


@pytest.mark.parametrize(
    ("service", "low", "high"),
    [
        ("", 1, 1),
        ("service: {readiness_probe: /health}", 1, 1),
        ("service: {replicas: 3}", 3, 3),
        ("service: {replica_policy: {min_replicas: 2}}", 2, 2),
        ("service: {replica_policy: {min_replicas: 2, max_replicas: 5}}", 2, 5),
    ],
)
def test_replicas(service: str, low: int, high: int) -> None:
    """SkyServe's shorthand and its policy."""
    assert (spec(service).scaling.min_replicas, spec(service).scaling.max_replicas) == (low, high)


def test_targets_per_accelerator_become_the_smallest() -> None:
    """The smallest target asks for the most replicas: too many is the safe mistake."""
    text = (
        "service: {replica_policy: {min_replicas: 1, max_replicas: 4, target_qps_per_replica: {H100: 9, 'L4:1': 2.5}}}"
    )

    assert spec(text).scaling.target_qps_per_replica == 2.5


def test_the_probes_delay_is_the_deadline_of_a_start() -> None:
    """SkyServe's word for how long a start may take."""
    probe = "service: {readiness_probe: {path: /health, initial_delay_seconds: 90}}"

    assert spec(probe).startup_deadline == timedelta(seconds=90)
    assert spec("").startup_deadline == timedelta(minutes=20)


def test_secrets_are_names() -> None:
    """Values are never in the file, so none can be in the spec."""
    assert spec("secrets: {HF_TOKEN: null, A: }").secrets == ("A", "HF_TOKEN")
    assert "managed_secrets" in only_problem("secrets: [secrets:MINE]\n")
    assert spec("managed_secrets: [MINE]").passthrough_json == '{"managed_secrets":["MINE"],"name":"chat"}'


READ_ELSEWHERE = {
    ("resources", "disk_size"),
    ("resources", "labels"),
    ("resources", "max_hourly_cost"),
    ("resources", "ports"),
    ("service", "ports"),
}
"""Keys of SkyPilot's that a replica's task is made of by name."""


def passed_keys() -> list[tuple[str, ...]]:
    """Every key whose value is SkyPilot's own."""
    blocks: list[tuple[tuple[str, ...], type[BaseModel]]] = [
        ((), ServiceFile),
        (("resources",), ResourcesBlock),
        (("service",), ServiceBlock),
    ]
    return [
        (*path, name)
        for path, block in blocks
        for name, described in block.model_fields.items()
        if set(get_args(Passed)[1:]) & set(described.metadata)
    ]


@pytest.mark.parametrize("path", passed_keys(), ids=".".join)
def test_each_key_of_skypilots_is_carried_or_told_of(path: tuple[str, ...]) -> None:
    """Nobody shall believe in a key that nothing reads."""
    text = SHORTEST + "".join(f"{'  ' * depth}{key}:\n" for depth, key in enumerate(path[:-1]))
    notes = parse_service(f"{text}{'  ' * (len(path) - 1)}{path[-1]}: 1\n", "s.yaml").notes

    used = path in READ_ELSEWHERE or (path[-1] in KEPT if path[0] == "resources" else path[-1] in CARRIED)
    assert [n.path for n in notes] == ([] if used else [".".join(path)])


def test_what_holds_for_the_whole_service_is_told_where_it_stands_in_an_alternative() -> None:
    """A disk of one alternative would be the disk of none."""
    text = "resources: {any_of: [{infra: aws, disk_tier: best}, {infra: gcp}]}\n"
    (note,) = parse_service(SHORTEST + text, "s.yaml").notes

    assert (note.path, note.message.split(".")[0]) == (
        "resources.any_of[0].disk_tier",
        "is read for the service as a whole",
    )


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("resources: {instance_type: g6.12xlarge}", "resources.instance_type: machines are bought by what they have"),
        ("resources: {any_of: [{instance_type: g6.xlarge}]}", "instance_type: machines are bought by what they have"),
        ("service: {tls: {keyfile: k.pem, certfile: c.pem}}", "service.tls: the gateway speaks HTTP"),
    ],
)
def test_what_would_run_otherwise_than_it_is_written_is_refused(text: str, word: str) -> None:
    """A note is too little where another machine would be bought, or another protocol spoken."""
    assert word in only_problem(f"{text}\n")


# ── policy ───────────────────────────────────────────────────────────────────────────────────────────


def test_the_default_policy_is_the_shipped_one_and_agrees_with_the_domain() -> None:
    """Whoever writes no policy gets green-first, as the domain's own default has it, and looks four days ahead."""
    assert replace(spec("").policy, description="") == Policy(horizon=usual_horizon(Objective.GREENEST))


def test_single_values_of_a_policy_can_be_changed() -> None:
    """The rest stays as the policy has it."""
    found = spec("policy: {use: balanced, set: {price_cap: 0.35, horizon: 12h}}").policy

    assert (found.name, found.price_cap_usd_per_hour, found.horizon) == ("balanced", 0.35, timedelta(hours=12))
    assert found.max_extra_cost_fraction == 0.05
    assert spec("policy: {set: {max_extra_cost: unlimited}}").policy.max_extra_cost_fraction is None


def test_changing_the_objective_asks_for_what_comes_with_it() -> None:
    """Greenest without a bound on the cost is a choice that people make in words."""
    assert spec("policy: {set: {objective: cheapest}}").policy.objective is Objective.CHEAPEST
    assert spec("policy: {set: {objective: cheapest}}").policy.max_extra_cost_fraction is None
    assert "needs max_extra_cost" in only_problem("policy: {use: cheapest, set: {objective: greenest}}")
    assert "no meaning" in only_problem("policy: {use: cheapest, set: {max_extra_cost: 5%}}")


def test_a_broken_policy_file_is_told_where_it_is_used(tmp_path: Path) -> None:
    """The reader sees which file and line to mend."""
    (tmp_path / "p.yaml").write_text("kind: Policy\nname: p\nobjective: greener\nmax_extra_cost: 15\n")
    (tmp_path / "s.yaml").write_text(SHORTEST + "policy: {use: ./p.yaml}\n")

    with pytest.raises(InvalidSpec) as caught:
        load_service_file(tmp_path / "s.yaml")

    lines = [p.message for p in caught.value.problems]
    assert [p.line for p in caught.value.problems] == [3, 3]
    assert any(line.startswith("./p.yaml, line 3: objective") for line in lines)
    assert any(line.startswith("./p.yaml, line 4: max_extra_cost") for line in lines)


@pytest.mark.parametrize(
    ("use", "word"),
    [
        ("greenfirst", "nor a path"),
        ("./missing.yaml", "no such file"),
        ("/dev/null", "empty"),
        ("../../etc/passwd;id", "is not the name of a policy"),
        ("~/p.yaml", "is not the name of a policy"),
    ],
)
def test_a_policy_that_is_not_there_is_refused(tmp_path: Path, use: str, word: str) -> None:
    """A name that is not shipped, a file that is not there, a path that is none."""
    (tmp_path / "s.yaml").write_text(SHORTEST + f"policy: {{use: {use!r}}}\n")

    with pytest.raises(InvalidSpec) as caught:
        load_service_file(tmp_path / "s.yaml")

    assert word in caught.value.problems[0].message


def test_a_policy_file_given_as_a_service_is_recognised() -> None:
    """The commonest mix-up gets the right advice."""
    assert "this is a policy file" in problems("kind: Policy\nname: a\nobjective: cheapest\n")[0]


# ── what is said about one value and another ─────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "path", "word"),
    [
        (
            "service: {replica_policy: {min_replicas: 5, max_replicas: 3}}",
            "service.replica_policy.min_replicas",
            "above",
        ),
        ("service: {replica_policy: {max_replicas: 3}}", "service.replica_policy.min_replicas", "missing"),
        ("service: {replicas: 0}", "service.replicas", "nobody"),
        ("migration: {canary: [50%, 50%, 100%]}", "migration.canary", "rise"),
        ("migration: {canary: [50%]}", "migration.canary[0]", "100%"),
        ("slo: {clients: [{near: eu, weight: 0.5}]}", "slo.clients", "add up to 0.5"),
        ("placement: {allow: [aws/eu-north-1], deny: [aws/eu-*]}", "placement.allow[0]", "denied again"),
        ("placement: {allow: [aws/eu-*], deny: [aws/*]}", "placement.allow[0]", "denied again"),
        ("placement: {deny: ['*/*']}", "placement.deny[0]", "every region"),
        (
            "placement: {allow: [a/b, a/c], max_per_region: 1}\nservice: {replicas: 3}",
            "placement.max_per_region",
            "no room",
        ),
        (
            "resources: {infra: aws/x}\nplacement: {max_per_region: 1}\nservice: {replicas: 2}",
            "placement.max_per_region",
            "no room",
        ),
        ("slo: {survives: region}\nplacement: {allow: [a/b]}", "slo.survives", "only a/b is allowed"),
        ("slo: {survives: region}\nresources: {infra: aws/x}", "slo.survives", "only aws/x is allowed"),
        (
            "slo: {survives: region}\nplacement: {allow: [a/b, a/c], max_per_region: 1}\nservice: {replicas: 2}",
            "placement.max_per_region",
            "fewer than 2 replicas when one is lost, which slo.survives rules out",
        ),
        ("resources: {infra: aws/x}\nplacement: {allow: [gcp/*]}", "placement.allow", "does not include aws/x"),
        ("resources: {infra: aws/x}\nplacement: {deny: [aws/?]}", "placement.deny", "denies aws/x"),
    ],
)
def test_contradictions(text: str, path: str, word: str) -> None:
    """What can be known without asking anybody is said before anybody is asked."""
    found = only_problem(text)

    assert f"  {path}: " in found
    assert word in found


@pytest.mark.parametrize(
    "text",
    [
        "placement: {allow: [aws/eu-*], deny: [aws/eu-south-*]}",
        "placement: {allow: [aws/eu-*], deny: [aws/eu-?]}",
        "placement: {allow: [aws/eu*], deny: [aws/eu?*]}",
        "placement: {allow: [aws/eu-*], max_per_region: 1}\nservice: {replicas: 9}",
        "resources: {infra: aws}\nplacement: {deny: [aws/eu-*]}",
        "slo: {survives: region}",
        "slo: {survives: region}\nplacement: {allow: [a/b, a/c]}\nservice: {replicas: 2}",
        "slo: {survives: region}\nplacement: {allow: [a/*], max_per_region: 1}\nservice: {replicas: 2}",
        "slo: {survives: region}\nplacement: {allow: [a/b, a/c, a/d], max_per_region: 1}\nservice: {replicas: 2}",
        "slo: {clients: [{near: eu, weight: 0.3333}, {near: us, weight: 0.3333}, {near: asia, weight: 0.3334}]}",
    ],
)
def test_what_may_be_meant_is_no_contradiction(text: str) -> None:
    """A check never refuses what could work."""
    assert isinstance(spec(text), ServiceSpec)


def test_a_slip_in_a_block_does_not_hide_the_others_nor_invent_any() -> None:
    """min_replicas is wrong, not missing; the canary is looked at although min_dwell is wrong."""
    found = problems(
        SHORTEST
        + "service: {replica_policy: {min_replicas: two, max_replicas: 3}}\nmigration: {min_dwell: 2, canary: [5%]}\n"
    )

    assert [line.split()[1] for line in found] == [
        "service.replica_policy.min_replicas:",
        "migration.min_dwell:",
        "migration.canary[0]:",
    ]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("slo: {clients: [{near: eu, weight: 1}]}", "slo.clients"),
        ("slo: {ttft_p95: 1s}", "slo.ttft_p95"),
        ("slo: {availability: 99%}", "slo.availability"),
        ("gateway: {routing: session}", "gateway.routing"),
        ("gateway: {host: a.example}", "gateway.host"),
        ("carbon: {budget: 1kg/day}", "carbon.budget"),
        ("carbon: {sources: [static]}", "carbon.sources"),
        ("placement: {on_spot_loss: wait}", "placement.on_spot_loss"),
        ("report: {functional_unit: 500 output tokens}", "report.functional_unit"),
        ("setup: pip install x", "setup"),
        (
            "service: {replica_policy: {min_replicas: 1, target_qps_per_replica: 2}}",
            "service.replica_policy.target_qps_per_replica",
        ),
        (
            "service: {replica_policy: {min_replicas: 1, max_replicas: 1, downscale_delay_seconds: 60}}",
            "service.replica_policy.downscale_delay_seconds",
        ),
    ],
)
def test_what_is_kept_but_not_acted_upon_is_said(text: str, path: str) -> None:
    """Nobody believes in a rule that nothing enforces."""
    loaded: LoadedSpec = parse_service(SHORTEST + text, "s.yaml")

    assert [(n.path, n.line) for n in loaded.notes] == [(path, 3)]


@pytest.mark.parametrize(
    "text",
    [
        "gateway: {routing: weighted}",
        "report: {functional_unit: 1000 output tokens}",
        "service: {replica_policy: {min_replicas: 2, max_replicas: 2}}",
        "service: {replica_policy: {min_replicas: 1, max_replicas: 2}}",
        "service: {replica_policy: {min_replicas: 1, max_replicas: 2, target_qps_per_replica: 2}}",
        "slo: {}",
        "setup: ''",
    ],
)
def test_what_is_acted_upon_needs_no_note(text: str) -> None:
    """A note that always comes would not be read."""
    assert parse_service(SHORTEST + text, "s.yaml").notes == ()


def test_the_delays_of_scaling_are_those_written() -> None:
    """SkyServe's names and its unit, seconds; without them ours hold."""
    policy = "service: {replica_policy: {min_replicas: 1, max_replicas: 4, upscale_delay_seconds: 90, "
    scaling = spec(policy + "downscale_delay_seconds: 600}}").scaling
    assert (scaling.upscale_delay, scaling.downscale_delay) == (timedelta(seconds=90), timedelta(seconds=600))
    default = spec("service: {replica_policy: {min_replicas: 1, max_replicas: 4}}").scaling
    assert (default.upscale_delay, default.downscale_delay) == (timedelta(0), timedelta(seconds=300))


def test_what_is_kept_is_in_the_spec() -> None:
    """A later version can act upon specs that were stored by this one."""
    found = spec("slo: {clients: [{near: eu, weight: 1}]}\nmigration: {abort_if: {ttft_p95: 1s}}\n")

    assert found.clients == (ClientArea("eu", 1.0),)
    assert found.migration.abort_ttft_p95 == timedelta(seconds=1)


@pytest.mark.parametrize("key", ["retries", "allow", "max_age", "template", "use", "canary"])
def test_a_key_in_the_wrong_place_is_led_home(key: str) -> None:
    """Most unknown keys are known ones, one level too high."""
    assert "it belongs under" in only_problem(f"{key}: 1")
