"""Short jobs one after the other as one Slurm job, on a real Slurm: one of twenty fails, or Slurm requeues them."""

import re
import time
from collections import Counter
from functools import partial

from grid import PROGRAM, QUICK, SECONDS
from project import Project
from support import ROOT

SNAKEFILE = """
rule all:
    input: expand("out/{{number}}", number=range({jobs}))

rule short:
    output: "out/{{number}}"
    resources: mem_mb=500, runtime=2, gpu={gpu}
    shell: "echo {{wildcards.number}} >> ran; {shell}; echo ${{{{CUDA_VISIBLE_DEVICES-}}}} > {{output}}"
"""
# The first attempt of job 3.
FAILS = "sleep 1; [ {wildcards.number} != 3 ] || [ -e tried ] || {{ touch tried; exit 3; }}"
# The second job that starts.
HANGS = "[ $(wc -l < ran) != 2 ] || sleep 600"
OPTIONS = (*QUICK, "--jobs", "30", "--retries", "1", "--set-resources", "short:jobs_per_allocation=20")
COMMAND = ("--profile", str(ROOT / "slurm"), *OPTIONS)


def submitted(cluster, folder) -> dict[str, str]:
    """Return the Slurm jobs of the Snakemake in this folder: ID -> comment and time limit."""
    lines = cluster.slurm("squeue", "-h", "-t", "all", "-o", "%i|%Z|%k|%l").splitlines()
    jobs = [line.split("|") for line in lines]
    return {job[0]: "|".join(job[2:]) for job in sorted(jobs) if job[1] == str(folder)}


def test_twenty_jobs_are_one_call_of_sbatch_and_the_one_that_fails_is_retried_alone(cluster, tmp_path):
    (tmp_path / "Snakefile").write_text(SNAKEFILE.format(jobs=20, gpu=0, shell=FAILS))
    output = Project(tmp_path).snakemake(*COMMAND, program=PROGRAM, seconds=SECONDS)
    pack, alone = submitted(cluster, tmp_path).values()
    assert re.fullmatch(r"rule_pack_wildcards_20_\w+\|40:00", pack)
    assert alone == "rule_short_wildcards_3|2:00"
    assert output.count("Trying to restart job") == 1
    ran = Counter((tmp_path / "ran").read_text().split())
    assert ran == Counter(map(str, range(20))) + Counter("3")
    assert len(list((tmp_path / "out").iterdir())) == 20
    # Each has a log, the one that failed two.
    assert len(list((tmp_path / "logs/slurm/rule_short").rglob("*.log"))) == 21


def test_a_requeue_runs_only_jobs_that_have_not_ended(cluster, tmp_path):
    (tmp_path / "Snakefile").write_text(SNAKEFILE.format(jobs=3, gpu=1, shell=HANGS))
    with (tmp_path / "output").open("w") as stream:
        head = Project(tmp_path).start(*COMMAND, program=PROGRAM, stdout=stream, stderr=stream)
    wait = partial(cluster.wait, deadline=time.monotonic() + SECONDS, output=(tmp_path / "output").read_text)
    ran = tmp_path / "ran"
    try:
        wait(lambda: ran.exists() and ran.read_text().count("\n") == 2, "second job")
        (job,) = submitted(cluster, tmp_path)
        cluster.slurm("scontrol", "requeue", job)
        wait(lambda: head.poll() is not None, "end of Snakemake")
    finally:
        head.kill()
    output = (tmp_path / "output").read_text()
    assert head.returncode == 0 and "Trying to restart" not in output, output
    ((number, pack),) = submitted(cluster, tmp_path).items()
    assert number == job and re.fullmatch(r"rule_pack_wildcards_3_\w+\|6:00", pack)
    first, hanging, *others = ran.read_text().split()
    assert sorted([first, *others]) == ["0", "1", "2"] and hanging == others[0]
    assert all(re.fullmatch(r"\d\n", path.read_text()) for path in (tmp_path / "out").iterdir())  # the index of its GPU
