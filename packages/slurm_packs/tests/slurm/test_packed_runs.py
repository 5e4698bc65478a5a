"""Four runs as one Slurm job that share a GPU: one is killed, one exceeds its memory, then Slurm requeues the job.

Their neighbours end as if alone, each run resumes from its own checkpoint, and all results are the reference's.
"""

import json
import os
import re
import signal
from pathlib import Path

import pytest

from fault_injection import FaultInjection, inject

RUNS = ("lora/r8", "hra/r8", "bitfit/all", "head/linear")
PACKED = """
tasks:
  glue:
    grid: [{runs: [lora/r8, hra/r8, bitfit/all, head/linear], datasets: [sentences], seeds: [0]}]
    resources: {runs_per_gpu: 4}
"""


class PackedFaults(FaultInjection):
    tables = ("results/table_glue.csv",)
    config = ("packed.yaml",)

    def pack(self) -> str | None:
        """Return the ID of the pack, once it runs."""
        found = [job for comment, job in self.queue("R").items() if comment.startswith("rule_pack_")]
        return found[0] if found else None

    def stopped(self, run: str) -> int | None:
        """Return the process of a run that is suspended, with a checkpoint (faults/sitecustomize.py)."""
        path = self.faults / f"{run.partition('/')[0]}.pid"
        pid = int(path.read_text() or 0) if path.exists() else 0  # the file may still be empty
        try:
            return pid if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T" else None
        except FileNotFoundError:
            return None

    def run(self) -> None:
        (self.project.folder / "packed.yaml").write_text(PACKED)
        self.start()
        self.first = self.wait(self.pack, "pack")
        pids = {
            run: self.wait(lambda run=run: self.stopped(run), f"checkpoint of {run}") for run in RUNS if run != "hra/r8"
        }
        self.wait(lambda: "A job of SLURM-job" in self.output, "end of hra/r8, over its memory")
        for run in RUNS:
            self.release(run)
        os.kill(pids["lora/r8"], signal.SIGKILL)
        self.wait(lambda: self.output.count("A job of SLURM-job") == 2, "end of lora/r8, killed")
        self.slurm.slurm("scontrol", "requeue", self.first)
        self.wait(lambda: self.head.poll() is not None, "end of Snakemake")
        assert self.head.returncode == 0, f"{self.output}\n{self.slurm.state()}"


@pytest.fixture(scope="module")
def packed(cluster, tmp_path_factory):
    folder, faults = tmp_path_factory.mktemp("packed") / "project", tmp_path_factory.mktemp("faults")
    return inject(PackedFaults, folder, faults, cluster)


def record(project, run: str) -> dict:
    return json.loads((project.folder / f"results/glue/sentences/{run}/seed0/train.json").read_text())


@pytest.mark.parametrize("run", RUNS)
def test_weights_and_predictions_are_the_same_to_the_byte(packed, reference, run):
    expected = reference.folder / f"results/glue/sentences/{run}/seed0"
    compared = [*expected.rglob("*.safetensors"), *expected.rglob("predictions.jsonl.gz")]
    assert len(compared) == 3
    for path in compared:
        assert (packed.project.folder / path.relative_to(reference.folder)).read_bytes() == path.read_bytes(), path


@pytest.mark.parametrize("run", RUNS)
def test_each_run_resumes_from_its_own_checkpoint_and_a_failed_one_alone(packed, reference, run):
    resumed = record(packed.project, run)
    assert resumed["attempts"] == 2 and len(resumed["resumed_from"]) == 1
    assert resumed["curve"] == record(reference, run)["curve"]
    assert resumed["runs_per_gpu"] == 4
    logs = packed.project.folder / "logs/slurm/rule_train_glue" / f"glue_sentences_{run.replace('/', '_')}_0"
    jobs = {path.stem for path in logs.iterdir()}
    assert packed.first in jobs and len(jobs) == (2 if run in ("lora/r8", "hra/r8") else 1)


def test_four_runs_were_one_job_that_two_left(packed):
    assert re.search(r"exceeded memory limit", "".join(text for text in logs(packed)))
    names = [folder.name for folder in (packed.project.folder / "logs/slurm").iterdir()]
    assert names.count("rule_pack") == 1
    assert len(list((packed.project.folder / "logs/slurm/rule_pack").iterdir())) == 1
    assert packed.output.count("Trying to restart job") == 2


def logs(packed) -> list[str]:
    return [path.read_text() for path in (packed.project.folder / "logs/slurm").rglob("*.log")]
