"""Weights at a strength: identities of the loaded model, whole runs, and which runs the config rewinds."""

import json
from pathlib import Path

import pytest
import torch

import collect_runs
import evaluate_glue
import evaluate_math
import gather_outputs
import generate_math
import train_glue
from hra_workflow import methods, tasks
from hra_workflow.core import predictions, strength_names
from hra_workflow.core.errors import JobError
from hra_workflow.core.job import recorded_params
from hra_workflow.methods import rewinding
from hra_workflow.models import causal_lm
from rule_jobs import names, train
from sums import math_method
from support import method, paper_config

ADALORA = {"init_r": 4, "target_r": 2, "tinit": 1, "tfinal": 2, "deltaT": 1, "total_step": 16, "orth_reg_weight": 0.1}


def weights(run, strength: float | None = None) -> dict[str, torch.Tensor]:
    """Return the weights of a run's model with its adapter merged."""
    spec = run.method | ({"strength": strength} if strength is not None else {})
    folder, last = Path(run.tiny["model"]).parent / "model", Path(run.weights["last"])
    return causal_lm.load_run(folder, spec, last, "float32", "cpu", merge=True).state_dict()


def base(run) -> dict[str, torch.Tensor]:
    return causal_lm.load_model(Path(run.tiny["model"]).parent / "model", "float32").state_dict()


@pytest.mark.parametrize("kind, peft", [("lora", None), ("adalora", ADALORA), ("full", None)])
def test_an_update_is_scaled(make_math_run, kind, peft):
    budget = {"initial": 0.1, "final": 0.3} if kind == "adalora" else None
    run = make_math_run(math_method(kind, peft, budget=budget), learning_rate=0.1)
    train(run)
    start, whole, part = base(run), weights(run), weights(run, 0.3)
    assert any((whole[name] - start[name]).abs().max() > 1e-2 for name in start)
    for name, value in start.items():
        torch.testing.assert_close(part[name], value + 0.3 * (whole[name] - value), rtol=0, atol=1e-4)


def test_a_rotation_goes_back_along_its_geodesic(make_math_run):
    run = make_math_run(math_method("hra"), epochs=0.5)
    train(run)
    start, whole, half = base(run), weights(run), weights(run, 0.5)
    moved = [name for name in start if not torch.equal(start[name], whole[name])]
    assert moved
    for name in moved:
        W, trained, rewound_ = (one[name].double() for one in (start, whole, half))
        H, root = (torch.linalg.lstsq(W, one).solution for one in (trained, rewound_))
        if W.shape[0] >= W.shape[1]:  # otherwise W does not determine H
            torch.testing.assert_close(root @ root, H, rtol=0, atol=1e-3)
        torch.testing.assert_close(rewound_ @ rewound_.mT, W @ W.mT, rtol=0, atol=1e-4)


def test_answers_of_rewound_weights_are_a_benchmark_of_their_own(make_math_run, tmp_path):
    """At strength 1 they are the run's; close to 0 they are the base model's, for an adapter and its LoRA alike."""
    run = make_math_run(math_method("hra", {"r": 4, "two_sided": True, "magnitudes": True}), epochs=2)
    record = train(run)

    def texts(strength: float | None, serve: str = "adapter") -> list[str]:
        job = run.generate(serve=serve)
        job["params"]["method"] = run.method | ({"strength": strength} if strength else {})
        generate_math.main(job)
        gather = run.gather()
        gather["params"]["generated"] = recorded_params(job)
        gather_outputs.main(gather)
        return [line["output"] for line in predictions.read(run.gather()["output"]["outputs"])]

    trained = texts(None)
    assert texts(1 - 1e-9) == trained
    assert texts(1e-9) == texts(1e-9, "lora") != trained
    job = run.job(
        "evaluate_math",
        {"record": str(run.folder / "run/train.json"), "dataset": run.tiny["dataset"]}
        | {"outputs": run.gather()["output"]["outputs"]},
        {name: tmp_path / f"test@0.5/{name}" for name in ("metrics", "predictions")},
        split="test",
        answer="metamath",
        metrics=["strict"],
        score="strict",
        graders={"strict": 1},
    )
    head, lines = predictions.read_with_head(job["input"]["outputs"])
    job["params"]["generated"] = head["settings"]
    with pytest.raises(JobError, match=r"result math/sums/hra/v/0/test, now math/sums/hra/v/0/test@0\.5"):
        evaluate_math.main(job | {"wildcards": run.wildcards | {"benchmark": "test@0.5"}, "threads": 1})
    predictions.write(job["input"]["outputs"], lines, head | {"result": "math/sums/hra/v/0/test@0.5"})
    evaluate_math.main(job | {"wildcards": run.wildcards | {"benchmark": "test@0.5"}, "threads": 1})
    found = json.loads(Path(job["output"]["metrics"]).read_text())
    entry = dict(dataset="sums", method="hra", variant="v", seed=0, errors=[], benchmarks={"test": [], "test@0.5": []})
    entry |= {"asked": {"task_version": 1}, "inputs": run.tiny, "evaluations": {"test@0.5": {}}}
    key = ("sums", "hra", "v", 0)
    rows = collect_runs.rows_of(entry, {key: ("", record)}, {(*key, "test@0.5"): ("", found)}, {})
    assert [(row["benchmark"], row["strength"], row["status"]) for row in rows] == [
        ("test", 1.0, "missing"),
        ("test@0.5", 0.5, "ok"),
    ]


