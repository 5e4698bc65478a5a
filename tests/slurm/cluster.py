"""A real Slurm on this machine, set up from scratch: one node with eight CPUs and eight dummy GPUs. Root, seconds.

    python tests/slurm/cluster.py up
    python tests/slurm/cluster.py down

Needs Slurm 23.11 or later: Debian 13's slurmctld, slurmd and slurm-client. No cgroups, no systemd, no munge, no
accounting database: what a container has.
"""

import contextlib
import itertools
import os
import re
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

FOLDER = Path("/tmp/hra-slurm")
# Not by SLURM_CONF: the executor's job step removes that variable before it calls srun.
CONF = Path("/etc/slurm/slurm.conf")
LINKED = ("slurm.conf", "gres.conf", "cgroup.conf", "slurm.key")
DAEMONS = ("slurmd", "slurmctld")
TAKEN_OUT = "test"  # the reason of a node that a test takes out of service
CLUSTER = "hra-tests"
STEP = "slurmstepd: ["  # what the process of a job step calls itself
CPUS, MEMORY_MB, GPUS = 8, 32000, 8  # room for all suspended jobs in test_failures.py, and the others

SLURM_CONF = """
ClusterName={cluster}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
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
# The key is slurm.key; Slurm knows such keys since 23.11.
# A requeued job waits until the credential of its first run has expired.
AuthType=auth/slurm
CredType=auth/slurm
AuthInfo=cred_expire=10
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
# Without cgroups: the resident memory of a job's processes is summed every two seconds.
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0,bf_interval=2,nohold_on_prolog_fail
SlurmdParameters=config_overrides
KillWait=5
InactiveLimit=0
ReturnToService=1
# A machine with more to do than this: nothing is given up because an answer, a start or an end takes long.
SlurmdTimeout=300
MessageTimeout=60
TCPTimeout=20
BatchStartTimeout=120
UnkillableStepTimeout=300
# Snakemake would wait for ever for a job that Slurm has forgotten.
MinJobAge=86400
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} Gres=gpu:fake:{gpus}
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE DefMemPerCPU=500 State=UP
# Those of the example in docs/cluster.md.
PartitionName=cpu Nodes={host} MaxTime=INFINITE State=UP
PartitionName=gpu-shared Nodes={host} MaxTime=INFINITE State=UP
PartitionName=gpu-nodes Nodes={host} MaxTime=INFINITE State=UP
"""


def lacking() -> str:
    """List what prevents this machine from running the cluster; empty if nothing does."""
    missing = [name for name in (*DAEMONS, "sbatch") if not shutil.which(name)]
    if missing or os.geteuid():
        return f"needs root and Debian's slurmctld, slurmd, slurm-client; not found: {missing}"
    version = slurm("slurmctld", "-V")
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < (23, 11):
        return f"needs Slurm 23.11 or later (Debian 13), found {version}"
    foreign = [name for name in LINKED if (path := CONF.parent / name).exists() and path.resolve().parent != FOLDER]
    if foreign:
        return f"{CONF.parent} belongs to another Slurm, this machine has one already: {foreign}"
    return ""


