"""The texts of a region's configuration files. Pure."""

from __future__ import annotations

from pathlib import Path

from infra.lab.config import MEMORY_GIB_PER_REPLICA, PARTITION, VCPUS_PER_REPLICA, LabConfig, Place

KILL_WAIT_SECONDS = 30
"""Between TERM and KILL: an engine that is told to end gets time to finish what it says."""

CATALOGS = {"common/accelerators.csv": "AcceleratorName,Clouds\nH100,\"['Slurm']\"\n"}
"""Lists that SkyPilot would fetch, even for Slurm, when a task names an accelerator; below ``~/.sky/catalogs/v8``.

Without a ``.meta/*.md5`` beside it, a list counts as written by its user and is left alone.
"""


def slurm_conf(lab: LabConfig, place: Place, *, for_nodes: bool = False) -> str:
    """One cluster without accounting, authentication, cgroups or systemd: loopback is the fence.

    Slurm's daemons listen on every address unless told otherwise, and without authentication whoever reaches one is
    whom they say they are. ``for_nodes``: what slurmd reads; srun must not, because a step calls it back at 127.0.0.1,
    from where it came, and not at the address of its node.
    """
    bound = "NoInAddrAny" if for_nodes else "NoCtldInAddrAny"
    directory = place.directory
    nodes = "\n".join(
        f"NodeName={name} NodeHostname=localhost NodeAddr={place.address(n)} Port={place.first_node_port + n} "
        f"CPUs={lab.cpus} RealMemory={lab.memory_mb} State=UNKNOWN"
        for n, name in enumerate(place.nodes, start=1)
    )
    return f"""\
ClusterName={place.region.name}
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={place.controller_port}
CommunicationParameters={bound}
# The two files differ on purpose.
DebugFlags=NO_CONF_HASH
SlurmUser=root
SlurmdUser=root
AuthType=auth/none
CredType=cred/none
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
ReturnToService=2
# Nodes may claim more than the machine has.
SlurmdParameters=config_overrides
LaunchParameters=enable_nss_slurm
JobRequeue=0
KillWait={KILL_WAIT_SECONDS}
CompleteWait=0
InactiveLimit=0
SchedulerParameters=sched_min_interval=0,sched_interval=2
SlurmctldTimeout=60
SlurmdTimeout=20
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/run/spool-%n
SlurmctldPidFile={directory}/run/slurmctld.pid
SlurmdPidFile={directory}/run/slurmd-%n.pid
SlurmctldLogFile={directory}/log/slurmctld.log
SlurmdLogFile={directory}/log/slurmd-%n.log
PrologSlurmctld={directory}/etc/prolog
{nodes}
# One allocation per node: each replica has an address of its own, and all may use the same port.
PartitionName={PARTITION} Nodes=ALL Default=YES MaxTime=INFINITE DefaultTime=1-00:00:00 State=UP OverSubscribe=EXCLUSIVE
"""


def sshd_config(place: Place) -> str:
    """The login node: one user, one key, loopback only."""
    directory = place.directory
    return f"""\
ListenAddress 127.0.0.1:{place.ssh_port}
HostKey {directory}/etc/hostkey
PidFile {directory}/run/sshd.pid
AuthorizedKeysFile .ssh/authorized_keys
PasswordAuthentication no
UsePAM no
StrictModes no
MaxStartups 100:30:200
MaxSessions 100
SetEnv SLURM_CONF={place.slurm_conf}
AllowUsers {place.user}
"""


def ssh_host(lab: LabConfig, place: Place) -> str:
    """An entry of ``~/.slurm/config``: to SkyPilot, the host's name is the region."""
    return f"""\
Host {place.region.name}
    HostName 127.0.0.1
    Port {place.ssh_port}
    User {place.user}
    IdentityFile {lab.home}/.ssh/sky-slurm
    IdentitiesOnly yes
"""


def hosts(place: Place) -> str:
    """``/etc/hosts`` of the nodes: SkyPilot looks up each node's own name and wants its address."""
    own = "\n".join(f"{place.address(n)} {name}" for n, name in enumerate(place.nodes, start=1))
    return f"127.0.0.1 localhost\n{own}\n"


def bashrc(place: Place) -> str:
    """What a login shell on the region's machines knows."""
    return f"""\
export PATH={place.directory}/bin:$PATH
export SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt UV_SYSTEM_CERTS=1
"""


def prolog(lab: LabConfig, place: Place, runtime: Path) -> str:
    """Runs before each job. SkyPilot gives every cluster a home of its own and would fetch uv and a Python into it.

    The wheel's hash says that what SkyPilot is about to install is there already.
    """
    directory = place.directory
    return f"""\
#!/bin/bash
exec 2>>{directory}/log/prolog.log
[[ $SLURM_JOB_NAME =~ ^[A-Za-z0-9._-]+-[0-9a-f]{{8}}$ ]] || exit 0 # SkyPilot: <cluster>-<hash of its user>
home={directory}/home/.sky_clusters/$SLURM_JOB_NAME
mkdir -p "$home/.local/bin" "$home/.sky/wheels" "{directory}/tmp/$SLURM_JOB_NAME/.sky"
ln -sfn {directory}/bin/uv "$home/.local/bin/uv"
ln -sfn {runtime} "{directory}/tmp/$SLURM_JOB_NAME/skypilot-runtime"
ls -t {lab.home}/.sky/wheels | head -n 1 >"$home/.sky/wheels/current_sky_wheel_hash"
chown -R {place.user}: "{directory}/tmp/$SLURM_JOB_NAME" {directory}/home/.sky_clusters
exit 0
"""


def sky_config(lab: LabConfig) -> str:
    """SkyPilot's own configuration: Slurm and nothing else, and a full region is found full within half a minute."""
    clusters = "".join(f"    {place.region.name}:\n      tmpdir: {place.directory}/tmp\n" for place in lab.places)
    return f"allowed_clouds: [slurm]\nslurm:\n  provision_timeout: 30\n  cluster_configs:\n{clusters}"


def offers(lab: LabConfig) -> str:
    """A price list for greenctl. SkyPilot knows no price of your own machines, so these are notional.

    The shape's name is SkyPilot's for that many vCPUs and GiB on Slurm (``sky/provision/slurm/utils.py``).
    """
    shape = f"{VCPUS_PER_REPLICA}CPU--{MEMORY_GIB_PER_REPLICA}GB,,,{VCPUS_PER_REPLICA},{MEMORY_GIB_PER_REPLICA}"
    header = (
        "cloud,region,zone,instance_type,accelerator,accelerator_count,vcpus,memory_gib,"
        "ondemand_usd_per_hour,spot_usd_per_hour,as_of,note,kind\n"
    )
    rows = "".join(
        f"slurm,{place.region.name},{PARTITION},{shape},0.05,,2026-11-01,notional price,synthetic\n"
        for place in lab.places
    )
    return header + rows
