"""PEFT's benchmark of reinforcement learning: our config against its details, its grades, its published rows.

Theirs are from huggingface/peft, pull request 3078 at d2587c8, method_comparison/RLMath: default_training_params.json,
data.py, reward.py, run.py and `experiments/`.
"""

import numpy
import pandas
import pytest
import torch

from fakegpu.workflow import model_sizes
from hra_workflow.config import validation
from hra_workflow.core import grid
from hra_workflow.core.errors import JobError
from hra_workflow.data import text_tables
from hra_workflow.report import run_statistics
from hra_workflow.tasks import load, outputs
from hra_workflow.tasks.math import answers
from hra_workflow.training import hf_trainer
from studies.peft_rlmath import grpo
from studies.peft_rlmath import task as module
from support import ROOT, with_files

STUDY, DATASET = "studies/peft_rlmath", "gsm8k-rl"
RUNS = {  # learning rates of training_params.json
    "hra/lr8e-05": 8e-5, "hra/lr5e-4": 5e-4, "hra/r32": 4e-5, "lora/lr8e-5": 8e-5, "lora/r1-a32": 4e-5, "dora/r4": 4e-5,
    "ia3/lr1e-03": 1e-3,
}  # fmt: skip


@pytest.fixture(scope="module")
def config() -> dict:
    return with_files(f"{STUDY}/config.yaml")


@pytest.fixture(scope="module")
def task(config):
    return load(config)["math"]


def test_the_config_is_valid_and_so_is_its_demo(config):
    validation.check(config)
    demo = with_files(f"{STUDY}/config.yaml", f"{STUDY}/demo.yaml")
    validation.check(demo)
    assert outputs.published(load(demo)["math"]) is None


TRAINED = {  # default_training_params.json; weight decay and Adam's epsilon are TRL's defaults
    "max_steps": 100, "schedule": "constant", "warmup_steps": 0, "batch_size": 1 * 4, "gradient_accumulation": 4,
    "max_grad_norm": 1.0, "weight_decay": 0.0, "adam_epsilon": 1e-8, "gradient_checkpointing": True,
    "precision": "bf16", "base_precision": "bf16", "num_generations": 8, "generation_batch_size": 8,
    "max_completion_length": 1024, "temperature": 1.0, "top_p": 0.95, "top_k": 20, "min_p": 0.0,
    "repetition_penalty": 1.0, "beta": 0.001, "epsilon": 0.2, "num_iterations": 1, "loss_type": "grpo",
    "scale_rewards": "group", "importance_sampling_level": "token", "mask_truncated_completions": False,
    "max_length": 1536,  # vllm_max_model_length
}  # fmt: skip


def test_training_is_that_of_the_default_parameters(task, tmp_path):
    assert {run: task.hyperparameters(DATASET, run)["learning_rate"] for run in RUNS} == RUNS
    for run in RUNS:
        assert TRAINED.items() <= task.hyperparameters(DATASET, run).items()
    assert {run["seed"] for run in task.runs()} == {42}
    settings = task.hyperparameters(DATASET, "hra/r32")
    job = {"params": {"scratch": str(tmp_path)}, "resources": {"gpu": 0}, "wildcards": {"seed": "42"}}

    class Plain:
        chat = False

    sampled = grpo.arguments({name: settings[name] for name in module.VALUES}, None, Plain())
    made = hf_trainer.training_arguments(job, settings | {"precision": "float32"}, "cpu", **sampled)
    assert (made.per_device_train_batch_size, made.steps_per_generation, made.seed) == (1, 8, 42)
    assert (made.adam_beta1, made.adam_beta2, made.num_generations, made.use_vllm) == (0.9, 0.999, 8, False)


