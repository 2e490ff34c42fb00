"""How engines are found and started: argument vectors, environments, versions."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from orchestrator.domain.service import Engine, JsonScalar, ModelSpec
from orchestrator.errors import EngineMissing, ProviderError
from orchestrator.provisioners.local import tiny_model
from orchestrator.provisioners.local.engines.base import passed_on
from orchestrator.provisioners.local.engines.builtin import BuiltinLauncher
from orchestrator.provisioners.local.engines.vllm_cpu import START_SCRIPT, TINY_MODEL, VllmCpuLauncher

HOST, PORT = "127.0.0.1", 20_001
FLAGS = ("--dtype=bfloat16", "--kv-cache-memory-bytes=67108864")


def pretend_vllm(folder: Path, version: str = "0.32.0", python: str = "python") -> Path:
    """Make what an installed vLLM looks like from outside."""
    executable = folder / "bin" / "vllm"
    metadata = folder / "lib" / "python3.11" / "site-packages" / f"vllm_cpu-{version}.dist-info" / "METADATA"
    for path in (executable, metadata):
        path.parent.mkdir(parents=True)
    executable.write_text(f"#!{folder}/elsewhere/python\n", encoding="utf-8")
    (executable.parent / python).symlink_to(sys.executable)
    executable.chmod(0o755)
    metadata.write_text(f"Metadata-Version: 2.4\nName: vllm-cpu\nVersion: {version}\n", encoding="utf-8")
    return executable


def pretend_model(folder: Path) -> Path:
    """Make what a model directory looks like from outside."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}", encoding="utf-8")
    return folder


@pytest.fixture
def executable(tmp_path: Path) -> Path:
    """Give an installed vLLM."""
    return pretend_vllm(tmp_path / "engine")


def launcher(
    executable: Path | None, cache: Path, *, flags: tuple[str, ...] = FLAGS, **more: object
) -> VllmCpuLauncher:
    """Make a launcher whose template gives those flags."""
    options: dict[str, object] = {"environment": {"PATH": "/usr/bin:/bin"}, "threads": 1, **more}
    return VllmCpuLauncher(argv_for=lambda _: flags, cache_dir=cache, executable=executable, **options)  # type: ignore[arg-type]


