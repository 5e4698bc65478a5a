"""Language models: what is learned, every method there and back, exact resumption, data."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist

import hra
import train_math
from hra_workflow.core import files, manifests
from hra_workflow.core.errors import JobError
from hra_workflow.models import causal_lm
from hra_workflow.models.prompts import Prompt
from hra_workflow.training import checkpoints
from rule_jobs import train
from saved_states import check_restored, stop_after
from sums import answers, math_method, start_of
from two_ranks import on_two_ranks, train_one_rank


def prompt_of(tiny: dict, template: str = "{question}\n") -> Prompt:
    folder = manifests.folder(tiny["model"])
    return Prompt({"template": template}, causal_lm.load_tokenizer(folder), folder)


def loss_of(run) -> float:
    """Mean loss over the learned tokens of the training set, with the run's stored weights, without the Trainer."""
    model_folder, data_folder = (manifests.folder(run.tiny[name]) for name in ("model", "dataset"))
    model = causal_lm.load_run(model_folder, run.method, run.weights["last"], "float32", "cpu")
    rows = causal_lm.training_rows(data_folder, "train", prompt_of(run.tiny), run.settings["max_length"])
    total = tokens = 0
    with torch.inference_mode():
        for row in rows:
            logits = model(torch.tensor([row["input_ids"]])).logits[0, :-1]
            labels = torch.tensor(row["labels"][1:])
            total += torch.nn.functional.cross_entropy(logits, labels, reduction="sum").item()
            tokens += int((labels != causal_lm.IGNORED).sum())
    return total / tokens


def test_a_long_response_is_cut_and_a_long_question_left_out(tiny_math, capsys):
    folder, prompt = manifests.folder(tiny_math["dataset"]), prompt_of(tiny_math)
    rows = causal_lm.training_rows(folder, "train", prompt, 12)
    assert all(len(row["input_ids"]) <= 12 and row["labels"][-1] >= 0 for row in rows)
    assert 0 < len(rows) < 64 and f"{64 - len(rows)} of them dropped" in capsys.readouterr().out
    with pytest.raises(JobError, match="no question of train fits into max_length = 3"):
        causal_lm.training_rows(folder, "train", prompt, 3)


@pytest.mark.parametrize("kind", ["hra", "full"])
def test_every_method_trains_and_its_stored_weights_answer(make_math_run, kind):
    run = make_math_run(math_method(kind))
    record = train(run)
    assert record["steps"] == 16 and record["best_step"] is None and record["score"] == "loss"
    base = make_math_run(math_method("pretrained"), "base")
    start = train(base)
    assert (start["steps"], start["trainable_parameters"], start["curve"]) == (0, 0, [])
    assert loss_of(run) < loss_of(base) - 0.01
    given = answers(run)
    assert [line["item"] for line in given] == list(range(23))
    assert all(line["finish"] in ("stop", "length") and line["prompt"].endswith("?\n") for line in given)
    check_restored(run.train)


@pytest.mark.slow
def test_the_losses_of_accumulated_steps_are_one_mean_over_tokens(make_math_run):
    """Responses of unequal length: a mean of the steps' means would weigh short ones too much."""
    settings = {"group_by_length": False, "epochs": 1}
    curves = [
        train(make_math_run(math_method("hra", **penalty), name, gradient_accumulation=steps, **settings))["curve"]
        for name, steps, penalty in (("one", 1, {"lambda": 0.1}), ("four", 4, {"lambda": 0.1}), ("none", 1, {}))
    ]
    one, four, none = ([entry["metrics"]["loss"] for entry in curve] for curve in curves)
    assert one == pytest.approx(four, rel=2e-4)
    penalty = hra.orthogonality_penalty(start_of(make_math_run(math_method("hra"), "start"))).item()
    assert one[0] - none[0] == pytest.approx(0.1 * penalty, rel=1e-3) and penalty > 4