def test_questions_and_model_are_theirs(config, task, tmp_path):
    entry = config["datasets"]["math"][DATASET]
    assert entry["source"]["repo"] == "openai/gsm8k" and entry["splits"].keys() == {"train", "test"}
    assert (entry["shuffle"], entry["take"]) == (42, {"train": 3000, "test": 500})  # .shuffle(seed=42).select(range(N))
    assert config["models"]["qwen3.5-4b"]["source"]["repo"] == "Qwen/Qwen3.5-4B" and entry["answer"] == "gsm8k"
    suffix = " Provide a numerical answer without units, written inside \\boxed{}."  # GSM8K_SUFFIX
    assert task.prompt() == task.prompt(evaluation=True) == {"template": "{question}" + suffix}
    rows = [{"question": f"{row}?", "answer": f"#### {row}"} for row in range(50)]
    for split, paths in entry["splits"].items():
        (tmp_path / paths[0]).parent.mkdir(exist_ok=True)
        pandas.DataFrame(rows).to_parquet(tmp_path / paths[0])
        entry = entry | {"rows": {split: 50}, "take": {split: 7}}
        (found,) = text_tables.read_splits("math", entry | {"splits": {split: paths}}, tmp_path, answers.gold).values()
        order = numpy.random.default_rng(42).permutation(50)[:7]  # datasets.Dataset.shuffle
        assert found["question"] == [f"{row}?" for row in order]
    twice = entry | {"splits": {"test": [*entry["splits"]["test"], *entry["splits"]["train"]]}, "rows": {}}
    with pytest.raises(JobError, match="expected one file to shuffle, found 2"):
        text_tables.read_splits("math", twice, tmp_path, answers.gold)


def test_answers_are_those_of_the_merged_model(task):
    """run.py: greedy, 500 questions, batches of 8, merge_and_unload in bfloat16."""
    found = task.answer_settings("hra/r32")
    assert found == {"batch_size": 8, "stop": [], "serve": "merged"}
    assert task.questions(DATASET) == {"gsm8k": {"split": "test", "max_new_tokens": 1024}}
    assert task.generation_precision(DATASET, "hra/r32") == "bf16"
    run = {"dataset": DATASET, "method": "hra", "variant": "r32", "n_shards": 1}
    base = run | {"method": "base", "variant": "pretrained"}  # whose answers end at 1,024 tokens, not at 726
    assert [task.work("generate", one) for one in (run, base)] == [500, pytest.approx(500 * 1024 / 726)]


def test_published_rows_have_sources_and_the_config_s_columns(config, task):
    ours = run_statistics.read_csv(ROOT / STUDY / "results/peft_rlmath.csv")
    assert ours.columns.tolist() == run_statistics.PUBLISHED
    assert ours["source"].str.match(r"huggingface/peft#3078 d2587c8 method_comparison/RLMath/\S+").all()
    assert ours["row"].nunique() == 206 and not ours.duplicated(["run", "column"]).any()
    shown = {run_statistics.scale_free(column["name"]) for column in config["tasks"]["math"]["columns"]}
    assert set(ours["column"]) < shown  # the names by which a table finds published values
    assert set(grid.run_names(config, "math")) <= set(ours["run"])
    scores = ours[ours["column"] == "GSM8K"].set_index("run")["value"].astype(float)
    times = ours[ours["column"] == "Time"].set_index("run")["value"].astype(float)
    assert scores.drop("base/pretrained").is_monotonic_decreasing and scores["base/pretrained"] == 68.8
    page = (ROOT / STUDY / "README.md").read_text()
    for run in RUNS:
        assert f"{times[run]:,.0f}" in page and f"{scores[run]:.1f}" in page, run


@pytest.mark.parametrize(("run", "parameters"), [("hra/r32", 17_694_720), ("dora/r4", None), ("ia3/lr1e-03", None)])
def test_adapters_fit_the_model_of_the_rehearsal(config, run, parameters):
    """Eight layers with full attention, whose 7 projections have adapters, and the MLPs of the 24 others."""
    from transformers import AutoConfig, AutoModelForCausalLM

    from hra_workflow.models import adapters

    sizes = dict(model_sizes.TRANSFORMERS["qwen3.5-4b"])
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(sizes.pop("model_type"), **sizes))
    assert model.num_parameters() == 4_205_751_296
    method = grid.method(config, "math", *run.split("/"))
    adapted = adapters.insert(model.requires_grad_(False), method, [])
    found = adapters.count(adapted, [])["adapter_parameters"]
    assert found == (parameters or found) > 0
