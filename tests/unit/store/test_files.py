"""Which file systems SQLite can be trusted on, by the mount table."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.store.files import network_file_system

TABLE = r"""
/dev/vda1 / ext4 rw 0 0
proc /proc proc rw 0 0
server:/home /home nfs4 rw,vers=4.2 0 0
/dev/vdb /home/ada/local xfs rw 0 0
//nas/share /mnt/my\040share cifs rw 0 0
ada@host:/ /mnt/ssh fuse.sshfs rw 0 0
/dev/vdc /mnt/twice ext4 rw 0 0
server:/x /mnt/twice nfs rw 0 0
tmpfs /scratch tmpfs rw 0 0
broken line
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/green.db", None),
        ("/home/bob/green.db", "nfs4"),
        ("/home", "nfs4"),
        ("/homely/green.db", None),
        ("/home/ada/local/green.db", None),
        ("/mnt/my share/green.db", "cifs"),
        ("/mnt/ssh/a/b/green.db", "fuse.sshfs"),
        ("/mnt/twice/green.db", "nfs"),
        ("/scratch/green.db", None),
    ],
)
def test_the_innermost_and_latest_mount_decides(path: str, kind: str | None) -> None:
    """A local disk inside a network home is local; a network mount over a local one is not."""
    assert network_file_system(Path(path), TABLE) == kind


def test_nothing_is_known_without_a_table() -> None:
    """An empty or unreadable table refuses nothing."""
    assert network_file_system(Path("/home/ada/green.db"), "") is None
