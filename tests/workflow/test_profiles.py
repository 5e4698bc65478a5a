"""Profiles: their contents, and a site's environment variables."""

import re

import pytest
import yte
from snakemake_executor_plugin_slurm import ExecutorSettings
from yte.exceptions import YteError

from hra_workflow import tasks
from hra_workflow.core import files, grid
from hra_workflow.tasks import training
from support import ROOT, paper_config, probed_with


def profile(name: str, executor: str = "slurm-packs") -> dict:
    return yte.process_yaml(text_of(name, executor), require_use_yte=True)


def text_of(name: str, executor: str) -> str:
    """Return a profile, which names its executor in one line."""
    return (
        (ROOT / f"profiles/{name}/config.yaml")
        .read_text()
        .replace("executor = 'slurm-packs'", f"executor = '{executor}'")
    )


def test_profiles_keep_to_their_rooms():
    default = profile("default")
    assert not {"executor", "jobs", "cores", "default-resources", "retries"} & default.keys()
    assert "code" not in default["rerun-triggers"]
    slurm = profile("slurm")
    assert slurm["executor"] == "slurm-packs" and slurm["slurm-packs-status-command"] == "squeue"
    assert slurm["retries"] > 0


def test_the_profile_works_with_snakemake_s_slurm_plugin_after_a_change_of_one_line(monkeypatch):
    for name, value in {"ACCOUNT": "lab", "PARTITION": "cpu", "QOS": "high", "JOBS": "7", "ARRAYS": "all"}.items():
        monkeypatch.setenv(f"HRA_SLURM_{name}", value)
    found = profile("slurm", "slurm")
    stated = {key.removeprefix("slurm-"): value for key, value in found.items() if key.startswith("slurm")}
    settings = ExecutorSettings(**{key.replace("-", "_"): value for key, value in stated.items()})
    assert settings.requeue and settings.array_jobs == "all"
    defaults = {"slurm_account": "'lab'", "slurm_partition": "'cpu'", "qos": "'high'"}
    assert found["default-resources"] | defaults == found["default-resources"]


def test_what_only_the_profile_s_executor_knows_is_refused_with_another(monkeypatch):
    monkeypatch.setenv("HRA_SLURM_ACCOUNT_TRAIN", "1")
    with pytest.raises(YteError, match="ACCOUNT_TRAIN: expected the executor slurm-packs, found slurm"):
        profile("slurm", "slurm")


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


@pytest.fixture(scope="module")
def jobs(fresh, tmp_path_factory) -> list[tuple[str, dict[str, str]]]:
    """Return rule and resources, with `threads`, of every kind of job of a dry run."""
    folder = tmp_path_factory.mktemp("profile")
    (folder / "config.yaml").write_text(text_of("slurm", "slurm"))
    return planned(fresh.snakemake("--profile", str(folder), "-n", "--", *TARGETS))


def planned(output: str) -> list[tuple[str, dict[str, str]]]:
    pattern = r"^rule (\w+):\n(?:    .*\n)*?(?:    threads: (\d+)\n)?    resources: (.*)$"
    kinds = dict.fromkeys(re.findall(pattern, output, re.MULTILINE))
    pairs = [(rule, [*stated.split(", "), f"threads={threads or 1}"]) for rule, threads, stated in kinds]
    return [(rule, dict(one.split("=", 1) for one in stated)) for rule, stated in pairs]


def test_jobs_of_the_paper_request_numbers_of_gpus(jobs):
    for rule, resources in jobs:
        if rule.startswith("train") and resources["gpu"] == "0":  # a run that trains nothing
            assert (resources["mem_mb"], resources["runtime"]) == ("4000", "60")
    rules = {name: {rule for rule, found in jobs if found.get("gpu") == name} for name in ("0", "1", "2", "8", None)}
    assert {"train_math", "train_subject"} <= rules["0"] and rules["8"] == rules["2"] == {"train_control"}
    assert {f"{stage}_{task}" for stage in ("generate", "evaluate") for task in ("subject", "control")} <= rules["1"]
    assert {"train_glue", "generate_math", "evaluate_harness", "train_subject"} <= rules["1"]
    threads = {found["gpu"]: found["threads"] for rule, found in jobs if rule == "train_control"}
    assert threads == {"8": "32", "2": "8"}  # as submitted: Snakemake's dry runs give each job one
    assert "augment" in rules[None] and {"hints", "evaluate_math", "evaluate_glue"} <= rules["0"]


def test_a_method_uses_fewer_gpus_with_threads_and_memory_in_proportion():
    config = paper_config()
    stated, task = config["tasks"]["control"]["resources"], tasks.load(config)["control"]
    resources = {run: training.resources(task, run) for run in ("hra/r8", "oft/r4", "boft/m4r8")}
    assert resources["hra/r8"] == stated
    assert resources["oft/r4"] == resources["boft/m4r8"] == stated | {"gpu": 2, "threads": 8, "mem_mb": 32000}
    per_gpu = {task.hyperparameters("coco", run)["batch_size"] / resources[run]["gpu"] for run in resources}
    assert per_gpu == {8}
    stated["max_gpu"] = {"default": 4, "oft/r4": 16}
    assert [training.resources(task, run)["gpu"] for run in resources] == [4, 8, 4]


@pytest.mark.slow
def test_two_kinds_of_gpu(fresh, tmp_path):
    """The example of docs/cluster.md: a GPU model for one rule, and the memory that other jobs need."""
    (added,) = re.findall(r"```text\n(set-resources:.*?)```", (ROOT / "docs/cluster.md").read_text(), re.DOTALL)
    (tmp_path / "config.yaml").write_text(f"{text_of('slurm', 'slurm')}{added}")
    peaks = [("hra", 20e9), ("hra", 22.8e9), ("oft", 30e9)]
    task = tasks.load(paper_config())["glue"]
    of_all = probed_with(task) | {"by": "a profiler", "rule": "train_glue", "card_bytes": 80e9}
    jobs = [of_all | {"wildcards": {"task": "glue", "method": method}, "peak_bytes": peak} for method, peak in peaks]
    files.write_json(probes := fresh.folder / "results/preflight.json", {"memory": jobs})
    output = fresh.snakemake("--profile", str(tmp_path), "-n", "--", *TARGETS[1:3], TARGETS[0])
    probes.unlink()
    on_gpus = [(rule, found) for rule, found in planned(output) if found.get("gpu") == "1"]
    models = {rule: found.get("gpu_model") for rule, found in on_gpus}
    assert {"train_glue", "generate_math", "evaluate_harness"} < models.keys()
    assert {rule for rule, model in models.items() if model} == {"train_math"} and models["train_math"] == "h100"
    needs = {(rule, found["gpu_mem_mb"]) for rule, found in on_gpus}
    assert ("train_glue", "25080") in needs and {need for rule, need in needs if rule != "train_glue"} == {"0"}


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
