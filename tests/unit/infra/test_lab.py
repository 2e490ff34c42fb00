"""What a lab is made of, without making one."""

from __future__ import annotations

import csv
import io
import itertools
import shutil
import subprocess
from pathlib import Path

import pytest

from infra.lab import Lab, LabConfig, LabError, RegionConfig, files
from infra.lab.__main__ import main, region
from infra.lab.config import LABS, default_root
from infra.lab.lab import refuse_what_cannot_be
from infra.lab.runtime import engine
from orchestrator.prices.listing import read_listing
from orchestrator.settings import Settings

TWO_NODES = LabConfig(nodes=2)


class TestConfig:
    def test_no_two_labs_share_an_address_a_port_a_user_or_a_folder(self) -> None:
        """Any two numbers can be up at once, also with as many regions and nodes as fit."""
        many = tuple(RegionConfig(f"r{n}", "SE", ("SE",)) for n in range(10))
        labs = [LabConfig(number=n, root=default_root(n), regions=many, nodes=99) for n in range(LABS)]
        ports = [lab.api_port for lab in labs]
        ports += [port for lab in labs for place in lab.places for _, port in place.listeners()]
        assert len(set(ports)) == len(ports)
        assert max(ports) < 65_536
        for lab, other in itertools.combinations(labs, 2):
            assert lab.root != other.root
            assert {p.user for p in lab.places}.isdisjoint(p.user for p in other.places)
            assert {p.network for p in lab.places}.isdisjoint(p.network for p in other.places)

    def test_what_is_written_down_is_read_back(self) -> None:
        """Who takes a lab down knows what was brought up."""
        lab = LabConfig(number=3, root=Path("/srv/lab"), regions=(RegionConfig("x", "DE", ("DE", "EU"), 1.5),), nodes=1)
        assert LabConfig.from_json(lab.to_json()) == lab

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"regions": [{}]}', '{"regions": [], "root": "/x", "more": 1}'])
    def test_half_a_record_is_no_lab(self, text: str) -> None:
        """It is an error with words, not a traceback."""
        with pytest.raises(LabError):
            LabConfig.from_json(text)

    @pytest.mark.parametrize(
        ("wish", "reason"),
        [
            ({"number": 9}, "number from 0 to 8"),
            ({"nodes": 0}, "1 to 99 nodes"),
            ({"regions": ()}, "1 to 10 regions"),
            ({"regions": (RegionConfig("a", "SE", ()),) * 2}, "different names"),
            ({"regions": (RegionConfig("../etc", "SE", ()),)}, "cannot name a region"),
            ({"regions": (RegionConfig("home", "SE", ()),)}, "cannot name a region"),
            ({"root": Path("lab")}, "absolute path"),
            ({"root": Path("/srv/my lab")}, "absolute path of letters"),
            ({"root": Path("/srv/" + "x" * 60)}, "characters too long for Slurm's sockets"),
        ],
        ids=[
            "number",
            "no-node",
            "no-region",
            "twice",
            "path-as-name",
            "taken-name",
            "relative",
            "blank",
            "long",
        ],
    )
    def test_what_cannot_be_is_refused_with_the_reason(self, wish: dict, reason: str) -> None:
        """Before anything is touched."""
        with pytest.raises(LabError, match=reason):
            LabConfig(**wish)

    def test_the_folder_is_chosen_by_variable_or_number(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """So that a second lab needs a number and nothing else."""
        monkeypatch.delenv("GREENCTL_LAB_ROOT", raising=False)
        assert default_root(0) != default_root(1)
        monkeypatch.setenv("GREENCTL_LAB_ROOT", "/srv/lab")
        assert default_root(4) == Path("/srv/lab")


class TestFiles:
    def test_slurm_listens_where_it_is_told_and_each_job_has_its_node(self) -> None:
        """Without the first, everybody on the network could run jobs as anyone."""
        text = files.slurm_conf(TWO_NODES, TWO_NODES.places[0])
        assert "CommunicationParameters=NoCtldInAddrAny\n" in text
        assert "CommunicationParameters=NoInAddrAny\n" in files.slurm_conf(
            TWO_NODES, TWO_NODES.places[0], for_nodes=True
        )
        assert "OverSubscribe=EXCLUSIVE" in text
        assert [line.split()[0] for line in text.splitlines() if line.startswith("NodeName")] == [
            "NodeName=eu-north-1",
            "NodeName=eu-north-2",
        ]

    def test_the_nodes_names_lead_to_their_addresses(self) -> None:
        """SkyPilot looks up a node's own name."""
        assert "127.102.0.2 us-east-2\n" in files.hosts(TWO_NODES.places[1])

    def test_greenctl_reads_the_price_list(self, tmp_path: Path) -> None:
        """One notional offer for each region, in SkyPilot's name for the shape; none is rejected."""
        path = tmp_path / "offers.csv"
        path.write_text(files.offers(TWO_NODES))
        assert [row["instance_type"] for row in csv.DictReader(io.StringIO(path.read_text()))] == ["2CPU--4GB"] * 2
        listed, rejected = read_listing(path)
        assert (len(listed), rejected) == (2, ())


class TestEnvironment:
    def test_greenctl_accepts_every_setting(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What lab-up writes is what the settings read."""
        for name, value in Lab(TWO_NODES).environment().items():
            monkeypatch.setenv(name, value)
        read = Settings()
        assert read.skypilot.clouds == ("slurm",)
        assert read.skypilot.home == TWO_NODES.home
        assert read.skypilot.api_port == TWO_NODES.api_port
        assert read.skypilot.engine == engine(TWO_NODES)
        assert read.skypilot.regions["slurm/us-east"].zone == "US-MIDA-PJM"
        assert read.prices.catalogue == TWO_NODES.root / "offers.csv"

    def test_the_values_survive_a_shell(self) -> None:
        """They are written between single quotes."""
        assert not [value for value in Lab(TWO_NODES).environment().values() if "'" in value]


class TestRefusals:
    def test_missing_packages_are_named_once_with_the_command(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whoever reads it can copy the line."""
        monkeypatch.setattr("os.geteuid", lambda: 0)
        with pytest.raises(LabError) as refused:
            refuse_what_cannot_be(find=lambda command: None if command.startswith(("slurm", "rsync")) else command)
        assert "apt-get install rsync slurm-wlm" in str(refused.value)

    def test_only_root_can(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """And it is said before anything is looked for."""
        monkeypatch.setattr("os.geteuid", lambda: 1000)
        with pytest.raises(LabError, match="sudo"):
            refuse_what_cannot_be(find=lambda _: None)


class TestCommandLine:
    def test_a_region_is_a_name_a_zone_and_areas(self) -> None:
        """As the help says."""
        assert region("eu-west=DE:DE,EU") == RegionConfig("eu-west", "DE", ("DE", "EU"))

    @pytest.mark.parametrize("words", [["up", "--region", "eu-west"], ["sideways"]])
    def test_what_cannot_be_read_is_a_usage_error(self, words: list[str]) -> None:
        """Exit status 2, like every command's."""
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 2

    def test_an_impossible_lab_is_refused_in_words(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Exit status 1, and no traceback."""
        assert main(["up", "--number", "12"]) == 1
        assert "number from 0 to 8" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
@pytest.mark.parametrize("target", ["lab-up", "lab-down", "lab-status", "test-sky"])
def test_through_sudo_the_users_environments_stay_as_they_are(target: str) -> None:
    """Root may find another Python, which would make them anew and root's; root alone makes what is missing."""
    make = str(shutil.which("make"))
    root = Path(__file__).parents[3]
    steps = {
        user: subprocess.run(
            [make, "-n", target, f"SUDO_USER={user}"], cwd=root, capture_output=True, text=True, check=True
        ).stdout
        for user in ("ada", "")
    }

    assert "infra.env.setup" in steps[""]
    assert "infra.env.setup" not in steps["ada"]
    assert "first make env, without sudo" in steps["ada"]
