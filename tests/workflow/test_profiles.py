"""Profiles: their contents, and a site's environment variables."""

import dataclasses
import re
from types import SimpleNamespace

import yte

from hra_workflow import tasks
from hra_workflow.core import grid
from hra_workflow.snake import planned as planned_jobs
from snakemake_executor_plugin_slurm_packs import ExecutorSettings
from support import ROOT, paper_config


def profile(name: str) -> dict:
    with (ROOT / f"profiles/{name}/config.yaml").open() as stream:
        return yte.process_yaml(stream, require_use_yte=True)


def test_profiles_keep_to_their_rooms():
    default = profile("default")
    assert not {"executor", "jobs", "cores", "default-resources", "retries"} & default.keys()
    assert "code" not in default["rerun-triggers"]
    slurm = profile("slurm")
    assert slurm["executor"] == "slurm-packs" and slurm["slurm-packs-status-command"] == "squeue"
    assert slurm["retries"] > 0


# Every rule with a GPU in the paper's grid, and runs that train nothing.
TARGETS = [
    f"results/{place}"
    for place in (
        "glue/cola/hra/r8/seed0/validation/metrics.json",
        "math/metamathqa-40k/base/pretrained/seed0/gsm8k/metrics.json",
        "math/metamathqa-40k/hra/r32/seed0/retention.json",
        "subject/dog/hra/r8/seed0/prompts/metrics.json",
        "subject/dog/real/images/seed0/prompts/metrics.json",
        "control/ade20k/hra/r8/seed0/validation/metrics.json",
        "control/ade20k/oft/r4/seed0/train.json",
    )
]


def planned(project, *arguments: str) -> list[tuple[str, dict[str, str]]]:
    """Return rule and resources of every job of a dry run."""
    output = project.snakemake(*arguments, "-n", "--", *TARGETS)
    found = re.findall(r"^rule (\w+):\n(?:    .*\n)*?    resources: (.*)$", output, re.MULTILINE)
    return [(rule, dict(pair.split("=", 1) for pair in stated.split(", "))) for rule, stated in found]


def test_jobs_of_the_paper_request_numbers_of_gpus(fresh):
    jobs = planned(fresh, "--profile", "slurm")
    for rule, resources in jobs:
        if rule.startswith("train") and resources["gpu"] == "0":  # a run that trains nothing
            assert (resources["mem_mb"], resources["runtime"]) == ("4000", "60")
    rules = {name: {rule for rule, found in jobs if found.get("gpu") == name} for name in ("0", "1", "2", "8", None)}
    assert {"train_math", "train_subject"} <= rules["0"] and rules["8"] == rules["2"] == {"train_control"}
    assert {f"{stage}_{task}" for stage in ("generate", "evaluate") for task in ("subject", "control")} <= rules["1"]
    assert {"train_glue", "generate_math", "evaluate_harness", "train_subject"} <= rules["1"]
    assert "augment" in rules[None] and {"hints", "evaluate_math", "evaluate_glue"} <= rules["0"]


def test_a_method_uses_fewer_gpus_with_threads_and_memory_in_proportion():
    config = paper_config()
    stated, task = config["tasks"]["control"]["resources"], tasks.load(config)["control"]
    resources = {run: task.training.resources(run) for run in ("hra/r8", "oft/r4", "boft/m4r8")}
    assert resources["hra/r8"] == stated
    assert resources["oft/r4"] == resources["boft/m4r8"] == stated | {"gpu": 2, "threads": 8, "mem_mb": 32000}
    per_gpu = {task.training.hyperparameters("coco", run)["batch_size"] / resources[run]["gpu"] for run in resources}
    assert per_gpu == {8}
    stated["max_gpu"] = {"default": 4, "oft/r4": 16}
    assert [task.training.resources(run)["gpu"] for run in resources] == [4, 8, 4]
    stated["gpu"] = 0  # on CPUs: it is a maximum
    assert all(task.training.resources(run) == stated for run in resources)


def test_lsf_jobs_ask_for_their_largest_number_of_gpus(fresh):
    jobs = planned(fresh, "--profile", "profiles/lsf", "--executor", "local", "--cores", "1")
    most = {rule: max(int(found.get("gpu", 0)) for one, found in jobs if one == rule) for rule, _ in jobs}
    most["evaluate_glue"] = 1  # if the training job has not evaluated
    for rule, found in jobs:
        assert found.get("lsf_extra") == (f"-gpu num={most[rule]}" if most[rule] else None), rule


