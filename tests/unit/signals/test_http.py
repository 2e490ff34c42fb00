"""Where we fetch from, and where we never do."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from orchestrator.errors import InvalidSettings, SignalUnavailable
from orchestrator.signals.http import Answer, Fetch, is_private
from orchestrator.signals.wire import Line

NOT_PUBLIC = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",  # noqa: S104 - never bound
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
    "2001:db8::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:a9fe:a9fe",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
]
PUBLIC = ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "api.carbonintensity.org.uk"]


@pytest.mark.parametrize("host", NOT_PUBLIC)
def test_an_address_that_is_not_public_is_known_in_every_dress(host: str) -> None:
    """Loopback, private, link-local, shared, documentation, multicast, and all of them wrapped in IPv6."""
    assert is_private(host)
    assert is_private(f"[{host}]")


@pytest.mark.parametrize("host", PUBLIC)
def test_public_addresses_and_names_pass(host: str) -> None:
    """A name is looked at when it is resolved, not before."""
    assert not is_private(host)


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.org",
        "ftp://api.example.org",
        "file:///etc/passwd",
        "https://",
        "api.example.org",
        "",
        "https://user:word@api.example.org",
        "https://api.example.org/?key=1",
        "https://api.example.org/#part",
        *(f"https://{h if ':' not in h or '[' in h else f'[{h}]'}/" for h in NOT_PUBLIC),
    ],
)
def test_an_address_that_may_not_be_used_is_refused_when_it_is_configured(url: str) -> None:
    """Only https to public hosts, and nothing in the address but host and path."""
    with pytest.raises(InvalidSettings):
        Fetch().check(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://me:s3cret@mirror.example.org",
        "https://mirror.example.org/?key=s3cret",
        "ftp://mirror.example.org/?key=s3cret",
        "https://mirror.example.org/#s3cret",
        "https://me:x/s3cret@mirror.example.org",
        "https://[mirror/s3cret",
    ],
)
def test_a_refused_address_is_not_repeated(url: str) -> None:
    """A secret in the wrong place gets into no message; the host says which address is meant."""
    with pytest.raises(InvalidSettings) as caught:
        Fetch().check(url)
    assert "s3cret" not in f"{caught.value} {caught.value.hint()} {caught.value.__cause__}"


def test_an_address_of_your_own_network_needs_a_word() -> None:
    """With ``private`` plain http to a private address is fine, and a key in the address is still not."""
    assert Fetch(private=True).check("http://10.0.0.1:8080/carbon/") == "http://10.0.0.1:8080/carbon"
    with pytest.raises(InvalidSettings):
        Fetch(private=True).check("http://me:word@10.0.0.1")


@pytest.mark.parametrize("host", [h for h in NOT_PUBLIC if "%" not in h])
def test_a_name_that_resolves_to_us_is_caught_when_the_socket_is_made(host: str) -> None:
    """What is looked at is the very address that is about to be connected to, so no later answer can differ."""
    with pytest.raises(PermissionError, match="not a public address"):
        Line(lambda address: not is_private(address), 1.0).connect(host, 443)


def test_a_line_that_is_over_connects_to_nobody() -> None:
    """Its thread may have been looking up a name when the time ended."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        line = Line(lambda _: True, 1.0)
        line.shut()
        with pytest.raises(TimeoutError):
            line.connect("127.0.0.1", server.getsockname()[1])


def test_a_line_that_is_over_tries_no_further_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a name with several addresses none is connected to once the time is over."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", server.getsockname())] * 5
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        seen: list[str] = []
        line = Line(lambda literal: not seen.append(literal), 1.0)
        line.shut()
        with pytest.raises(TimeoutError, match="time is over"):
            line.connect("many.example.org", 443)
    assert len(seen) == 1


@dataclass
class SilentServer:
    """A server that shakes hands by TLS and then says nothing. ``left``: its client has gone."""

    folder: Path
    port: int = 0
    left: threading.Event = field(default_factory=threading.Event)

    @property
    def certificate(self) -> Path:
        """What clients have to trust."""
        return self.folder / "certificate.pem"

    @contextlib.contextmanager
    def running(self) -> Iterator[SilentServer]:
        """Run it in a thread."""
        certify(self.certificate, self.folder / "key.pem")
        with socket.create_server(("127.0.0.1", 0)) as listening:
            listening.settimeout(30)
            self.port = listening.getsockname()[1]
            thread = threading.Thread(target=self._serve, args=(listening,), daemon=True)
            thread.start()
            yield self
            thread.join(30)

    def _serve(self, listening: socket.socket) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.folder / "key.pem")
        plain, _ = listening.accept()
        plain.settimeout(30)
        with plain, contextlib.suppress(OSError), context.wrap_socket(plain, server_side=True) as secure:
            while secure.recv(1):
                pass
        self.left.set()


