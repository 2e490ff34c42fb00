"""Several Slurm clusters on one machine, which SkyPilot takes for regions of a cloud.

    python -m infra.lab up|down|status      what `make lab-up` and its sisters run

As root, on Debian with ``slurm-wlm openssh-server rsync``. Everything listens on loopback, lies below one folder and is
gone after ``down``.
"""

from infra.lab.config import LabConfig, LabError, RegionConfig
from infra.lab.lab import Job, Lab, down, up
from infra.lab.region import NodeState

__all__ = ["Job", "Lab", "LabConfig", "LabError", "NodeState", "RegionConfig", "down", "up"]