class TestVllm:
    """vLLM on this machine's processors."""

    def test_a_local_model_starts_the_fast_way_and_offline(self, executable: Path, tmp_path: Path) -> None:
        """Model, address, the template's flags, and what the launcher adds: exactly these words, in this order."""
        model = pretend_model(tmp_path / "weights")
        command = launcher(executable, tmp_path).command(ModelSpec(str(model), served_name="chat"), HOST, PORT)

        assert command.argv == (
            *(str(executable.parent / "python"), str(START_SCRIPT), "serve", str(model)),
            *("--host", HOST, "--port", "20001", *FLAGS, "--served-model-name", "chat"),
            *("--disable-access-log-for-endpoints", "/health,/metrics", "--shutdown-timeout", "120"),
        )
        assert command.prepare == ()
        assert command.version == "0.32.0"
        assert command.api_key_variable == "VLLM_API_KEY"
        assert command.environment["HF_HUB_OFFLINE"] == "1"
        assert command.environment["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
        assert "VLLM_CPU_KVCACHE_SPACE" not in command.environment  # it would overrule the flag

    def test_a_hub_model_starts_the_ordinary_way_with_network_and_token(self, executable: Path, tmp_path: Path) -> None:
        """Downloading needs the network and perhaps a token, and its threads do not survive a fork."""
        environment = {"PATH": "/usr/bin", "HF_TOKEN": "hf_x", "AWS_SECRET_ACCESS_KEY": "no"}
        found = launcher(executable, tmp_path, environment=environment)
        command = found.command(ModelSpec("org/model-7b"), HOST, PORT)

        assert command.argv[:3] == (str(executable), "serve", "org/model-7b")
        assert command.environment["HF_TOKEN"] == "hf_x"
        assert not {"HF_HUB_OFFLINE", "VLLM_ENABLE_V1_MULTIPROCESSING", "AWS_SECRET_ACCESS_KEY"} & set(
            command.environment
        )

    def test_a_token_is_not_given_to_a_local_model(self, executable: Path, tmp_path: Path) -> None:
        """Nobody gets a secret that they do not need."""
        model = pretend_model(tmp_path / "weights")
        found = launcher(executable, tmp_path, environment={"HF_TOKEN": "hf_x"})

        assert "HF_TOKEN" not in found.command(ModelSpec(str(model)), HOST, PORT).environment

    def test_the_tiny_model_is_made_first_and_only_once(self, executable: Path, tmp_path: Path) -> None:
        """The reserved id resolves to a directory in the cache; while it is not there, making it is a step before."""
        found = launcher(executable, tmp_path / "cache")
        target = tiny_model.directory_in(tmp_path / "cache")
        command = found.command(ModelSpec(TINY_MODEL), HOST, PORT)

        assert command.prepare == ((str(executable.parent / "python"), str(tiny_model.__file__), str(target)),)
        assert command.argv[2:4] == ("serve", str(target))
        assert command.argv[command.argv.index("--served-model-name") + 1] == TINY_MODEL

        target.mkdir(parents=True)
        assert found.command(ModelSpec(TINY_MODEL), HOST, PORT).prepare == ()

    @pytest.mark.parametrize("flag", ["--shutdown-timeout=5", "--served-model-name=x"])
    def test_what_the_template_says_is_not_said_twice(self, executable: Path, tmp_path: Path, flag: str) -> None:
        """The template wins over the launcher's own defaults."""
        words = launcher(executable, tmp_path, flags=(flag,)).command(ModelSpec(TINY_MODEL), HOST, PORT).argv

        assert [word for word in words if word.partition("=")[0] == flag.partition("=")[0]] == [flag]

    def test_without_a_cache_size_a_replica_does_not_take_four_gibibytes(
        self, executable: Path, tmp_path: Path
    ) -> None:
        """The engine's own default would fill a laptop with two replicas."""
        command = launcher(executable, tmp_path, flags=()).command(ModelSpec(TINY_MODEL), HOST, PORT)

        assert command.environment["VLLM_CPU_KVCACHE_SPACE"] == "1"

    def test_marks_stay_readable(self, executable: Path, tmp_path: Path) -> None:
        """Process titles must not be written over the environment, in which our marks are."""
        command = launcher(executable, tmp_path).command(ModelSpec(TINY_MODEL), HOST, PORT)

        assert command.environment["SPT_NOENV"] == "1"

    def test_half_of_the_cores_are_taken_unless_told_otherwise(self, executable: Path, tmp_path: Path) -> None:
        """Two replicas share a machine without fighting for it."""
        default = launcher(executable, tmp_path, threads=None).command(ModelSpec(TINY_MODEL), HOST, PORT)
        told = launcher(executable, tmp_path, threads=7).command(ModelSpec(TINY_MODEL), HOST, PORT)

        assert default.environment["OMP_NUM_THREADS"] == str(max(1, (os.cpu_count() or 1) // 2))
        assert told.environment["OMP_NUM_THREADS"] == "7"

    @pytest.mark.parametrize("model", ["--trust-remote-code", "a b", "a/b/c", "org/model;rm", "org/$(x)", "", "a\nb"])
    def test_what_is_no_model_id_is_refused(self, executable: Path, tmp_path: Path, model: str) -> None:
        """An id cannot become an option, a path out of somewhere, or two words."""
        with pytest.raises(ProviderError, match="neither a path nor a model id"):
            launcher(executable, tmp_path).preflight(ModelSpec(model))

    def test_a_missing_model_directory_is_said_before_anything_starts(self, executable: Path, tmp_path: Path) -> None:
        """A path that holds no model is told by name."""
        with pytest.raises(ProviderError, match=r"no model in .*nowhere: it has no config\.json"):
            launcher(executable, tmp_path).preflight(ModelSpec(str(tmp_path / "nowhere")))

    def test_a_configured_engine_that_is_not_there_is_missing(self, tmp_path: Path) -> None:
        """What the settings name is used or refused, never silently replaced."""
        with pytest.raises(EngineMissing, match="is not there") as caught:
            launcher(tmp_path / "no" / "vllm", tmp_path).preflight(ModelSpec(TINY_MODEL))

        assert "make env-engine" in caught.value.hint()

    def test_without_any_engine_the_hint_says_how_to_get_one(self, tmp_path: Path) -> None:
        """Neither beside us nor on the PATH."""
        found = launcher(None, tmp_path, prefix=tmp_path / "venv", environment={"PATH": str(tmp_path)})
        with pytest.raises(EngineMissing, match="vLLM is not installed") as caught:
            found.preflight(ModelSpec(TINY_MODEL))

        assert "make env-engine" in caught.value.hint()

    def test_the_environment_beside_ours_comes_before_the_path(self, tmp_path: Path) -> None:
        """`make env-engine` wins over some other vLLM; without it the PATH is searched."""
        beside = pretend_vllm(tmp_path / ".venv-vllm")
        other = pretend_vllm(tmp_path / "other")
        found = launcher(None, tmp_path, prefix=tmp_path / "venv", environment={"PATH": str(other.parent)})

        assert found.executable() == beside
        beside.unlink()
        assert found.executable() == other

    def test_an_engine_without_a_python_beside_it_is_told(self, tmp_path: Path) -> None:
        """A vllm script whose interpreter is gone cannot start."""
        executable = pretend_vllm(tmp_path / "engine", python="perl")
        with pytest.raises(EngineMissing, match="no Python beside"):
            launcher(executable, tmp_path).command(ModelSpec(TINY_MODEL), HOST, PORT)

    def test_a_version_that_nobody_wrote_down_is_unknown(self, executable: Path, tmp_path: Path) -> None:
        """Unknown is empty, not a guess."""
        next(executable.parents[1].rglob("METADATA")).write_text("Name: vllm-cpu\n", encoding="utf-8")

        assert launcher(executable, tmp_path).version() == ""


class TestBuiltin:
    """The engine without a model."""

    @pytest.mark.parametrize(
        ("args", "words"),
        [
            ((), []),
            ((("max_model_len", 512), ("tokens_per_second", 1.5)), ["--max-model-len=512", "--tokens-per-second=1.5"]),
            ((("enforce_eager", True), ("x", False), ("y", None)), ["--enforce-eager"]),
            ((("dtype", "--host 0.0.0.0"),), ["--dtype=--host 0.0.0.0"]),
        ],
    )
    def test_arguments_become_single_words(self, args: tuple[tuple[str, JsonScalar], ...], words: list[str]) -> None:
        """A value can never become an option of its own."""
        command = BuiltinLauncher(environment={}).command(ModelSpec("m", Engine.BUILTIN, args=args), HOST, PORT)
        last = command.argv.index("--fault-file") + 2

        assert list(command.argv[last:]) == words

    def test_the_served_name_and_the_address_are_given(self) -> None:
        """Clients ask for the model by its served name."""
        model = ModelSpec("m", Engine.BUILTIN, served_name="chat")
        argv = BuiltinLauncher(environment={}, shutdown_timeout_seconds=7).command(model, HOST, PORT).argv

        assert argv[:4] == (sys.executable, "-P", "-m", "orchestrator.provisioners.local.builtin_engine")
        given = dict(zip(argv[4::2], argv[5::2], strict=True))
        assert given["--served-model-name"] == "chat"
        assert (given["--host"], given["--port"], given["--shutdown-timeout"]) == (HOST, "20001", "7")


def test_only_what_is_needed_is_passed_on() -> None:
    """The list names what engines need; everything else stays with us, known as a secret or not."""
    ours = {"PATH": "p", "LC_ALL": "C", "https_proxy": "x", "PYTHONPATH": "no", "SOME_KEY": "no", "GREENCTL_X": "no"}

    assert passed_on(ours) == {"PATH": "p", "LC_ALL": "C", "https_proxy": "x"}
