"""The profile for Kubernetes, with a stand-in for kubectl that starts each pod's command."""

import sys
from pathlib import Path

import pytest
import yaml

from project import Project
from support import ROOT

PROFILE = ROOT / "profiles/kubernetes"
# The job fails once; its retry finds the file.
SNAKEFILE = """
rule all:
    input: "trained", "scored"

rule train:
    output: "trained"
    threads: 2
    resources: gpu=2, mem_mb=lambda wildcards, attempt: 300 * attempt, runtime=5
    shell: "[ -e tried ] || {{ touch tried; exit 1; }}; echo $$ > {output}"

rule score:
    output: "scored"
    shell: "touch {output}"
"""
KUBECTL = """#!{python}
import os, subprocess, sys, yaml
from pathlib import Path

folder, (verb, *words) = Path(os.environ["FAKE_KUBECTL"]), sys.argv[1:]
if verb == "create":
    job = yaml.safe_load(sys.stdin)
    name = f"{{job['metadata']['generateName']}}{{len(list(folder.glob('*.yaml')))}}"
    (folder / f"{{name}}.yaml").write_text(yaml.safe_dump(job))
    (container,) = job["spec"]["template"]["spec"]["containers"]
    script = 'name=$1; shift; "$@" && echo Complete > $name.new || echo Failed > $name.new; mv $name.new $name.ended'
    with (folder / f"{{name}}.log").open("w") as log:
        pod = ["sh", "-c", script, "sh", folder / name, *container["command"]]
        subprocess.Popen(pod, cwd=container["workingDir"], stdout=log, stderr=log, start_new_session=True)
    print(f"job.batch/{{name}}")
elif verb == "get":
    name = words[0].removeprefix("job.batch/")
    ended = folder / f"{{name}}.ended"
    print(name, ended.read_text().strip() if ended.exists() else "", end="")
"""


@pytest.fixture
def kubectl(tmp_path, monkeypatch) -> Path:
    """Return the folder where the stand-in keeps the Jobs."""
    for name in ("bin", "jobs", "project"):
        (tmp_path / name).mkdir()
    program = tmp_path / "bin/kubectl"
    program.write_text(KUBECTL.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monkeypatch.setenv("FAKE_KUBECTL", str(tmp_path / "jobs"))
    return tmp_path / "jobs"


@pytest.mark.slow
def test_each_job_is_a_pod_with_its_resources_and_a_failed_one_is_retried(kubectl, tmp_path):
    project = Project(tmp_path / "project")
    (project.folder / "Snakefile").write_text(SNAKEFILE)
    quick = ("--seconds-between-status-checks", "1", "--latency-wait", "5", "--retries", "1")
    output = project.snakemake("--profile", str(PROFILE), *quick)
    assert output.count("Trying to restart job") == 1
    assert (project.folder / "trained").exists() and (project.folder / "scored").exists()
    jobs = [yaml.safe_load(path.read_text())["spec"]["template"]["spec"] for path in sorted(kubectl.glob("*.yaml"))]
    stated = [
        (pod["activeDeadlineSeconds"], *(pod["containers"][0]["resources"][key] for key in ("requests", "limits")))
        for pod in jobs
    ]
    training = [(900, {"cpu": 2, "memory": f"{mb}Mi"}, {"memory": f"{mb}Mi", "nvidia.com/gpu": 2}) for mb in (300, 600)]
    scoring = (4200, {"cpu": 1, "memory": "4000Mi"}, {"memory": "4000Mi", "nvidia.com/gpu": 0})
    assert sorted(stated, key=str) == sorted([*training, scoring], key=str)
