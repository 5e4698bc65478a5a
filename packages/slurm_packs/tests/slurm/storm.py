"""A hundred faults, in random order and at random times, in a grid on the two nodes of the tests' Slurm."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from fault_injection import FaultInjection
from grid import processes

# A node that does not respond is down after ten seconds: its jobs start on the other one while they still run here.
# The controller does not answer while it waits for such a node.
SETTINGS = {"SlurmdTimeout": "10", "BatchStartTimeout": "30", "MessageTimeout": "10", "TCPTimeout": "5"}
STATE_MB = 8  # of the file system of the controller's state
QUERY = """#!/bin/sh
while [ "$(cat {fault} 2>/dev/null)" = hang ]; do sleep 0.2; done
[ ! -s {fault} ] || {{ echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1; }}
exec {program} "$@"
"""
STORM = """
tasks:
  glue:
    grid:
      - {runs: [full/all, bitfit/all, head/linear, lora/r8, hra/r8], datasets: [sentences], seeds: [0, 1, 2]}
    resources: {runs_per_gpu: 3}
  math:
    grid: [{runs: [hra/r8, lora/r8], datasets: [sums], seeds: [0]}]
"""


@contextlib.contextmanager
def controller_disk():
    """Yield the mount point of a small file system."""
    folder = Path(tempfile.mkdtemp())
    subprocess.run(("mount", "-t", "tmpfs", "-o", f"size={STATE_MB}m,mode=700", "none", folder), check=True)
    try:
        yield folder
    finally:
        subprocess.run(("umount", "--lazy", folder), check=True)
        folder.rmdir()


class Storm(FaultInjection):
    """The faults of FAULTS, in the order of a seed. Snakemake is started again whenever it has ended."""

    def __init__(self, folder: Path, faults: Path, slurm, seed: int, disk: Path, status: str):
        """disk: of the controller's state; status: the command with which Snakemake requests the state of jobs."""
        super().__init__(folder, faults, slurm)
        self.config = ("storm.yaml", "--slurm-packs-status-command", status)
        (folder / "storm.yaml").write_text(STORM)
        self.deadline = time.monotonic() + 3600
        self.random, self.disk, self.query = random.Random(seed), disk, faults / "query"
        self.left = [kind for kind, (count, *_) in FAULTS.items() for _ in range(count)]
        self.random.shuffle(self.left)
        self.lasting: dict[str, threading.Timer] = {}  # by kind, what ends it; alive until then
        self.happened: Counter[str] = Counter()
        self.ended: list[int] = []  # exit statuses of Snakemakes that were not killed
        self.tools = faults / "bin"
        self.tools.mkdir()
        for name in ("squeue", "sacct"):
            (self.tools / name).write_text(QUERY.format(fault=self.query, program=shutil.which(name)))
            (self.tools / name).chmod(0o755)

    def start(self) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PATH", str(self.tools), prepend=os.pathsep)
            super().start()

    def run(self) -> None:
        started = time.monotonic()
        self.start()
        while not self.queue("R"):
            self.watch(1)
        while self.left:
            self.watch(self.random.uniform(1, 8))
            for index, kind in enumerate(self.left):
                _, method, lasts = FAULTS[kind]
                if not self.lasts(kind) and (undo := method(self)):
                    self.happened[self.left.pop(index)] += 1
                    print(f"{time.monotonic() - started:5.0f} s  {kind}", flush=True)
                    self.lasting[kind] = threading.Timer(self.random.uniform(0, lasts), undo)
                    self.lasting[kind].start()
                    break
        self.calm()
        while self.ended[-1:] != [0]:
            self.watch(1)
        self.minutes = (time.monotonic() - started) / 60

    def watch(self, seconds: float) -> None:
        """Wait; meanwhile repair the cluster as administrators do, and start Snakemake again as users do."""
        until = time.monotonic() + seconds
        while (now := time.monotonic()) < until:
            assert now < self.deadline, f"{self.happened}\n{self.output[-20000:]}\n{self.slurm.state()}"
            with contextlib.suppress(subprocess.SubprocessError):  # the controller does not answer
                self.slurm.revive(ending=True, taken_out=self.slurm.TAKEN_OUT if self.lasts("node down") else "")
            if self.head.poll() is not None and self.ended[-1:] != [0]:
                if self.head.returncode != -signal.SIGKILL:
                    self.ended.append(self.head.returncode)
                if self.ended[-1:] != [0]:
                    self.unlock()
                    self.start()
            time.sleep(0.3)

    def lasts(self, kind: str) -> bool:
        return kind in self.lasting and self.lasting[kind].is_alive()

    def calm(self) -> None:
        """End the faults that last."""
        for timer in self.lasting.values():
            if timer.is_alive():
                timer.cancel()
                timer.function()
                timer.join()

    # Each returns what ends the fault, or None if it cannot happen now.

    def kill_snakemake(self):
        if self.head.poll() is None:
            self.kill()
            return nothing
        return None

    def kill_process(self, script: str):
        """Kill one process of Slurm jobs whose command has this word."""
        if found := processes(script):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.random.choice(found)["pid"], signal.SIGKILL)
                return nothing
        return None

    def job_command(self, *command: str):
        """Run a Slurm command on one of the running jobs."""
        with contextlib.suppress(subprocess.SubprocessError):
            if jobs := self.slurm.slurm("squeue", "-h", "-p", "main", "-t", "R", "-o", "%A").split():
                self.slurm.slurm(*command, self.random.choice(jobs))
                return nothing
        return None

    def preempt(self):
        """Let an urgent job take a whole node, whose jobs are requeued."""
        node = self.random.choice(list(self.slurm.NODES))
        command = ("sbatch", "-p", "urgent", "-w", node, "--exclusive", "-o", "/dev/null", "--wrap", "sleep 2")
        with contextlib.suppress(subprocess.SubprocessError):
            self.slurm.slurm(*command)
            return nothing
        return None

    def node_down(self):
        node = f"NodeName={self.random.choice(list(self.slurm.NODES))}"
        with contextlib.suppress(subprocess.SubprocessError):
            self.slurm.slurm("scontrol", "update", node, "State=DOWN", f"Reason={self.slurm.TAKEN_OUT}")
            return nothing
        return None

    def stop_node(self):
        """Suspend a node's slurmd: its jobs continue, and Slurm starts them on the other node as well."""
        pid = self.slurm.running(self.slurm.FOLDER / f"slurmd-{self.random.choice(list(self.slurm.NODES))}.pid")
        os.kill(pid, signal.SIGSTOP)
        return lambda: os.kill(pid, signal.SIGCONT)

    def restart(self, daemon: str):
        self.slurm.stop(self.slurm.FOLDER / f"{daemon}.pid")
        time.sleep(self.random.uniform(0, 5))
        self.slurm.start(daemon)
        return nothing

    def break_queries(self, how: str):
        if self.query.exists():
            return None
        self.query.write_text(how)
        return self.query.unlink

    def fill_disk(self):
        ballast = self.disk / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb") as stream:
            while True:
                stream.write(bytes(1 << 16))
                stream.flush()
        return ballast.unlink


def nothing() -> None:
    """End a fault that does not last."""


FAULTS = {  # count, method, seconds that it lasts at most; 100 in total
    "Snakemake killed": (12, Storm.kill_snakemake, 0),
    "training killed": (16, lambda storm: storm.kill_process("train_glue.py"), 0),
    "Snakemake of a job killed": (8, lambda storm: storm.kill_process("snakemake"), 0),
    "job cancelled": (10, lambda storm: storm.job_command("scancel"), 0),
    "job requeued": (12, lambda storm: storm.job_command("scontrol", "requeue"), 0),
    "jobs of a node preempted": (8, Storm.preempt, 0),
    "node down": (8, Storm.node_down, 10),
    "node does not respond": (6, Storm.stop_node, 30),
    "controller restarted": (6, lambda storm: storm.restart("slurmctld"), 0),
    "accounting restarted": (3, lambda storm: storm.restart("slurmdbd"), 0),
    "squeue and sacct fail": (4, lambda storm: storm.break_queries("fail"), 60),
    "squeue and sacct hang": (4, lambda storm: storm.break_queries("hang"), 60),
    "controller's disk full": (3, Storm.fill_disk, 20),
}
