"""A real Slurm on this machine, set up from scratch: two nodes with dummy GPUs of two models. Root, seconds.

    python packages/slurm_packs/tests/slurm/cluster.py up
    python packages/slurm_packs/tests/slurm/cluster.py down

Needs Slurm 23.11 or later: Debian 13's slurmctld, slurmd and slurm-client. No cgroups, no systemd, no munge: what a
container has. Without an accounting database, unless a test starts one (accounting.py).
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
LINKED = ("slurm.conf", "gres.conf", "cgroup.conf", "slurm.key", "slurmdbd.conf")
DAEMONS = ("slurmd", "slurmctld")
STOPPED = (*DAEMONS, "slurmdbd", "mariadbd")  # in this order
TAKEN_OUT = "test"  # the reason of a node that a test takes out of service
CLUSTER = "hra-tests"
STEP = "slurmstepd: ["  # what the process of a job step calls itself
NODES = {"node1": "fake", "node2": "large"}  # and the model of its GPUs
CPUS, MEMORY_MB, GPUS = 4, 16000, 8  # of a node: room for all suspended jobs in test_failures.py, and the others

SLURM_CONF = """
ClusterName={cluster}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
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
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=DEFAULT Nodes=ALL MaxTime=INFINITE DefMemPerCPU=500 State=UP
PartitionName=main Default=YES
PartitionName=urgent PriorityTier=10 PreemptMode=OFF
# Those of the example in docs/cluster.md.
PartitionName=cpu
PartitionName=gpu-shared
PartitionName=gpu-nodes
"""
NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} RealMemory={memory} Gres={gres}"


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


def up(database: Callable[[], dict[str, str]] = dict, **settings: str | None) -> None:
    """Start the cluster; returns when its nodes are idle.

    database: starts a database, and returns the settings of slurm.conf for it (accounting.py). settings: of slurm.conf,
    instead of those above; None removes one.
    """
    if reason := lacking():
        raise SystemExit(reason)
    down()
    for name in ("state", "dev"):
        (FOLDER / name).mkdir(parents=True)
    key = FOLDER / "slurm.key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(1024))
    CONF.parent.mkdir(exist_ok=True)
    for name in LINKED:
        (CONF.parent / name).unlink(missing_ok=True)  # a dead link
        (CONF.parent / name).symlink_to(FOLDER / name)
    settings |= database()
    host = socket.gethostname().partition(".")[0]
    ports = free_ports(1 + len(NODES))
    text = SLURM_CONF.format(host=host, folder=FOLDER, cluster=CLUSTER, ports=ports)
    lines = [line for line in text.splitlines() if line.partition("=")[0] not in settings]
    lines = [f"{name}={value}" for name, value in settings.items() if value is not None] + lines
    sizes, gres = {"host": host, "cpus": CPUS, "memory": MEMORY_MB}, []
    # Slurm drops a GPU that has no file: each is a twin of /dev/null.
    for (name, model), port in zip(NODES.items(), ports[1:], strict=True):
        lines.append(NODE.format(name=name, port=port, gres=f"gpu:{model}:{GPUS}", **sizes))
        gres.append(f"NodeName={name} Name=gpu Type={model} File={FOLDER}/dev/{model}[0-{GPUS - 1}]\n")
        for index in range(GPUS):
            os.mknod(FOLDER / f"dev/{model}{index}", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    partitions = [line for line in lines if line.startswith("PartitionName")]
    lines = [line for line in lines if line not in partitions] + partitions
    (FOLDER / "slurm.conf").write_text("\n".join([*lines, ""]))
    (FOLDER / "cgroup.conf").write_text("CgroupPlugin=disabled\n")
    (FOLDER / "gres.conf").write_text("".join(gres))
    start("slurmctld", "-i")
    for name in NODES:
        start("slurmd", "-N", name)
    until(lambda: set(slurm("sinfo", "-h", "-N", "-o", "%t", check=False).split()) == {"idle"}, "idle nodes")


def start(*command: str) -> None:
    """Start a program that continues in the background."""
    # Whatever kills what a test has started is not to find them by it (tests/timeouts.py).
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    subprocess.run(command, check=True, timeout=60, stdin=subprocess.DEVNULL, env=environment)


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait two minutes for a condition."""
    deadline = time.monotonic() + 120
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"no {what}:\n{state()}")
        time.sleep(0.2)


def free_ports(count: int) -> list[int]:
    return list(itertools.islice(filter(free, range(26817, 27817)), count))


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
    for name in STOPPED:
        for path in (FOLDER / f"{name}.pid", *FOLDER.glob(f"{name}-*.pid")):
            stop(path)
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
        return pid if Path(f"/proc/{pid}/comm").read_text().strip() == pid_file.stem.partition("-")[0] else 0
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


def steps(job: str = "") -> list[str]:
    """Return the job steps on all nodes, or those of a job: what Slurm's processes call themselves."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(path.read_text(errors="replace").partition("\0")[0])
    return [name for name in found if name.startswith(STEP + (job and f"{job}."))]


def revive(ending: bool = False, taken_out: str = TAKEN_OUT) -> None:
    """Release held jobs, and resume a node that is out of service for another reason than `taken_out`.

    On a loaded machine Slurm holds jobs that it could not launch and drains a node whose jobs end late. ending: resume
    nodes while job steps may still end there.
    """
    for line in slurm("squeue", "-h", "-t", "PD", "-o", "%A %r").splitlines():
        job, _, reason = line.partition(" ")
        if "held" in reason.lower():
            slurm("scontrol", "release", job, check=False)
    for line in slurm("sinfo", "-h", "-N", "-p", "main", "-o", "%N|%T|%E").splitlines():
        node, seen, reason = line.split("|")
        if seen.startswith(("drain", "down")) and reason != taken_out and (ending or not steps()):
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
    for command in (("squeue", "-o", "%A %T %r %k"), ("sinfo", "-N", "-o", "%N %T %E"), ("scontrol", "show", "node")):
        try:
            said.append(slurm(*command, check=False))
        except subprocess.SubprocessError as problem:
            said.append(str(problem))
    for path in sorted(FOLDER.glob("*.log")):
        said.append("\n".join([f"{path}:", *path.read_text(errors="replace").splitlines()[-40:]]))
    return "\n".join([*said, f"job steps: {steps()}", f"load: {os.getloadavg()}"])


if __name__ == "__main__":
    if sys.argv[1:] not in (["up"], ["down"]):
        raise SystemExit(__doc__)
    {"up": up, "down": down}[sys.argv[1]]()
