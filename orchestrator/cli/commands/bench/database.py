"""The empty database that a bench fills: a SQLite file of its own, or the one that somebody names."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from orchestrator.store.sql import SqlStore

SQLITE = "sqlite"


@contextmanager
def empty_database(where: str, folder: Path | None = None) -> "Iterator[SqlStore]":
    """Open ``sqlite``, in a folder below ``folder`` that goes with it, or a database by its URL.

    Raises ``UsageError`` where services are recorded already, ``StoreUnavailable`` where it cannot be opened.
    """
    from orchestrator.store.sql import SqlStore  # noqa: PLC0415  # --help needs none of it

    with tempfile.TemporaryDirectory(prefix="greenctl-bench-", dir=folder) as home:
        url = f"sqlite:///{Path(home) / 'greenctl.db'}" if where == SQLITE else where
        with SqlStore.open(url) as store:
            if store.services():
                raise UsageError("--store: services are recorded there", hint="Name an empty database.")
            yield store
