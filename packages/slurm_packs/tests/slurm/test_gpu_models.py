"""Two GPU models in one partition of a real Slurm: jobs run on the smallest GPU that has enough memory for them."""

from cluster import NODES
from grid import PROGRAM, QUICK
from project import Project
from support import ROOT

SNAKEFILE = """
rule all:
    input: expand("out/{memory}", memory=[9000, 15000, 41000])

rule job:
    output: "out/{memory}"
    resources: gpu=1, gpu_mem_mb=lambda wildcards: int(wildcards.memory), mem_mb=500, runtime=5
    shell: "echo $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES > {output}"

use rule job as shared with: # together 18000 MB
    output: "shared/{memory}"
    resources: gpu=1, gpu_mem_mb=9000, mem_mb=500, runtime=5, jobs_per_gpu=2
"""


def test_jobs_run_on_the_smallest_gpu_with_enough_memory(cluster, tmp_path, monkeypatch):
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    monkeypatch.setenv("HRA_SLURM_GPU_PARTITION", "gpu-shared")
    monkeypatch.setenv("HRA_SLURM_GPU_MODELS", "large:80000 fake:16000")
    command = ("--profile", str(ROOT / "slurm"), *QUICK, "all", "shared/a", "shared/b")
    Project(tmp_path).snakemake(*command, program=PROGRAM)
    models = {
        path.name: NODES[path.read_text().split()[0]]
        for path in tmp_path.glob("*/*")
        if path.parent.name in ("out", "shared")
    }
    assert models == {"9000": "fake", "15000": "fake", "41000": "large", "a": "large", "b": "large"}
