"""Profiles: their contents, and a site's environment variables."""

import re
from types import SimpleNamespace

import yte
from snakemake_executor_plugin_slurm.utils import set_gres_string

from common import tasks
from common.core import grid
from support import ROOT, paper_config


def profile(name: str) -> dict:
    with (ROOT / f"profiles/{name}/config.yaml").open() as stream:
        return yte.process_yaml(stream, require_use_yte=True)


def test_profiles_keep_to_their_rooms():
    default = profile("default")
    assert not {"executor", "jobs", "cores", "default-resources", "retries"} & default.keys()
    assert "code" not in default["rerun-triggers"]
    slurm = profile("slurm")
    assert slurm["executor"] == "slurm" and slurm["slurm-status-command"] == "squeue" and slurm["retries"] > 0


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


def test_slurm_jobs_with_a_gpu_go_to_the_gpu_partition(fresh, monkeypatch):
    for name, value in {"PARTITION": "cpu", "GPU_PARTITION": "gpu", "GPU_MODEL": "a100"}.items():
        monkeypatch.setenv(f"HRA_SLURM_{name}", value)
    jobs = planned(fresh, "--profile", "slurm", "--set-resources", "evaluate_harness:slurm_partition=mine")
    for rule, resources in jobs:
        partition, model = ("gpu", "a100") if int(resources.get("gpu", 0)) else ("cpu", None)
        assert resources["slurm_partition"] == ("mine" if rule == "evaluate_harness" else partition), rule
        assert resources.get("gpu_model") == model, rule
        assert not [name for name in resources if name.startswith("with_gpu")]
        # As the plugin reads them: without the model, `gpu: 0` requests nothing; with it, --gpus=a100:0.
        numbers = resources | {"gpu": int(resources.get("gpu", 0))}
        requested = set_gres_string(SimpleNamespace(resources=numbers))
        assert requested == (f" --gpus=a100:{numbers['gpu']}" if numbers["gpu"] else ""), rule
        if rule.startswith("train") and not numbers["gpu"]:  # a run that trains nothing
            assert (resources["mem_mb"], resources["runtime"]) == ("4000", "60")
    rules = {name: {rule for rule, found in jobs if found.get("gpu") == name} for name in ("0", "1", "2", "8", None)}
    assert {"train_math", "train_subject"} <= rules["0"] and rules["8"] == rules["2"] == {"train_control"}
    assert {f"{stage}_{task}" for stage in ("generate", "evaluate") for task in ("subject", "control")} <= rules["1"]
    assert {"train_glue", "generate_math", "evaluate_harness", "train_subject"} <= rules["1"]
    assert {"augment", "evaluate_math"} <= rules[None] and "hints" in rules["0"]


def test_a_method_uses_fewer_gpus_with_threads_and_memory_in_proportion():
    config = paper_config()
    stated, task = config["tasks"]["control"]["resources"], tasks.load(config)["control"]
    resources = {run: task.training_resources(run) for run in ("hra/r8", "oft/r4", "boft/m4r8")}
    assert resources["hra/r8"] == stated
    assert resources["oft/r4"] == resources["boft/m4r8"] == stated | {"gpu": 2, "threads": 8, "mem_mb": 32000}
    per_gpu = {task.hyperparameters("coco", run)["batch_size"] / resources[run]["gpu"] for run in resources}
    assert per_gpu == {8}
    stated["max_gpu"] = {"default": 4, "oft/r4": 16}
    assert [task.training_resources(run)["gpu"] for run in resources] == [4, 8, 4]
    stated["gpu"] = 0  # on CPUs: it is a maximum
    assert all(task.training_resources(run) == stated for run in resources)


def test_lsf_jobs_ask_for_their_number_of_gpus(fresh):
    jobs = planned(fresh, "--profile", "profiles/lsf", "--executor", "local", "--cores", "1")
    asked = {found["gpu"]: found.get("lsf_extra") for _, found in jobs if "gpu" in found}
    assert asked == {"0": None, "1": "-gpu num=1", "2": "-gpu num=2", "8": "-gpu num=8"}
    assert not [rule for rule, found in jobs if "gpu" not in found and "lsf_extra" in found]


def test_a_site_says_what_is_its_own_in_the_environment(monkeypatch):
    assert profile("slurm")["default-resources"] == {"mem_mb": 4000, "runtime": 60}
    assert "slurm-qos" not in profile("slurm")
    site = {
        "ACCOUNT": "123",
        "PARTITION": "cpu",
        "GPU_PARTITION": "gpu",
        "GPU_MODEL": "a100",
        "QOS": "high",
        "JOBS": "7",
    }
    for name, value in site.items():
        monkeypatch.setenv(f"HRA_SLURM_{name}", value)
    slurm = profile("slurm")
    assert (slurm["jobs"], slurm["slurm-qos"]) == ("7", "high")
    assert slurm["default-resources"] == {
        "mem_mb": 4000,
        "runtime": 60,
        "slurm_account": "123",
        "slurm_partition": "cpu",
        "with_gpu_slurm_partition": "gpu",
        "with_gpu_gpu_model": "a100",
    }


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
