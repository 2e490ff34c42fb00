"""The SQLite file before SQLite sees it: on a disk of this machine, in a directory we may write, closed to others."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from orchestrator.errors import DiskFull, StoreUnavailable

NETWORK_FILE_SYSTEMS = frozenset(
    {
        *("9p", "afs", "ceph", "cifs", "davfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4"),
        *("ocfs2", "smb2", "smb3", "smbfs"),
        *("fuse.ceph", "fuse.davfs2", "fuse.gcsfuse", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs"),
    }
)
"""Types in the mount table on which locks or shared memory cannot be trusted; a write-ahead log needs both
(sqlite.org/wal.html, "does not work over a network filesystem")."""

LEAST_FREE_BYTES = 4 * 1024 * 1024
"""An empty schema with its write-ahead log takes under one MiB; the rest is room to work."""

PRIVATE_FILE = 0o600
PRIVATE_DIRECTORY = 0o700

_MOUNTS = Path("/proc/self/mounts")
_LOCAL_HINT = "Put the state directory on a local disk (GREENCTL_STATE_DIR), or use PostgreSQL."


def prepare_file(path: Path) -> None:
    """Make sure that SQLite can work at ``path``: create it empty when it is missing, close it to others.

    Raises ``StoreUnavailable`` or ``DiskFull`` before anything has changed.
    """
    try:
        _refuse_network(path)
        _refuse_full(path)
        path.parent.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
        _create_or_close(path)
    except OSError as error:
        raise _refusal(path, error) from error
    if not os.access(path.parent, os.W_OK | os.X_OK):
        # Reading needs it too: the log and its index are files beside the database.
        raise StoreUnavailable(f"the directory {path.parent} cannot be written", hint=_permission_hint(path))
    if not os.access(path, os.R_OK | os.W_OK):
        raise StoreUnavailable(f"the database {path} cannot be read and written", hint=_permission_hint(path))


def refuse_place(path: Path) -> None:
    """Make sure that SQLite could work at ``path``, where nothing is made yet. Raises as :func:`prepare_file`."""
    try:
        _refuse_network(path)
        _refuse_full(path)
    except OSError as error:
        raise _refusal(path, error) from error


def put_in_place(draft: Path, path: Path) -> None:
    """Give a finished file its name, in the place of what has it: at every moment one of both is there, whole.

    ``draft`` is on the same file system. Its bytes are on the disk before the name is, the name before this returns.
    Raises ``OSError``.
    """
    _sync(draft, os.O_RDWR)
    draft.replace(path)
    sync_names(path.parent)


def sync_names(folder: Path) -> None:
    """Let a directory's names survive a power cut. Raises ``OSError``."""
    _sync(folder, os.O_RDONLY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def network_file_system(path: Path, mounts: str) -> str | None:
    """Name the network file system that holds ``path`` (absolute, resolved); ``None`` when it is local.

    ``mounts`` is the text of ``/proc/self/mounts``. Of several mounts over one another the last one counts.
    """
    best, kind = -1, ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:  # noqa: PLR2004  # device, mount point, type
            continue
        point = Path(_unescaped(fields[1]))
        if (path == point or point in path.parents) and len(point.parts) >= best:
            best, kind = len(point.parts), fields[2]
    return kind if kind in NETWORK_FILE_SYSTEMS else None


def _unescaped(field: str) -> str:
    """Undo the mount table's octal escapes (``getmntent(3)``)."""
    for escape, character in ((r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", "\\")):
        field = field.replace(escape, character)
    return field


def _refuse_network(path: Path) -> None:
    try:
        mounts = _MOUNTS.read_text(errors="surrogateescape")
    except OSError:
        return  # No such table here (macOS): nothing is known, so nothing is refused.
    kind = network_file_system(path.resolve(), mounts)
    if kind is not None:
        message = f"{path} is on a network file system ({kind}), where SQLite's locks cannot be trusted"
        raise StoreUnavailable(message, hint=_LOCAL_HINT)


def _refuse_full(path: Path) -> None:
    existing = next(p for p in path.parents if p.exists())
    free = shutil.disk_usage(existing).free
    if free < LEAST_FREE_BYTES and not path.exists():
        raise DiskFull(f"{existing} has {free // 1024} KiB free; a new database needs {LEAST_FREE_BYTES // 1024} KiB")


def _create_or_close(path: Path) -> None:
    """Create the file with its final mode: SQLite gives the log and its index the mode of the database."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, PRIVATE_FILE))
    except FileExistsError:
        if not path.is_file():
            raise StoreUnavailable(f"{path} is not a file", hint=_LOCAL_HINT) from None
        state = path.stat()
        if state.st_mode & 0o077 and state.st_uid == os.geteuid():
            path.chmod(state.st_mode & 0o700)  # what its owner may do is the owner's choice


def _refusal(path: Path, error: OSError) -> StoreUnavailable | DiskFull:
    reason = os.strerror(error.errno) if error.errno is not None else str(error)
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return DiskFull(f"{path}: {reason}")
    return StoreUnavailable(f"the database {path} cannot be made: {reason}", hint=_permission_hint(path))


def _permission_hint(path: Path) -> str:
    return f"Make {path.parent} writable for this user, or choose another GREENCTL_STATE_DIR."