def test_a_classifier_keeps_its_head_at_every_strength(make_run):
    run = make_run(method(), epochs=1, learning_rate=0.1)
    train_glue.main(run.train)

    def scores(name: str, **strength: float) -> list[float]:
        job = run.evaluate
        job["params"]["method"] = run.method | strength
        evaluate_glue.main(job | {"wildcards": run.wildcards | {"benchmark": name}})
        lines = predictions.read(job["output"]["predictions"])
        return [value for line in lines for value in (*line["last"], *line["best_on_dev"])]

    trained = scores("validation")
    assert scores("validation@1", strength=1 - 1e-9) == pytest.approx(trained, abs=1e-5)
    assert scores("validation@0.5", strength=0.5) != pytest.approx(trained, abs=1e-4)


def test_a_reflection_is_refused_when_it_is_loaded():
    class Model:
        def named_modules(self):
            return []

    with pytest.raises(JobError, match=r"expected HRA layers .* leave `rewind` out of the task"):
        rewinding.rewind(rewinding.HRA, Model(), 0.5)


def test_names_of_benchmarks():
    assert strength_names.name("gsm8k", 0.25) == "gsm8k@0.25" and strength_names.split("gsm8k@0.25") == ("gsm8k", 0.25)
    assert strength_names.split("gsm8k") == ("gsm8k", None)


def test_jobs_of_rewound_weights_get_their_strength():
    given = {rule: one["at_a_strength"]["method"] for rule, one in names().items() if one["at_a_strength"]}
    assert {"evaluate_glue", "generate_math", "generate_control", "evaluate_general_text"} <= given.keys()
    assert all(one["strength"] == 0.5 for one in given.values())


def test_what_cannot_be_rewound_is_left_out_and_said():
    config = paper_config()
    config["tasks"]["math"]["rewind"] = [0.5]
    config["methods"]["lora"]["variants"]["dora"] = {"targets": "paper", "peft": {"r": 8, "use_dora": True}}
    config["tasks"]["math"]["grid"][1]["runs"] += ["full/all", "lora/dora"]
    task = tasks.load(config)["math"]
    of_run = {f"{run['method']}/{run['variant']}": task.evaluation.benchmarks(run) for run in task.runs()}
    plain = ["gsm8k", "math", "general_text"]
    both = [*plain, *(f"{name}@0.5" for name in plain)]
    assert of_run["hra/r32"] == of_run["lora/r32"] == of_run["full/all"] == both
    assert of_run["hra/r32-inf"] == of_run["lora/dora"] == of_run["oft/b16"] == of_run["base/pretrained"] == plain
    assert task.evaluation.rewinding_notes() == [
        "not rewound: base/pretrained (it trains nothing)",
        "not rewound: oft/b16 (nothing rewinds oft)",
        "not rewound: boft/m2b8 (nothing rewinds boft)",
        "not rewound: hra/r32-inf (λ = ∞ and an odd r give reflections, not rotations)",
        "not rewound: lora/dora (the update of DoRA is no product that could be scaled)",
    ]
    assert rewinding.fault(methods.METHODS["lora"].rewind, {"peft": {"bias": "all"}}) is not None
    del config["tasks"]["math"]["rewind"]
    assert tasks.load(config)["math"].evaluation.rewinding_notes() == []
