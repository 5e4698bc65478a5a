"""The tiny grid as a separate project, the command that builds its tables, and the environment of its jobs."""

import shutil
from pathlib import Path

import pytest

from cluster import CLUSTER
from project import Project
from sums import write_sums
from support import ROOT, write_sentences

COMMAND = ("--profile", "slurm", "--configfile", "grid.yaml")  # as in the README
# What makes Snakemake ask Slurm every second, since these jobs take seconds.
PROGRAM = (str(ROOT / "packages/slurm_packs/tests/impatient_snakemake.py"),)
QUICK = ("--slurm-packs-init-seconds-before-status-checks", "1", "--latency-wait", "10")
SECONDS = 600  # for all of a grid's jobs; two minutes on a machine with nothing else to do
TABLES = ("results/table_glue.csv", "results/table_math.csv")


def new_project(folder: Path) -> Project:
    """Set up the workflow with the tiny grid and its data."""
    project = Project.fresh(folder)
    project.link_library()
    shutil.copy(ROOT / "tests/data/tiny_grid.yaml", folder / "grid.yaml")
    # Its training jobs take seconds, so they save a checkpoint after every step.
    project.change(
        "workflow/hra_workflow/keys/tasks.py",
        "save_seconds: Annotated[int, Field(ge=10)]",
        "save_seconds: Annotated[int, Field(ge=0)]",
    )
    (folder / "data").mkdir()
    write_sentences(folder / "data/sentences")
    write_sums(folder / "data/sums")
    return project


def inject_faults(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let jobs fail as faults/sitecustomize.py says; folder: what the test and the jobs tell each other."""
    patch.setenv("PYTHONPATH", str(Path(__file__).with_name("faults")))
    patch.setenv("HRA_FAULTS", str(folder))


def processes(script: str) -> list[dict]:
    """Processes of a script in Slurm jobs: `pid`, `stopped`, and `job`, `node`, `gpus` from their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().split(b"\0")
            pairs = (folder / "environ").read_text(errors="replace").split("\0")
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        values = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        ours = values.get("SLURM_CLUSTER_NAME") == CLUSTER and b"python" in command[0]
        if ours and any(word.endswith(script.encode()) for word in command):
            found.append(
                {
                    "pid": int(folder.name),
                    "stopped": state == "T",
                    "job": values["SLURM_JOB_ID"],
                    "node": values["SLURMD_NODENAME"],
                    "gpus": values.get("CUDA_VISIBLE_DEVICES"),
                }
            )
    return found