@pytest.mark.slow
def test_adalora_allocates_its_ranks_and_its_regulariser_counts_once_a_step(make_math_run):
    losses = {}
    peft = {"init_r": 4, "target_r": 2, "deltaT": 1, "orth_reg_weight": 0.1}
    model = start_of(make_math_run(math_method("adalora", peft), "start"))
    x = torch.arange(20)[None]
    whole = model.base_model(x, labels=x).loss - model.get_base_model()(x, labels=x).loss  # PEFT's own, of weight 0.1
    for steps, weight in ((1, 0.0), (1, 1.0), (4, 1.0)):
        peft = peft | {"orth_reg_weight": weight}
        settings = {"gradient_accumulation": steps, "group_by_length": False, "epochs": 1}
        run = make_math_run(math_method("adalora", peft), f"{steps} {weight}", **settings)
        losses[steps, weight] = train(run)["curve"][0]["metrics"]["loss"]
        saved = files.read_json(Path(run.weights["last"]).with_name("adapter_config.json"))
        assert saved["orth_reg_weight"] == weight
        ranks = [sum(kept) for kept in saved["rank_pattern"].values()]
        assert sum(ranks) == 2 * len(ranks)  # of 4 a layer
    assert losses[4, 1.0] == pytest.approx(losses[1, 1.0], rel=2e-4)
    assert losses[1, 1.0] - losses[1, 0.0] == pytest.approx(10 * whole.item(), rel=1e-3) and whole > 0.1


@pytest.mark.slow
def test_pissa_is_saved_as_a_lora_on_the_base_as_it_came(make_math_run):
    kind = "pissa_niter_16"
    run = make_math_run(math_method("lora", {"r": 4, "lora_alpha": 4, "init_lora_weights": kind}), kind)
    record = train(run)
    config = files.read_json(Path(run.weights["last"]).with_name("adapter_config.json"))
    assert config["r"] == 8 and config["init_lora_weights"] is True
    # The loss that training ended with is the loss of what was stored.
    assert loss_of(run) == pytest.approx(record["curve"][-1]["metrics"]["loss"], abs=0.35)
    start = files.read_json(run.folder / "augmented/adapter_config.json")
    assert start["init_lora_weights"] == kind  # the input of the rule is as it was


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"group_by_length": "shuffled", "gradient_accumulation": 2}, (3, 11)),
        # As in PEFT's benchmark: so many steps of rows in their order.
        ({"max_steps": 11, "shuffle": False, "group_by_length": 3, "loss_on": "text"}, (3, 9)),
    ],
)
def test_a_training_stopped_inside_and_between_epochs_ends_with_the_same_numbers(make_math_run, settings, steps):
    """Test epochs of eight steps with rows grouped by length."""
    undisturbed, stopped = (make_math_run(math_method("hra"), name, **settings) for name in ("undisturbed", "stopped"))
    expected = train(undisturbed)
    for step in steps:
        stop_after(step, lambda: train(stopped))
    record = train(stopped)
    assert record["resumed_from"] == list(steps)
    assert record["steps"] == settings.get("max_steps", record["steps"]) > max(steps)
    assert record["curve"] == expected["curve"]
    assert stopped.last.read_bytes() == undisturbed.last.read_bytes()


def train_two_ranks(whole: dict, stopped: dict) -> None:
    """Train as one of two processes; then again, stopped and resumed by both though the second finds no checkpoint."""
    train_math.main(whole)
    train_one_rank(stopped, 11)
    if dist.get_rank() == 1:
        checkpoints.newest = lambda scratch: None
    train_math.main(stopped)


@pytest.mark.slow
def test_two_processes_train_one_model(make_math_run, tmp_path):
    """Stopped and resumed or not: the same bytes; about the loss of one process."""
    runs = [make_math_run(math_method("hra"), name) for name in ("one", "two", "stopped")]
    jobs = [run.train for run in runs]
    expected = train(runs[0])
    for job in jobs[1:]:
        job["resources"] |= {"gpu": 2}
    on_two_ranks(train_two_ranks, tmp_path, *jobs[1:])
    records = [files.read_json(job["output"]["record"]) for job in jobs[1:]]
    assert [record["resumed_from"] for record in records] == [[], [11]]
    assert records[0]["curve"] == records[1]["curve"] and records[0]["weights_sha256"] == records[1]["weights_sha256"]
    assert records[0]["processes"] == 2 and records[0]["steps"] == expected["steps"]
    assert loss_of(runs[1]) == pytest.approx(loss_of(runs[0]), rel=0.02)
