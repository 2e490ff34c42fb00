"""Where the database is: a URL, read once, that can be shown without its secrets."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from orchestrator.errors import InvalidSettings

SQLITE_PREFIXES = ("sqlite:///", "sqlite+pysqlite:///")
POSTGRESQL_SCHEMES = frozenset({"postgres", "postgresql", "postgresql+psycopg"})
SECRET_PARAMETERS = frozenset({"password", "sslpassword"})
"""Parts of a PostgreSQL URL's query that are secrets (libpq, section 34.1.2, Parameter Key Words)."""

MASK = "***"
EXPECTED = "Use sqlite:///path/to/file.db or postgresql://user@host/database."


@dataclass(frozen=True, slots=True)
class Address:
    """A database. ``path`` is the file of a SQLite database, ``None`` for PostgreSQL. ``repr`` shows no secret."""

    url: URL = field(repr=False)
    path: Path | None
    shown: str

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no message may contain, longest first."""
        values = [str(self.url.password)] if self.url.password else []
        for name in SECRET_PARAMETERS & self.url.query.keys():
            given = self.url.query[name]
            values.extend([given] if isinstance(given, str) else given)
        return tuple(sorted((v for v in values if v), key=len, reverse=True))

    def masked(self, text: str) -> str:
        """Return the text without the secrets; drivers sometimes repeat what they were given."""
        for secret in self.secrets:
            text = text.replace(secret, MASK)
        return text


def parse_address(text: str) -> Address:
    """Read a database URL. The path after ``sqlite:///`` is taken as it stands: no escapes, no parameters.

    Raises ``InvalidSettings``, never repeating the text, which may hold a password.
    """
    prefix = next((p for p in SQLITE_PREFIXES if text.startswith(p)), None)
    if prefix is not None:
        return _sqlite(text.removeprefix(prefix))
    scheme = text.partition("://")[0]
    if scheme == "sqlite":
        raise InvalidSettings("the SQLite URL names no file; an in-memory database would forget", hint=EXPECTED)
    if scheme not in POSTGRESQL_SCHEMES:
        raise InvalidSettings("the database URL is neither SQLite nor PostgreSQL", hint=EXPECTED)
    return _postgresql(text)


def _sqlite(name: str) -> Address:
    if not name or name == ":memory:" or name.startswith("file:") or "\0" in name:
        raise InvalidSettings("the SQLite URL names no file; an in-memory database would forget", hint=EXPECTED)
    path = Path(name).expanduser().absolute()
    return Address(URL.create("sqlite+pysqlite", database=str(path)), path, f"sqlite:///{path}")


def _postgresql(text: str) -> Address:
    try:
        url = make_url(text).set(drivername="postgresql+psycopg")
    except (ArgumentError, ValueError):
        # The driver's own words repeat the URL.
        raise InvalidSettings("the database URL cannot be read", hint=EXPECTED) from None
    open_query = {k: (MASK if k in SECRET_PARAMETERS else v) for k, v in url.query.items()}
    shown = url.set(drivername="postgresql", query=open_query).render_as_string(hide_password=True)
    return Address(url, None, shown)