def up(memory_limits: bool = True) -> None:
    """Start the cluster; returns when the node is idle. `memory_limits`: kill jobs that exceed their memory."""
    if reason := lacking():
        raise SystemExit(reason)
    down()
    for name in ("state", "spool", "dev"):
        (FOLDER / name).mkdir(parents=True)
    key = FOLDER / "slurm.key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(1024))
    host = socket.gethostname().partition(".")[0]
    ports = list(itertools.islice(filter(free, range(26817, 27817)), 2))
    sizes = {"cluster": CLUSTER, "ports": ports, "cpus": CPUS, "memory": MEMORY_MB, "gpus": GPUS}
    settings = SLURM_CONF if memory_limits else SLURM_CONF.replace("JobAcctGatherParams=OverMemoryKill\n", "")
    (FOLDER / "slurm.conf").write_text(settings.format(host=host, folder=FOLDER, **sizes))
    (FOLDER / "cgroup.conf").write_text("CgroupPlugin=disabled\n")
    # Slurm drops a GPU that has no file: each is a twin of /dev/null.
    for index in range(GPUS):
        os.mknod(FOLDER / f"dev/gpu{index}", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    gres = f"NodeName={host} Name=gpu Type=fake File={FOLDER}/dev/gpu[0-{GPUS - 1}]\n"
    (FOLDER / "gres.conf").write_text(gres)
    CONF.parent.mkdir(exist_ok=True)
    for name in LINKED:
        (CONF.parent / name).unlink(missing_ok=True)  # a dead link
        (CONF.parent / name).symlink_to(FOLDER / name)
    # Whatever kills what a test has started is not to find them by it (tests/timeouts.py).
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    for command in (["slurmctld", "-i"], ["slurmd"]):
        subprocess.run(command, check=True, timeout=60, stdin=subprocess.DEVNULL, env=environment)
    deadline = time.monotonic() + 120
    while slurm("sinfo", "-h", "-o", "%t", check=False) != "idle":
        if time.monotonic() > deadline:
            raise SystemExit(f"the node does not become idle:\n{state()}")
        time.sleep(0.2)


def free(port: int) -> bool:
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return tried.connect_ex(("127.0.0.1", port)) != 0


def down() -> None:
    """Cancel all jobs, stop the daemons, remove every trace."""
    if CONF.resolve().parent != FOLDER:
        return
    with contextlib.suppress(subprocess.SubprocessError):
        running(FOLDER / "slurmctld.pid") and slurm("scancel", "-f", "--user", "root")
        deadline = time.monotonic() + 15
        while running(FOLDER / "slurmctld.pid") and slurm("squeue", "-h") and time.monotonic() < deadline:
            time.sleep(0.2)
    for name in DAEMONS:
        stop(FOLDER / f"{name}.pid")
    for folder in Path("/proc").glob("[0-9]*"):  # what a test that failed has left, and does not end by itself
        with contextlib.suppress(OSError):
            step = (folder / "cmdline").read_bytes().startswith(STEP.encode())
            if step or f"SLURM_CLUSTER_NAME={CLUSTER}\0".encode() in (folder / "environ").read_bytes():
                os.kill(int(folder.name), signal.SIGKILL)
    for name in LINKED:
        (CONF.parent / name).unlink(missing_ok=True)
    shutil.rmtree(FOLDER, ignore_errors=True)


def running(pid_file: Path) -> int:
    """Return the daemon's process ID, or 0: the file of a killed daemon may contain another process's."""
    try:
        pid = int(pid_file.read_text())
        return pid if Path(f"/proc/{pid}/comm").read_text().strip() == pid_file.stem else 0
    except (OSError, ValueError):
        return 0


def stop(pid_file: Path) -> None:
    for number, seconds in ((signal.SIGTERM, 10), (signal.SIGKILL, 5)):
        if pid := running(pid_file):
            os.kill(pid, number)
        deadline = time.monotonic() + seconds
        while running(pid_file) and time.monotonic() < deadline:
            time.sleep(0.1)


def slurm(*command: str, check: bool = True) -> str:
    """Return the output of a Slurm command; raise if it does not respond within two minutes."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if check and done.returncode:
        raise subprocess.SubprocessError(f"{' '.join(command)}: {done.stderr}")
    return done.stdout.strip()


def steps() -> list[str]:
    """Job steps on this node: what Slurm's processes call themselves."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(path.read_text(errors="replace").partition("\0")[0])
    return [name for name in found if name.startswith(STEP)]


def revive() -> None:
    """Release held jobs, and resume a node that is out of service unless a test took it out.

    On a loaded machine Slurm holds jobs that it could not launch and drains a node whose jobs end late.
    """
    for line in slurm("squeue", "-h", "-t", "PD", "-o", "%A %r").splitlines():
        job, _, reason = line.partition(" ")
        if "held" in reason.lower():
            slurm("scontrol", "release", job, check=False)
    node, seen, reason = slurm("sinfo", "-h", "-o", "%n|%T|%E").split("|")
    if seen.startswith(("drain", "down")) and reason != TAKEN_OUT and not steps():
        slurm("scontrol", "update", f"NodeName={node}", "State=RESUME", check=False)


def wait(condition: Callable, what: str, deadline: float, output: Callable[[], str], over: Callable = lambda: False):
    """The first true value of `condition()` before the deadline (of time.monotonic()); `over()`: none can come now."""
    while not (value := condition()):
        late = over() or time.monotonic() > deadline
        assert not late, f"no {what}:\n{state()}\n{output()[-20000:]}"
        time.sleep(0.3)
        revive()
    return value


def state() -> str:
    """Queue, nodes and the last lines of the daemons' logs, for whoever reads why a test failed."""
    said = []
    for command in (("squeue", "-o", "%A %T %r %k"), ("sinfo", "-N", "-o", "%n %T %E"), ("scontrol", "show", "node")):
        try:
            said.append(slurm(*command, check=False))
        except subprocess.SubprocessError as problem:
            said.append(str(problem))
    for name in DAEMONS:
        path = FOLDER / f"{name}.log"
        lines = path.read_text(errors="replace").splitlines() if path.exists() else ["is not there"]
        said.append("\n".join([f"{path}:", *lines[-40:]]))
    return "\n".join([*said, f"job steps: {steps()}", f"load: {os.getloadavg()}"])


if __name__ == "__main__":
    if sys.argv[1:] not in (["up"], ["down"]):
        raise SystemExit(__doc__)
    {"up": up, "down": down}[sys.argv[1]]()
