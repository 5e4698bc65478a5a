"""A grid on Slurm whose jobs fail in every way that clusters know: killed, over a limit, requeued, their node down."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from grid import COMMAND, PROGRAM, QUICK, SECONDS, TABLES, inject_faults, new_project, processes

FAULTS = {
    "head/linear": "node down",
    "full/all": "killed",
    "bitfit/all": "requeued",
    "lora/r8": "over the time limit",
    "hra/r8": "over memory",
}


STOPPED = [run for run, fault in FAULTS.items() if fault != "over memory"]
EVALUATION = "rule_evaluate_math_wildcards_math_sums_hra_r8_0_test"  # waits for its release, too


class FaultInjection:
    """A project whose Snakemake runs in the background, and what injects faults into its jobs."""

    tables = TABLES
    config: tuple[str, ...] = ()  # files that are merged over grid.yaml

    def __init__(self, folder: Path, faults: Path, slurm):
        self.project, self.faults, self.slurm = new_project(folder), faults, slurm
        self.outputs: list[Path] = []
        self.jobs: dict[str, str] = {}  # into which a fault was injected, by run
        self.deadline = time.monotonic() + 1.5 * SECONDS

    def start(self) -> None:
        self.outputs.append(self.project.folder / f"output{len(self.outputs)}.log")
        with self.outputs[-1].open("w") as stream:
            command = (*COMMAND, *self.config, *QUICK, "--", *self.tables)
            self.head = self.project.start(*command, program=PROGRAM, stdout=stream, stderr=subprocess.STDOUT)

    def kill(self) -> None:
        self.head.kill()
        self.head.wait()

    def unlock(self) -> None:
        """Remove the lock of the killed Snakemake."""
        assert self.project.start(*COMMAND, "--unlock", program=PROGRAM).wait() == 0

    def wait(self, condition, what: str):
        """Wait for the first true value of `condition()`; Snakemake must not end before."""

        def ended() -> bool:
            return self.head.poll() is not None and self.head.returncode != -signal.SIGKILL

        return self.slurm.wait(condition, what, self.deadline, lambda: self.output, ended)

    def finished(self, rule: str) -> int:
        """Return how many jobs of a rule the Snakemake started last has taken note of."""
        return len(re.findall(rf"^Finished jobid: \d+ \(Rule: {rule}\)", self.outputs[-1].read_text(), re.MULTILINE))

    @property
    def output(self) -> str:
        return "".join(path.read_text() for path in self.outputs)

    def queue(self, *states: str) -> dict[str, str]:
        """Comment of each job -> its id."""
        of = ("-t", ",".join(states)) if states else ()
        lines = self.slurm.slurm("squeue", "-h", *of, "-o", "%k %A").splitlines()
        return dict(line.split() for line in lines)

    def job(self, rule: str, run: str, state: str = "R") -> str | None:
        names = [*run.split("/"), "0"] if rule == "train_glue" else [*run.split("/"), "0", "validation"]
        return self.queue(state).get(f"rule_{rule}_wildcards_glue_sentences_{'_'.join(names)}")

    def training(self, run: str) -> list[int]:
        """Return the processes of a suspended training job with a checkpoint (faults/sitecustomize.py)."""
        job = self.job("train_glue", run)
        found = [process for process in processes("train_glue.py") if job and process["job"] == job]
        return [process["pid"] for process in found if process["stopped"]]

    def release(self, run: str) -> None:
        """Let this job go on, once it is started again or continued; `evaluate_math`: the evaluation."""
        (self.faults / run.partition("/")[0]).touch()

    def inject(self, run: str) -> None:
        """Inject the fault in FAULTS into a training job; it runs out of memory by itself (faults/sitecustomize.py)."""
        pids = self.wait(lambda: self.training(run), f"training of {run} with a checkpoint")
        job = self.jobs[run] = self.job("train_glue", run)
        if FAULTS[run] != "over the time limit":
            self.release(run)
        if FAULTS[run] == "killed":
            os.kill(pids[0], signal.SIGKILL)
        elif FAULTS[run] == "requeued":
            self.slurm.slurm("scontrol", "requeue", job)
        elif FAULTS[run] == "over the time limit":
            self.slurm.slurm("scontrol", "update", f"JobId={job}", "TimeLimit=1")
        elif FAULTS[run] == "node down":
            node, running = self.slurm.slurm("squeue", "-h", "-j", job, "-o", "%N"), self.slurm.steps()
            assert any(name.startswith(f"slurmstepd: [{job}.") for name in running), running
            there = self.slurm.slurm("squeue", "-h", "-w", node, "-t", "R", "-o", "%A").split()
            self.slurm.slurm("scontrol", "update", f"NodeName={node}", "State=DOWN", f"Reason={self.slurm.TAKEN_OUT}")
            # A node that comes back has rebooted. Where its jobs' steps still end, Slurm drains it: "Duplicate jobid".
            self.wait(lambda: not any(map(self.slurm.steps, there)), "end of all job steps of the node")
            self.slurm.slurm("scontrol", "update", f"NodeName={node}", "State=RESUME")

    def run(self) -> None:
        """Inject all five faults, then kill Snakemake twice, each time once all other jobs have been taken note of."""
        self.start()
        # A job that ends while its node fails would run again.
        self.wait(lambda: self.finished("gather_math"), "answers")
        self.wait(lambda: self.finished("evaluate_glue"), "results of hra/r8, in spite of its memory")
        self.wait(lambda: EVALUATION in self.queue("R"), "evaluation of hra/r8")
        self.wait(lambda: all(map(self.training, STOPPED)), "trainings that are stopped at the same time")
        self.together = processes("train_glue.py")
        for run in ("head/linear", "lora/r8", "full/all", "bitfit/all"):
            self.inject(run)
        self.refused = self.project.snakemake(*COMMAND, "--", *TABLES, ok=False)

        # Killed while an evaluation runs, and the stopped training, tried again after its time limit.
        stopped = self.jobs["lora/r8"]
        self.wait(lambda: self.job("train_glue", "lora/r8") not in (None, stopped), "retry of lora/r8")
        self.wait(lambda: self.training("lora/r8"), "training of lora/r8")
        self.wait(lambda: self.finished("evaluate_glue") == len(FAULTS) - 1, "results of the other runs")
        self.wait(lambda: EVALUATION in self.queue("R"), "evaluation of hra/r8")
        self.kill()
        self.release("lora/r8")
        self.locked = self.project.snakemake(*COMMAND, "--", *TABLES, ok=False)
        self.unlock()
        self.start()

        # Killed while the evaluation runs, which then ends with nobody to take note.
        self.wait(lambda: self.finished("table"), "table of GLUE")
        self.wait(lambda: EVALUATION in self.queue("R"), "evaluation of hra/r8")
        self.kill()
        self.release("evaluate_math")
        self.wait(lambda: not self.queue("PD", "R", "CG"), "end of all jobs")
        self.unlock()
        self.start()
        self.wait(lambda: self.head.poll() is not None, "end of Snakemake")
        assert self.head.returncode == 0, f"{self.output}\n{self.slurm.state()}"


def inject(kind: type[FaultInjection], folder: Path, faults: Path, slurm) -> FaultInjection:
    """Run a grid on the cluster with faults injected into its jobs; nothing of it is left running."""
    injection = kind(folder, faults, slurm)
    with pytest.MonkeyPatch.context() as patch:
        inject_faults(patch, faults)
        try:
            injection.run()
        finally:
            injection.kill()  # so that it does not continue after a failure
    return injection
