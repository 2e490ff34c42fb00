"""Where each setting comes from: the environment, a file, or the defaults. Secrets in addresses are left out."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

from orchestrator.cli.render.settings import SettingLine
from orchestrator.errors import InvalidSettings

if TYPE_CHECKING:
    from orchestrator.settings import Settings

PREFIX: Final = "GREENCTL_"
HIDDEN: Final = "***"
DATABASE: Final = ("database_url",)
_SECRET_PARAMETER: Final = re.compile(
    r"((?:^|&)[^=&]*(?:password|passwd|secret|token|key|sig|signature)=)[^&]*", re.IGNORECASE
)
"""``password`` and ``sslpassword`` of a PostgreSQL address; keys and tokens of others. ``sslkey`` names a file, and is
hidden with them."""


def setting_lines(settings: Settings, files: Mapping[str, Path], environment: Mapping[str, str]) -> list[SettingLine]:
    """Return every setting. ``files``: names in words, strongest first."""
    tables = {words: _read(path) for words, path in files.items()}
    names = {name.upper(): name for name in environment if name.upper().startswith(PREFIX)}
    return [
        SettingLine(".".join(path), _without_secret(path, value), _origin(path, names, tables))
        for path, value in _leaves(settings.model_dump(mode="json"), ())
    ]


def _leaves(value: object, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], object]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, (*path, str(key)))
    else:
        yield path, value


def _origin(path: tuple[str, ...], names: Mapping[str, str], tables: Mapping[str, Mapping[str, object]]) -> str:
    for length in range(len(path), 0, -1):
        wanted = PREFIX + "__".join(path[:length]).upper()
        if wanted in names:
            return names[wanted]
    return next((words for words, table in tables.items() if _has(table, path)), "default")


def _has(table: object, path: tuple[str, ...]) -> bool:
    for key in path:
        if not isinstance(table, dict) or key not in table:
            return False
        table = table[key]
    return True


def _read(path: Path) -> Mapping[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _without_secret(path: tuple[str, ...], value: object) -> object:
    """Hide the password of an address (``postgresql://user:password@host/db``)."""
    if not isinstance(value, str) or "://" not in value:
        return value
    return database_shown(value) if path == DATABASE else hide_password(value)


def database_shown(address: str) -> str:
    """Return a database's address without its passwords.

    A password may hold what ends a host elsewhere (``#``, ``/``, ``?``): the store reads such an address, and shows it.
    """
    from orchestrator.store.address import SQLITE_PREFIXES, parse_address  # noqa: PLC0415  # SQLAlchemy, for this alone

    if address.startswith(SQLITE_PREFIXES):
        return address
    shown = hide_password(address)
    if shown != HIDDEN or address.count("@") > 1:
        return shown
    try:
        found = parse_address(address)
    except InvalidSettings:
        return HIDDEN
    return HIDDEN if "[" in (found.url.host or "") else found.shown


def hide_password(address: str) -> str:
    """Return the address with its passwords hidden; one that cannot be read is hidden whole."""
    try:
        parts = urlsplit(address)
        if "@" in address.partition("://")[2].removeprefix(parts.netloc):
            # What ends the host is part of the password, or nobody can tell.
            return HIDDEN
        query = _SECRET_PARAMETER.sub(rf"\g<1>{HIDDEN}", parts.query)
        if parts.password is None:
            return address if query == parts.query else urlunsplit(parts._replace(query=query))
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return HIDDEN
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:{HIDDEN}@{host}{port}", query=query))
