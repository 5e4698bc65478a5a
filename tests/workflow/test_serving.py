"""The form in which vLLM gets a run's adapter, and the error if vLLM is missing."""

import pytest

from hra_workflow import tasks
from hra_workflow.config import validation
from hra_workflow.core.errors import JobError
from hra_workflow.cost import plan, planned_jobs
from hra_workflow.models import vllm_process
from hra_workflow.tasks.math import serving
from support import paper_config

VLLM = {"backend": "vllm"}
RUNS = ("base/pretrained", "hra/r32", "lora/pissa-r128", "oft/b16", "dora/r8")


def config_with(generation: dict) -> dict:
    """Return the paper's config with changed settings of generation; raise JobError if it is invalid."""
    config = paper_config()
    config["tasks"]["math"]["generation"] |= generation
    validation.check(config)
    return config


@pytest.mark.parametrize(
    ("backend", "served"),
    [
        ("vllm", [None, "lora", "lora", "merged", "merged"]),
        ("transformers", [None, "adapter", "adapter", "adapter", "adapter"]),
    ],
)
def test_an_adapter_is_served_exactly_where_the_backend_can(here, backend, served):
    task = tasks.load(config_with({"backend": backend}))["math"]
    found = [task.answer_settings(run) for run in RUNS]
    assert [(one["backend"], one["serve"]) for one in found] == [(backend, serve) for serve in served]


def test_a_missing_vllm_is_an_error_before_the_first_job(here, monkeypatch):
    monkeypatch.setattr(vllm_process, "version", lambda: "0.31.2")
    jobs = [planned_jobs.Job("generate_math", {}, ["out"], "log")]
    with pytest.raises(JobError, match=r"generation.backend: vllm .*>=0.32.*, found 0.31.2 in .*HRA_VLLM_PYTHON"):
        plan.start(config_with(VLLM), {}, jobs)


@pytest.mark.parametrize(
    ("generation", "version", "needed"),
    [(VLLM, "0.33.0", True), (VLLM, None, False), ({"backend": "transformers"}, None, True)],
)
def test_a_vllm_that_no_job_needs_may_be_missing(here, monkeypatch, generation, version, needed):
    monkeypatch.setattr(vllm_process, "version", lambda: version)
    jobs = [planned_jobs.Job("generate_math", {}, ["out"], "log", needed=needed)]
    plan.start(config_with(generation), {}, jobs)
    assert plan.obstacles(config_with(generation), jobs) == []


@pytest.mark.parametrize(
    ("peft", "reason"),
    [
        ({"use_dora": True}, "vLLM does not support LoRA with `use_dora: true`"),
        ({"bias": "all"}, 'vLLM does not support LoRA with `bias: "all"`'),
        ({"rank_pattern": {"q_proj": 513}}, "vLLM serves LoRA up to rank 512, found 513"),
        ({"use_dora": False, "bias": "none", "use_rslora": True, "rank_pattern": {"q_proj": 512}}, None),
    ],
)
def test_what_vllm_cannot_load_as_a_lora_is_merged(here, peft, reason):
    config = config_with(VLLM)
    config["methods"]["dora"]["variants"]["r8"]["peft"] = {"r": 8} | peft
    config["tasks"]["math"]["grid"].append({"runs": ["dora/r8"], "datasets": ["metamathqa-40k"], "seeds": [0]})
    answered = tasks.load(config)["math"].answer_settings("dora/r8")
    assert answered["serve"] == ("merged" if reason else "lora")
    stated = {"dora/r8": "lora", "default": "merged"}
    for backend in ("transformers", "vllm"):
        config["tasks"]["math"]["generation"] |= {"backend": backend, "serve": stated}
        if reason and backend == "vllm":
            with pytest.raises(JobError, match=rf"dora/r8: .* expected merged for .*, found lora \({reason}\)"):
                validation.check(config)
        else:
            validation.check(config)


@pytest.mark.parametrize(
    ("peft", "serve", "reason"),
    [
        ({"r": 4, "init_scale": 0.1}, "lora", None),
        ({"r": 512}, "lora", None),
        ({"r": 514}, "merged", "vLLM serves LoRA up to rank 512, found 514"),
    ],
)
def test_hra_is_served_as_a_lora_of_its_rank(here, peft, serve, reason):
    config, run = config_with(VLLM), "hra/r32"
    config["methods"]["hra"]["variants"]["r32"]["peft"] = peft
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