def test_a_site_says_what_is_its_own_in_the_environment(monkeypatch):
    assert profile("slurm")["default-resources"] == {"mem_mb": 4000, "runtime": 60}
    assert not {"slurm-packs-qos", "slurm-packs-gres", "slurm-packs-array-jobs"} & profile("slurm").keys()
    site = {
        "ACCOUNT": "123",
        "PARTITION": "cpu",
        "GPU_PARTITION": "gpu",
        "GPU_MODEL": "a100",
        "QOS": "high",
        "GRES": "1",
        "JOBS": "7",
        "ARRAYS": "all",
        "ENVIRONMENT": "/shared/environment.tar",
    }
    for name, value in site.items():
        monkeypatch.setenv(f"HRA_SLURM_{name}", value)
    monkeypatch.setenv("HRA_MPS", "1")
    slurm = profile("slurm")
    assert slurm["jobs"] == "7" and slurm["default-resources"]["slurm_account"] == "123"
    stated = {name: slurm[f"slurm-packs-{name}"] for name in ("partition", "gpu-partition", "gpu-model", "qos")}
    assert stated == {"partition": "cpu", "gpu-partition": "gpu", "gpu-model": "a100", "qos": "high"}
    assert slurm["slurm-packs-gres"] is slurm["slurm-packs-mps"] is True
    assert slurm["slurm-packs-environment"] == "/shared/environment.tar"
    assert (slurm["slurm-packs-array-jobs"], slurm["max-jobs-per-timespan"]) == ("all", "100/1s")


def test_stages_may_have_accounts_of_their_own(monkeypatch):
    """Of every rule of a stage that is submitted, which `set-resources` must name."""
    text = "\n".join(path.read_text() for path in (ROOT / "rules").rglob("*.smk"))
    templates = set(re.findall(r"^use rule (\w+) as", text, re.MULTILINE))
    rules = set(re.findall(r"^(?:use rule \w+ as|rule) (\w+)", text, re.MULTILINE)) - templates
    for stage in ("train", "generate", "evaluate"):
        with monkeypatch.context() as patch:
            patch.setenv(f"HRA_SLURM_ACCOUNT_{stage.upper()}", "own")
            own = {rule for rule in rules if rule.startswith(f"{stage}_")}
            assert profile("slurm")["set-resources"] == {rule: {"slurm_account": "own"} for rule in own}
    assert "set-resources" not in profile("slurm")


def test_the_number_of_gpus_chooses_the_partition(monkeypatch, tmp_path):
    """As the executor does, for `make preflight` too; the example of docs/cluster.md."""
    (example,) = re.findall(r"```text\n(partitions:.*?)```", (ROOT / "docs/cluster.md").read_text(), re.DOTALL)
    (tmp_path / "partitions.yaml").write_text(example)
    monkeypatch.setenv("HRA_SLURM_PARTITIONS", str(tmp_path / "partitions.yaml"))
    assert profile("slurm")["slurm-packs-partition-config"] == str(tmp_path / "partitions.yaml")
    jobs = [
        SimpleNamespace(name="job", threads=4, resources={"gpu": gpu, "runtime": 60, "mem_mb": 8000, "nodes": 1})
        for gpu in (0, 1, 8)
    ]
    assert [(one.partition, one.gpu) for one in planned_jobs.requests(jobs)] == (
        [("cpu", 0), ("gpu-shared", 1), ("gpu-nodes", 8)]
    )


def test_every_key_of_the_profile_is_an_option(monkeypatch):
    for name in ("PARTITION", "PARTITIONS", "GPU_PARTITION", "GPU_MODEL", "QOS", "ENVIRONMENT", "ARRAYS"):
        monkeypatch.setenv(f"HRA_SLURM_{name}", "x")
    monkeypatch.setenv("HRA_SLURM_GRES", "1")
    monkeypatch.setenv("HRA_MPS", "1")
    fields = {field.name for field in dataclasses.fields(ExecutorSettings)}
    keys = {key.removeprefix("slurm-packs-").replace("-", "_") for key in profile("slurm") if "slurm-packs-" in key}
    assert keys <= fields, keys - fields


def test_memory_grows_with_each_attempt():
    stated = {"mem_mb": 16000, "runtime": 60}
    assert [grid.resource(stated, "mem_mb", None, attempt) for attempt in (1, 2, 3)] == [16000, 24000, 32000]
    assert grid.resource(stated, "runtime", None, 3) == 60 and grid.resource(stated, "gpu", 0, 3) == 0


def test_jobs_of_seconds_are_not_submitted():
    """Check local rules: a rule defined by `use rule … as` does not inherit that its template is local."""
    text = "\n".join(path.read_text() for path in (ROOT / "rules").rglob("*.smk"))
    listed = re.findall(r"^ *localrules:\n((?: +\w+,\n)+)", text, re.MULTILINE)
    local = set(re.findall(r"\w+", "".join(listed)))
    rules = set(re.findall(r"^(?:use rule \w+ as|rule) (\w+)", text, re.MULTILINE))
    templates = set(re.findall(r"^use rule (\w+) as", text, re.MULTILINE))
    short = {name for name in rules - templates if re.match("download|gather|runs|table|figures|sheet", name)}
    assert len(short) > 10 and short <= local, short - local