def certify(certificate: Path, key: Path) -> None:
    """Write a certificate of this machine that is signed by itself, and its key."""
    own = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    today = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(own.public_key())
        .serial_number(1)
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(own, hashes.SHA256())
    )
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        own.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def test_a_line_is_shut_under_tls_too(tmp_path: Path) -> None:
    """Wrapping takes the descriptor out of the plain socket; whoever reads is woken all the same, at once."""
    with SilentServer(tmp_path).running() as server:
        line = Line(lambda _: True, 30.0)
        context = ssl.create_default_context(cafile=str(server.certificate))
        with context.wrap_socket(line.connect("127.0.0.1", server.port), server_hostname="localhost") as secure:
            woken = threading.Event()

            def read() -> None:
                with contextlib.suppress(OSError):
                    secure.recv(1)
                woken.set()

            reader = threading.Thread(target=read, daemon=True)
            reader.start()
            line.shut()
            assert woken.wait(5)
            assert server.left.wait(5)
            reader.join(5)


def test_a_line_may_be_shut_twice() -> None:
    """The second time there is nothing left to do; both ends have seen the end."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        line = Line(lambda _: True, 1.0)
        with line.connect("127.0.0.1", server.getsockname()[1]) as made:
            other, _ = server.accept()
            with other:
                line.shut()
                line.shut()
                made.settimeout(1)
                assert made.recv(1) == b""
                other.settimeout(1)
                assert other.recv(1) == b""


async def test_numbers_that_are_addresses_reach_nothing() -> None:
    """Decimal, octal and hexadecimal spellings of this machine are refused as names or caught at the socket."""
    for host in ("2130706433", "0x7f000001", "0177.0.0.1", "127.1", "localhost"):
        with pytest.raises(SignalUnavailable, match=r"not a public address|InvalidUrl"):
            await Fetch(seconds=5).get(f"https://{host}:9/")


@dataclass
class Mute:
    """A resolver that has nobody to ask: each look-up hangs until it is over. ``asked``: one for each that does."""

    asked: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    over: threading.Event = field(default_factory=threading.Event)

    def hang(self, *_: object, **__: object) -> list[object]:
        """Stand in for ``getaddrinfo``."""
        self.asked.release()
        self.over.wait()
        raise socket.gaierror("nobody answers")


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mute]:
    """The resolver of this machine, while it is mute."""
    mute = Mute()
    monkeypatch.setattr(socket, "getaddrinfo", mute.hang)
    yield mute
    mute.over.set()


async def test_names_that_cannot_be_looked_up_hold_nobody_else_up(resolver: Mute) -> None:
    """A look-up cannot be broken off. However many hang, what else is done in threads (the local provider) goes on."""
    fetch = Fetch(seconds=0.2)

    async def ask(number: int) -> None:
        with pytest.raises(SignalUnavailable, match="does not answer within"):
            await fetch.get(f"https://zone-{number}.example.org/")

    await asyncio.gather(*(ask(number) for number in range(40)))
    for _ in range(40):
        assert resolver.asked.acquire(timeout=30)

    assert await asyncio.wait_for(asyncio.to_thread(lambda: "the engine runs"), 30) == "the engine runs"


async def test_as_many_requests_as_may_hang_are_made_and_no_more(resolver: Mute) -> None:
    """Each keeps a thread of the machine until it is over."""
    fetch = Fetch(max_open=2)
    open_ones = [asyncio.create_task(fetch.get(f"https://zone-{number}.example.org/")) for number in range(2)]
    for _ in open_ones:
        assert await asyncio.to_thread(resolver.asked.acquire, timeout=30)

    with pytest.raises(SignalUnavailable, match=r"zone-2\.example\.org/ is not asked"):
        await fetch.get("https://zone-2.example.org/")

    resolver.over.set()
    for answer in await asyncio.gather(*open_ones, return_exceptions=True):
        assert isinstance(answer, SignalUnavailable)


def test_words_of_an_answer_are_one_short_printable_line() -> None:
    """A body may hold anything; a message is one line."""
    words = Answer("host/path", 500, b"a\x00b\n\x1b[31mred " + b"x" * 500).words()

    assert words.isprintable()
    assert len(words) <= 161
