"""What generates the answers: chosen in the dry run, recorded with the first job, and stated in the tables."""

import pytest

from hra_workflow import tasks
from hra_workflow.config import validation
from hra_workflow.core import files
from hra_workflow.core.errors import JobError
from hra_workflow.cost import plan, planned_jobs
from hra_workflow.models import vllm_process
from hra_workflow.tasks.math import serving
from support import paper_config

RECORD = "results/math/backend.json"
RESOURCES = {"gpu": 1, "threads": 1, "mem_mb": 1000, "runtime": 10}


@pytest.fixture
def vllm(here, monkeypatch):
    """Provide a function that sets which version of vLLM is found, and returns the task with changed settings."""

    def found(version: str | None, **changes):
        monkeypatch.setattr(vllm_process, "version", lambda: version)
        config = paper_config()
        config["tasks"]["math"]["generation"] |= changes
        validation.check(config)
        return tasks.load(config)["math"]

    return found


def served(task) -> dict[str, str | None]:
    runs = ("base/pretrained", "hra/r32", "lora/pissa-r128", "oft/b16", "dora/r8")
    chosen = {run: task.answer_settings(run) for run in runs}
    assert {one["backend"] for one in chosen.values()} == {task.backend}
    return {run: one["serve"] for run, one in chosen.items()}


def test_vllm_is_chosen_where_it_is_installed_and_serves_exact_loras(vllm):
    task = vllm("0.33.0")
    loras = {"base/pretrained": None, "hra/r32": "lora", "lora/pissa-r128": "lora"}
    assert served(task) == loras | {"oft/b16": "merged", "dora/r8": "merged"}
    assert list(task.choices()) == ["answers:  vllm 0.33.0 (auto)"]
    task = vllm(None)
    assert served(task) == dict.fromkeys(served(task), "adapter") | {"base/pretrained": None}
    assert list(task.choices()) == ["answers:  transformers (auto: vLLM is not installed)"]


@pytest.mark.parametrize(
    ("version", "changes", "reason"),
    [
        ("0.20.1", {}, "vLLM 0.20.1"),
        ("0.33.0", {"resources": RESOURCES | {"gpu": 0}}, "without a GPU"),
        ("0.33.0", {"resources": RESOURCES | {"device": "cpu"}}, "without a GPU"),
        ("0.33.0", {"serve": {"hra": "adapter", "default": "auto"}}, "`serve: adapter` for hra/r8"),
    ],
)
def test_where_vllm_cannot_be_used_auto_is_transformers(vllm, version, changes, reason):
    task = vllm(version, **changes)
    assert task.backend == "transformers"
    assert list(task.choices()) == [f"answers:  transformers (auto: {reason})"]


def test_auto_keeps_the_backend_of_earlier_answers(vllm):
    vllm(None).begin({"train_math"})
    with pytest.raises(FileNotFoundError):
        files.read_json(RECORD)
    vllm(None).begin({"generate_math"})
    assert files.read_json(RECORD)["backend"] == "transformers"
    later = vllm("0.33.0")
    assert later.backend == "transformers"
    (line,) = later.choices()
    assert line.startswith(f"answers:  transformers, as for earlier answers ({RECORD}); ")
    vllm("0.33.0", backend="vllm").begin({"generate_math"})
    assert vllm("0.33.0").backend == "vllm" and files.read_json(RECORD)["backend"] == "vllm"


def test_a_backend_that_is_not_there_is_an_error_before_the_first_job(vllm):
    vllm("0.33.0").begin({"generate_math"})
    with pytest.raises(
        JobError, match=rf"found none in .*HRA_VLLM_PYTHON.* earlier answers \({RECORD}\): `backend: tra"
    ):
        vllm(None).begin({"generate_math"})
    task = vllm("0.31.2", backend="vllm")
    jobs = [planned_jobs.Job("generate_math", {}, ["out"], "log")]
    with pytest.raises(JobError, match=r"generation.backend: vllm .*>=0.32.*, found 0.31.2 in"):
        plan.start(task.config, {}, jobs)
    jobs[0].needed = False
    plan.start(task.config, {}, jobs)  # finished answers need no backend


@pytest.mark.parametrize(
    ("peft", "reason"),
    [
        ({"use_dora": True}, "vLLM does not support LoRA with `use_dora: true`"),
        ({"bias": "all"}, 'vLLM does not support LoRA with `bias: "all"`'),
        ({"rank_pattern": {"q_proj": 513}}, "vLLM serves LoRA up to rank 512, found 513"),
        ({"use_dora": False, "bias": "none", "use_rslora": True, "rank_pattern": {"q_proj": 512}}, None),
    ],
)
def test_what_vllm_cannot_load_as_a_lora_is_merged(vllm, peft, reason):
    config = vllm("0.33.0").config
    config["methods"]["dora"]["variants"]["r8"]["peft"] = {"r": 8} | peft
    config["tasks"]["math"]["grid"].append({"runs": ["dora/r8"], "datasets": ["metamathqa-40k"], "seeds": [0]})
    answered = tasks.load(config)["math"].answer_settings("dora/r8")
    assert answered["serve"] == ("merged" if reason else "lora")
    stated = {"dora/r8": "lora", "default": "merged"}
    for backend in ("transformers", "vllm"):
        config["tasks"]["math"]["generation"] |= {"backend": backend, "serve": stated}
        if reason and backend == "vllm":
            with pytest.raises(JobError, match=rf"dora/r8: {reason}. Use `serve: {{dora/r8: merged"):
                validation.check(config)
        else:
            validation.check(config)


@pytest.mark.parametrize(
    ("peft", "serve", "reason"),
    [
        ({"r": 4, "two_sided": True, "init_scale": 0.1}, "lora", None),
        ({"r": 256, "two_sided": True}, "lora", None),
        ({"r": 258, "two_sided": True}, "merged", "vLLM serves LoRA up to rank 512, found 516"),
    ],
)
def test_both_sides_have_twice_the_rank(vllm, peft, serve, reason):
    config, run = vllm("0.32.0").config, "hra/r4-two-sided"
    config["methods"]["hra"]["variants"]["r4-two-sided"]["peft"] = peft
    config["tasks"]["math"]["grid"].append({"runs": [run], "datasets": ["metamathqa-40k"], "seeds": [0]})
    validation.check(config)
    task = tasks.load(config)["math"]
    assert task.answer_settings(run)["serve"] == serve
    assert serving.refusal(task, run) == reason


def test_a_base_model_with_several_seeds_is_a_warning(here):
    config = paper_config()
    assert not any("answers do not depend" in text for text in tasks.load(config)["math"].warnings())
    config["tasks"]["math"]["grid"][0]["seeds"] = [0, 1, 2]
    (text,) = [text for text in tasks.load(config)["math"].warnings() if "answers do not depend" in text]
    assert text.startswith("base/pretrained is in the grid with 3 seeds")
