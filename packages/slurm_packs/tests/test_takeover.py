"""A Snakemake that is killed, and the next one, which takes over its jobs: on a stand-in for Slurm."""

import json
import os
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from test_executor import COMMAND

# Every job is recorded in the file `ran`, and waits for the file `go`, except one of the pack.
WAIT = "echo {output} >> ran; timeout 600 sh -c 'until [ -e go ]; do sleep 0.1; done'"
SNAKEFILE = f"""
rule all:
    input: "alone.txt", "fails.txt", "early.txt", "late.txt", "last.txt"

rule alone:
    output: "alone.txt"
    resources: mem_mb=10, runtime=5
    shell: "{WAIT}; touch {{output}}"

rule fails:
    output: "fails.txt"
    resources: mem_mb=10, runtime=5
    shell: "{WAIT}; [ -e tried ] || {{{{ touch tried; exit 3; }}}}; touch {{output}}"

rule packed:
    output: "{{name}}.txt"
    wildcard_constraints: name="early|late"
    resources: gpu=1, mem_mb=10, runtime=5, jobs_per_gpu=2
    shell: "[ {{wildcards.name}} = early ] && echo {{output}} >> ran || {{{{ {WAIT}; }}}}; touch {{output}}"

rule last:
    input: "alone.txt", "early.txt", "late.txt"
    output: "last.txt"
    resources: mem_mb=10, runtime=5
    shell: "echo {{output}} >> ran; touch {{output}}"
"""
OF_SCRIPT = """
configfile: "config.yaml"
config["other"] = open("other").read()

rule script:
    input: expand("in/{number}", number=range(25))
    output: "out.txt"
    params: some=config["some"]
    resources: mem_mb=10, runtime=5
    script: "scripts/wait.py"
"""
OPTIONS = [
    *("--nolock", "--rerun-incomplete", "--slurm-packs-init-seconds-before-status-checks", "1"),
    *("--slurm-packs-status-command", "squeue", "--slurm-packs-environment", "environment.tar"),
]
TAKING, CANCELLING = (
    f"{what} {{}} job(s) that an earlier Snakemake, now dead" for what in ("Taking over", "Cancelling")
)


def wait(condition, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline, output()
        time.sleep(0.05)


def output() -> str:
    return Path("output").read_text()


def start(*options: str, **environment: str) -> subprocess.Popen:
    with open("output", "w") as stream:
        command = [*COMMAND, *OPTIONS, *options]
        return subprocess.Popen(command, stdout=stream, stderr=stream, env=os.environ | environment)


def kill(process: subprocess.Popen) -> None:
    process.kill()
    process.wait()


@pytest.mark.slow
def test_jobs_of_a_killed_snakemake_run_once_and_the_next_one_ends_with_all_outputs(slurm, forked_jobs):
    Path("Snakefile").write_text(SNAKEFILE)
    Path("environment.tar").touch()
    process = start()
    wait(lambda: Path("ran").exists() and len(Path("ran").read_text().split()) == 4, process)
    wait(lambda: list(Path().glob(".snakemake/slurm_packs/*/*/*.ended")) or "(Rule: packed)" in output(), process)
    kill(process)
    # One slot: the others end before it is their turn.
    process = start("--jobs", "1", TMPDIR=str(slurm.folder))
    wait(lambda: TAKING.format(3) in output() and "is SLURM job" in output(), process)
    Path("go").touch()
    assert process.wait(120) == 0, output()
    expected = {f"{name}.txt": 1 for name in ("alone", "early", "late", "last")} | {"fails.txt": 2}
    assert Counter(Path("ran").read_text().split()) == expected, output()
    assert all(map(os.path.exists, expected))
    assert output().count("Trying to restart job") == 1 and "Cancelling" not in output()
    jobs = slurm.jobs()
    assert len(jobs) == 5 and len({job["name"] for job in jobs}) == 1
    record = Path(".snakemake/slurm_packs", jobs[0]["name"], "jobs.jsonl")
    assert len(record.read_text().splitlines()) == len(jobs)


@pytest.mark.slow
@pytest.mark.full
def test_a_job_is_cancelled_if_anything_that_it_was_started_with_has_changed(slurm):
    files = {"Snakefile": OF_SCRIPT, "config.yaml": "some: 1", "scripts/wait.py": "import time\ntime.sleep(600)\n"}
    files |= dict.fromkeys(
        ["other", "scripts/module.py", "environment.tar", *(f"in/{number}" for number in range(25))], ""
    )
    for path, text in files.items():
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).write_text(text)

    def append(path: str) -> None:
        with open(path, "a") as stream:
            stream.write("\n# changed\n")

    options: list[str] = []
    changes = [
        *(lambda path=path: append(path) for path in [*files][:7]),
        lambda: os.utime("in/8", (1, 1)),
        lambda: options.extend(["--set-resources", "script:runtime=6"]),
        lambda: options.extend(["--config", "some=2"]),
        lambda: options.extend(["--slurm-packs-partition", "other"]),
    ]
    for submitted, change in enumerate([None, *changes], start=1):
        if change:
            change()
        process = start(*options)
        wait(lambda: "has been submitted with SLURM jobid" in output(), process)
        kill(process)
        assert len(slurm.jobs()) == submitted
        assert (CANCELLING.format(1) in output()) == bool(change), output()
    process = start(*options)
    wait(lambda: "is SLURM job" in output(), process)
    kill(process)
    assert TAKING.format(1) in output() and len(slurm.jobs()) == submitted
    for path in slurm.folder.glob("*.json"):
        if not path.with_suffix(".status").exists():
            os.killpg(json.loads(path.read_text())["pid"], 9)
