"""Short jobs one after the other as one Slurm job, on a real Slurm: one of twenty fails."""

import re
from collections import Counter

from grid import PROGRAM, QUICK, SECONDS
from project import Project
from support import ROOT

SNAKEFILE = """
rule all:
    input: expand("out/{number}", number=range(20))

rule short: # the first attempt of job 3 fails
    output: touch("out/{number}")
    resources: mem_mb=500, runtime=2
    shell: "echo {wildcards.number} >> ran; [ {wildcards.number} != 3 ] || [ -e tried ] || {{ touch tried; exit 3; }}"
"""
OPTIONS = (*QUICK, "--jobs", "30", "--retries", "1", "--set-resources", "short:jobs_per_allocation=20")
COMMAND = ("--profile", str(ROOT / "slurm"), *OPTIONS)


def test_twenty_jobs_are_one_call_of_sbatch_and_the_one_that_fails_is_retried_alone(cluster, tmp_path):
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    output = Project(tmp_path).snakemake(*COMMAND, program=PROGRAM, seconds=SECONDS)
    lines = cluster.slurm("squeue", "-h", "-t", "all", "-o", "%Z|%i|%k|%l").splitlines()
    pack, alone = (line.split("|", 2)[2] for line in sorted(lines) if line.startswith(f"{tmp_path}|"))
    assert re.fullmatch(r"rule_pack_wildcards_20_\w+\|40:00", pack)
    assert alone == "rule_short_wildcards_3|2:00"
    assert output.count("Trying to restart job") == 1
    ran = Counter((tmp_path / "ran").read_text().split())
    assert ran == Counter(map(str, range(20))) + Counter("3")
    assert len(list((tmp_path / "out").iterdir())) == 20
    # Each has a log, the one that failed two.
    assert len(list((tmp_path / "logs/slurm/rule_short").rglob("*.log"))) == 21
