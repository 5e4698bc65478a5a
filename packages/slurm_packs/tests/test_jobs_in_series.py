"""Jobs that run one after the other in a Slurm job: Snakemake from the command line, on a stand-in for Slurm."""

import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from test_executor import COMMAND

SNAKEFILE = """
rule all:
    input: "1.txt", "after-0", "after-2"

rule short:
    output: "{number}.txt"
    resources: mem_mb=10, runtime=5, jobs_per_allocation=20
    # The first attempt of 1 fails. The third job ends when Snakemake has noticed the end of one before it.
    shell:
        "echo >> started; [ {output} != 1.txt ] || [ -e tried ] || {{ touch tried; exit 3; }}; "
        "[ $(wc -l < started) != 3 ] || timeout 600 sh -c 'until ls after-*; do sleep 0.2; done'; "
        "echo ${{PACKED_JOBS:-none}} > {output}"

rule after:
    input: "{number}.txt"
    output: "after-{number}"
    resources: mem_mb=10, runtime=5
    shell: "touch {output}"
"""
OPTIONS = ("--slurm-packs-init-seconds-before-status-checks", "1", "--slurm-packs-status-command", "squeue")


def snakemake(*options: str, ok: bool) -> str:
    Path("Snakefile").write_text(SNAKEFILE)
    done = subprocess.run([*COMMAND, *OPTIONS, *options], capture_output=True, text=True)
    assert (done.returncode == 0) == ok, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_short_jobs_are_one_slurm_job_and_each_end_is_noticed_when_it_comes(slurm):
    output = snakemake("--slurm-packs-allocation-minutes", "15", ok=True)
    jobs = {re.sub(r"_\w{12}$", "", job["comment"]): job["options"] for job in slurm.jobs()}
    names = ["rule_pack_wildcards_3", "rule_short_wildcards_1", "rule_after_wildcards_0", "rule_after_wildcards_2"]
    assert len(slurm.jobs()) == 4 and sorted(jobs) == sorted(names), output
    assert all(option in jobs[names[0]] for option in ("-t 15", "--mem 10", "--cpus-per-task=1"))
    assert "-t 5" in jobs[names[1]]  # the retry is alone
    assert output.count("Trying to restart job") == 1
    assert Counter(Path(f"{number}.txt").read_text() for number in range(3)) == {"1\n": 2, "none\n": 1}
    assert len(Path("started").read_text()) == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--set-resources", "short:jobs_per_allocation=0"), "expected a whole number of at least 1, found 0"),
        (("--groups", "short=some"), "Rule short: jobs_per_allocation has no effect in a group"),
        (("--dry-run", "--slurm-packs-allocation-minutes", "0"), "expected 1 or more, found 0"),
    ],
)
def test_wrong_input_is_an_error_before_the_first_job(slurm, options, message):
    assert message in snakemake(*options, ok=False)
    assert slurm.jobs() == []
