"""Drift: images of class prompts from the same noise, and their distance to the base model's."""

import json
import math
from pathlib import Path

import numpy
import pytest

import evaluate_drift
import generate_drift
from controlled import MODEL, SIDE, Run
from controlled import SAMPLING as CONTROLLED
from controlled import unet_method as controlled_method
from hra_workflow.core import predictions
from hra_workflow.core.errors import JobError
from hra_workflow.data import images
from hra_workflow.evaluators.protocol import Evaluator, Needs, Scores
from hra_workflow.tasks.control.sampling import WithoutHint
from rule_jobs import train
from subjects import SAMPLING, pixels, unet_method

PROMPTS = ["a ball on the left", "a red ball"]


class Difference(Evaluator):
    """Mean difference of the pixels in grey levels; an image has no other one of its prompt."""

    metrics = ("_diversity", "_real")
    needs = Needs(images="references")

    def score(self, images, reference):
        (one,), (base,) = images, reference.images
        value = numpy.abs(numpy.asarray(one, float) - numpy.asarray(base, float)).mean()
        return Scores({"_diversity": [None], "_real": [float(value)]})


def job(run, rule: str, input: dict, name: str, **method) -> dict:
    """Return a job that generates images: of the base model, or with the run's weights."""
    made = run.job(
        rule,
        {"model": run.tiny["model"], "dataset": []} | input,
        {"images": run.folder / f"{name}.tar"},
        prompts=PROMPTS,
        captions=2,
        sampler="hra_workflow.models.diffusion.sampling:Sampler",
        sampling=SAMPLING | {"images": 2},
        finished=str(run.folder / "scratch" / name),
        **{"method": run.method | method} if input else {},
    )
    of_dataset = {part: run.wildcards[part] for part in ("task", "dataset")}
    return made | {"wildcards": run.wildcards | {"benchmark": name} if input else of_dataset}


def generated(job: dict) -> list:
    generate_drift.main(job)
    return list(images.unpack(job["output"]["images"]))


@pytest.mark.slow
def test_drift_grows_from_the_base_model_to_what_was_trained(make_subject_run):
    run = make_subject_run(unet_method())
    train(run)
    record = {"record": str(run.folder / "run/train.json")}
    of_run = record | run.weights
    base = generated(job(run, "generate_base_images", {}, "base"))
    found = {}
    for strength in (1e-9, 0.3, None):
        name = f"drift@{strength:g}" if strength else "drift"
        made = job(run, "generate_drift", of_run, name, **({"strength": strength} if strength else {}))
        changed = generated(made)
        evaluation = run.job(
            "evaluate_drift",
            record | {"images": made["output"]["images"], "base": str(run.folder / "base.tar"), "models": []},
            {one: run.folder / f"{name}/{one}" for one in ("metrics", "predictions")},
            evaluators=[{"name": "difference", "kind": "test_drift:Difference"}],
        )
        evaluate_drift.main(evaluation | {"wildcards": run.wildcards | {"benchmark": name}})
        value = json.loads(Path(evaluation["output"]["metrics"]).read_text())["selections"]["last"]["metrics"]
        per_image = [abs(pixels(a) - pixels(b)).mean() for a, b in zip(base, changed, strict=True)]
        rows = predictions.read(evaluation["output"]["predictions"])
        assert numpy.allclose([row["difference"] for row in rows], per_image)
        per_prompt = numpy.reshape(per_image, (2, 2)).mean(1)
        assert math.isclose(value["difference"]["value"], per_prompt.mean())
        assert math.isclose(value["difference"]["stderr"], per_prompt.std(ddof=1) / math.sqrt(2))
        found[strength] = value["difference"]["value"]
    assert found[1e-9] < 0.5 < found[0.3] < found[None]
    assert [one.about["seed"] for one in base] == [one.about["seed"] for one in changed]

    del rows
    other = job(run, "generate_base_images", {}, "other")
    other["params"]["prompts"] = [*PROMPTS[:1], "a blue ball"]
    generated(other)
    inputs = evaluation["input"] | {"base": other["output"]["images"]}
    with pytest.raises(JobError, match=r"other\.tar: expected .* settings\.prompts .*blue ball.*, now "):
        evaluate_drift.main(evaluation | {"input": inputs})


@pytest.mark.slow
def test_without_a_control_image_the_adapters_show(tmp_path, fresh_accelerator):
    run = Run(tmp_path, controlled_method("hra"), learning_rate=5e-2)
    run.train()

    def drawn(method: dict | None) -> numpy.ndarray:
        sampler = WithoutHint(MODEL, CONTROLLED | {"resolution": SIDE}, "cpu")
        if method:
            sampler.use(method, run.last)
        return numpy.asarray(sampler.draw(["a disc"], [7])[0][0], int)

    base = drawn(None)
    assert abs(drawn(run.method | {"strength": 1e-9}) - base).max() <= 1
    assert abs(drawn(run.method) - base).mean() > 1
