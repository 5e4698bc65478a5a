"""A real Slurm on this machine, from nothing: one node that announces eight CPUs and eight fake GPUs. Root, seconds.

    python tests/slurm/cluster.py up
    python tests/slurm/cluster.py down

Needs Debian's slurmctld, slurmd and slurm-client. No cgroups, no systemd, no accounting database: what a container has.
"""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path("/tmp/hra-slurm")
# Not by SLURM_CONF: the executor's job step removes that variable before it calls srun.
CONF = Path("/etc/slurm/slurm.conf")
LINKED = ("slurm.conf", "gres.conf", "cgroup.conf", "slurm.key")
DAEMONS = ("slurmd", "slurmctld")
CPUS, MEMORY_MB, GPUS = 8, 32000, 8  # room for all jobs that stand still in test_failures.py, and the others

SLURM_CONF = """
ClusterName=hra
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort=26817
SlurmdPort=26818
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
MailProg=/bin/true
MpiDefault=none
# The key is slurm.key. A requeued job waits until the credential of its first run has expired.
AuthType=auth/slurm
CredType=auth/slurm
AuthInfo=cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
# Without cgroups: the resident memory of a job's processes is summed every two seconds.
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0,bf_interval=2
SlurmdParameters=config_overrides
KillWait=5
InactiveLimit=0
ReturnToService=1
SlurmdTimeout=30
MinJobAge=300
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} Gres=gpu:fake:{gpus}
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE DefMemPerCPU=500 State=UP
"""


def up() -> None:
    """Start the cluster; returns when the node is idle."""
    missing = [name for name in (*DAEMONS, "sbatch") if not shutil.which(name)]
    if missing or os.geteuid():
        raise SystemExit(f"needs root and Debian's slurmctld, slurmd, slurm-client; not found: {missing}")
    if CONF.exists() and CONF.resolve().parent != FOLDER:
        raise SystemExit(f"{CONF} belongs to another Slurm: this machine has one already")
    down()
    for name in ("state", "spool", "dev"):
        (FOLDER / name).mkdir(parents=True)
    key = FOLDER / "slurm.key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(1024))
    host = socket.gethostname().partition(".")[0]
    sizes = {"cpus": CPUS, "memory": MEMORY_MB, "gpus": GPUS}
    (FOLDER / "slurm.conf").write_text(SLURM_CONF.format(host=host, folder=FOLDER, **sizes))
    (FOLDER / "cgroup.conf").write_text("CgroupPlugin=disabled\n")
    # Slurm drops a GPU that has no file: each is a twin of /dev/null.
    for index in range(GPUS):
        os.mknod(FOLDER / f"dev/gpu{index}", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    gres = f"NodeName={host} Name=gpu Type=fake File={FOLDER}/dev/gpu[0-{GPUS - 1}]\n"
    (FOLDER / "gres.conf").write_text(gres)
    for name in LINKED:
        (CONF.parent / name).symlink_to(FOLDER / name)
    subprocess.run(["slurmctld", "-i"], check=True)
    subprocess.run(["slurmd"], check=True)
    deadline = time.monotonic() + 60
    while slurm("sinfo", "-h", "-o", "%t", check=False) != "idle":
        if time.monotonic() > deadline:
            raise SystemExit(f"the node does not become idle: see {FOLDER}/slurmctld.log and slurmd.log")
        time.sleep(0.2)


def down() -> None:
    """Cancel all jobs, stop the daemons, remove every trace."""
    if CONF.resolve().parent != FOLDER:
        return
    with contextlib.suppress(subprocess.CalledProcessError, subprocess.TimeoutExpired):
        slurm("scancel", "-f", "--user", "root")
        deadline = time.monotonic() + 15
        while slurm("squeue", "-h") and time.monotonic() < deadline:
            time.sleep(0.2)
    for name in DAEMONS:
        stop(FOLDER / f"{name}.pid")
    for path in Path("/proc").glob("[0-9]*/environ"):  # what a test that failed has left, and does not end by itself
        with contextlib.suppress(OSError):
            if b"SLURM_JOB_ID=" in path.read_bytes():
                os.kill(int(path.parent.name), signal.SIGKILL)
    for name in LINKED:
        (CONF.parent / name).unlink(missing_ok=True)
    shutil.rmtree(FOLDER, ignore_errors=True)


def stop(pid_file: Path) -> None:
    try:
        pid = int(pid_file.read_text())
        os.kill(pid, signal.SIGTERM)
        for _ in range(100):
            os.kill(pid, 0)
            time.sleep(0.1)
        os.kill(pid, signal.SIGKILL)
    except (OSError, ValueError):
        return


def slurm(*command: str, check: bool = True) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=check, timeout=30).stdout.strip()


def state() -> str:
    """Of queue and node, and the controller's last words, for whoever reads why a test failed."""
    seen = slurm("squeue", "-o", "%A %T %r %k"), slurm("sinfo", "-N", "-o", "%n %T %E")
    return "\n".join([*seen, *(FOLDER / "slurmctld.log").read_text().splitlines()[-40:]])


if __name__ == "__main__":
    if sys.argv[1:] not in (["up"], ["down"]):
        raise SystemExit(__doc__)
    {"up": up, "down": down}[sys.argv[1]]()
