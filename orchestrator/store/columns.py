"""Column types that mean the same on both databases and come back as the values that went in."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar

from sqlalchemy import REAL, BigInteger, Boolean, DateTime, Dialect, Double, Integer, Text, TypeDecorator
from sqlalchemy.types import TypeEngine

from orchestrator.domain.time import as_utc
from orchestrator.errors import StoreIncompatible

STRICT_TABLES = sqlite3.sqlite_version_info >= (3, 37)
"""SQLite checks column types since 3.37 (sqlite.org/stricttables.html); older libraries work without."""

WHOLE = BigInteger().with_variant(Integer(), "sqlite")
"""64 bits. SQLite's ``INTEGER`` is as wide, and only under this name does it number rows by itself."""

NUMBER: TypeEngine[float] = Double().with_variant(REAL(), "sqlite")
"""IEEE 754 binary64 on both; PostgreSQL's ``REAL`` would be half as wide."""

E = TypeVar("E", bound=StrEnum)


class Moment(TypeDecorator[datetime]):
    """An instant to the microsecond: ``timestamptz``, or RFC 3339 text of fixed width, which sorts as time does."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the stored form."""
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:  # noqa: ANN401  # text or datetime
        """Store UTC; a naive datetime is a ``ValueError``."""
        if value is None:
            return None
        moment = as_utc(value)
        if dialect.name != "sqlite":
            return moment
        return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ANN401, ARG002
        """Return an aware UTC datetime."""
        if value is None:
            return None
        try:
            moment = datetime.fromisoformat(value) if isinstance(value, str) else value
            return as_utc(moment).astimezone(UTC)
        except ValueError as error:
            raise StoreIncompatible(f"the database holds {value!r} where an instant is expected") from error


class Flag(TypeDecorator[bool]):
    """Yes or no; 0 or 1 in SQLite, which has no type of its own for it."""

    impl = Boolean
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the stored form."""
        return dialect.type_descriptor(Integer() if dialect.name == "sqlite" else Boolean())

    def process_bind_param(self, value: bool | None, dialect: Dialect) -> bool | int | None:  # noqa: FBT001
        """Store it."""
        return int(value) if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> bool | None:  # noqa: ANN401, ARG002
        """Return a ``bool``."""
        return None if value is None else bool(value)


class Word(TypeDecorator[E], Generic[E]):
    """One word of an enumeration, stored as text. A word that this version does not know is ``StoreIncompatible``."""

    impl = Text
    cache_ok = True

    def __init__(self, words: type[E]) -> None:
        super().__init__()
        self.words = words

    def process_bind_param(self, value: E | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Store the word; any other is a ``ValueError``."""
        return None if value is None else self.words(value).value

    def process_result_value(self, value: Any, dialect: Dialect) -> E | None:  # noqa: ANN401, ARG002
        """Return the member."""
        if value is None:
            return None
        try:
            return self.words(value)
        except ValueError as error:
            message = f"the database holds {value!r}, which is no {self.words.__name__} that this version knows"
            raise StoreIncompatible(message) from error
