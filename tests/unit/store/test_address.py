"""Database URLs: what they mean, and what of them may be shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import InvalidSettings
from orchestrator.store.address import parse_address


def test_a_sqlite_url_names_a_file() -> None:
    """Absolute and relative, by either spelling; characters that mean something elsewhere mean nothing here."""
    assert parse_address("sqlite:////var/lib/green.db").path == Path("/var/lib/green.db")
    assert parse_address("sqlite+pysqlite:////var/a b?c=%41.db").path == Path("/var/a b?c=%41.db")
    assert parse_address("sqlite:///green.db").path == Path.cwd() / "green.db"
    assert parse_address("sqlite:///~/green.db").path == Path.home() / "green.db"


@pytest.mark.parametrize(
    "text",
    ["", "sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:///file:x?mode=memory", "oracle://h", "green.db"],
)
def test_what_names_no_database_is_refused_with_an_example(text: str) -> None:
    """The hint shows both forms that work."""
    with pytest.raises(InvalidSettings) as refusal:
        parse_address(text)

    assert "sqlite:///" in refusal.value.hint()
    assert "postgresql://" in refusal.value.hint()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_a_postgresql_url_uses_psycopg(scheme: str) -> None:
    """Whatever its spelling; what is shown is the usual one."""
    address = parse_address(f"{scheme}://ada@db.example:5433/green?sslmode=require")

    assert address.path is None
    assert address.url.drivername == "postgresql+psycopg"
    assert address.shown == "postgresql://ada@db.example:5433/green?sslmode=require"


def test_secrets_are_never_shown() -> None:
    """Not in what is shown, not in ``repr``, and masked in the words of others; wherever the URL has them."""
    address = parse_address("postgresql://ada:p%40ss@h/green?password=other&sslpassword=third&application_name=x")

    assert sorted(address.secrets) == ["other", "p@ss", "third"]
    for text in (address.shown, repr(address)):
        assert not any(secret in text for secret in (*address.secrets, "p%40ss"))
    assert address.masked("bad p@ss, other third") == "bad ***, *** ***"


def test_an_unreadable_url_is_not_repeated() -> None:
    """It may hold a password: neither the message nor its cause shows it."""
    with pytest.raises(InvalidSettings) as refusal:
        parse_address("postgresql://ada:hunter2@h:not-a-port/green")

    assert "hunter2" not in refusal.value.message
    assert refusal.value.__cause__ is None
