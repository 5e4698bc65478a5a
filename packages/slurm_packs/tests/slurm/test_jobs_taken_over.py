"""Snakemake is killed while two jobs and a pack run, on a real Slurm: the next one takes them over."""

import time
from collections import Counter
from functools import partial

from grid import PROGRAM, QUICK, SECONDS
from project import Project
from support import ROOT
from test_series import submitted

SNAKEFILE = """
rule all:
    input: "last"

rule alone:
    output: "alone/{number}"
    resources: mem_mb=500, runtime=5
    shell: "echo {output} >> ran; until [ -e go ]; do sleep 0.2; done; touch {output}"

rule packed:
    output: "packed/{number}"
    resources: mem_mb=500, runtime=5, gpu=1, jobs_per_gpu=2
    # The first one ends before Snakemake is killed.
    shell: "echo {output} >> ran; [ {wildcards.number} = 0 ] || until [ -e go ]; do sleep 0.2; done; touch {output}"

rule last:
    input: expand("{rule}/{number}", rule=["alone", "packed"], number=range(2))
    output: "last"
    resources: mem_mb=500, runtime=5
    shell: "echo {output} >> ran; touch {output}"
"""
COMMAND = ("--profile", str(ROOT / "slurm"), *QUICK, "--nolock", "--rerun-incomplete")


def test_jobs_of_a_killed_snakemake_run_once(cluster, tmp_path):
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    ran, output = tmp_path / "ran", tmp_path / "output"

    def start():
        with output.open("a") as stream:
            return Project(tmp_path).start(*COMMAND, program=PROGRAM, stdout=stream, stderr=stream)

    wait = partial(cluster.wait, deadline=time.monotonic() + SECONDS, output=output.read_text)
    head = start()
    try:
        wait(lambda: ran.exists() and ran.read_text().count("\n") == 4, "two jobs and a pack")
        wait(lambda: "Finished jobid" in output.read_text(), "end of one job of the pack")
        head.kill()
        head.wait()
        jobs = submitted(cluster, tmp_path)
        head = start()
        wait(lambda: output.read_text().count("is SLURM job") == 3, "jobs that are taken over")
        assert submitted(cluster, tmp_path) == jobs and len(jobs) == 3
        (tmp_path / "go").touch()
        wait(lambda: head.poll() is not None, "end of Snakemake")
    finally:
        head.kill()
    printed = output.read_text()
    assert head.returncode == 0 and "Cancelling" not in printed, printed
    assert "Taking over 3 job(s) that an earlier Snakemake, now dead, left in the queue" in printed
    outputs = [f"{rule}/{number}" for rule in ("alone", "packed") for number in range(2)] + ["last"]
    assert Counter(ran.read_text().split()) == Counter(outputs)
    assert len(submitted(cluster, tmp_path)) == 4
