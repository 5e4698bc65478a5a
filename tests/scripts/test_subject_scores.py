"""How the images of a subject are scored: all pairs, blocked images, the official selection."""

import numpy
import pytest
import torch

import evaluate_subject
from hra_workflow.core import files, manifests, predictions
from hra_workflow.data import images
from hra_workflow.evaluators import aggregation, image_features, lpips, registry
from hra_workflow.models.diffusion.sampling import Sampler
from rule_jobs import train
from subjects import EVALUATION, PROMPTS, drawn, unet_method


def evaluated(run, images: str | None = "gathered", **options) -> tuple[dict, list[dict]]:
    job = run.evaluate(run.gather()["output"]["images"] if images else None, **options)
    evaluate_subject.main(job)
    return files.read_json(job["output"]["metrics"]), predictions.read(job["output"]["predictions"])


def test_blocked_images_are_recorded_counted_and_not_scored(trained_subject, monkeypatch, capsys):
    run, blocked = trained_subject, 1
    plain = Sampler.at_once

    def at_once(self, prompts, seeds):
        found = plain(self, prompts, seeds)
        return [
            (image.point(lambda value: 0), True) if prompt in PROMPTS[:blocked] else (image, flag)
            for prompt, (image, flag) in zip(prompts, found, strict=True)
        ]

    monkeypatch.setattr(Sampler, "at_once", at_once)
    drawn(run)
    assert f"18 images, {6 * blocked} blocked (all black) step00002-prompt00-0" in capsys.readouterr().out
    metrics, rows = evaluated(run)
    assert metrics["selections"]["last"]["metrics"]["blocked"]["value"] == pytest.approx(blocked / 3)
    assert metrics["n_items"] == len(rows) == 18
    assert all((row.get("faithfulness") is None) == bool(row["blocked"]) for row in rows)


class Colours(image_features.Clip):
    """CLIP with the mean colour as the features of an image; a text has those of its length."""

    calls = 0

    def __init__(self, *_):
        self.crop = None

    def encode(self, images):
        Colours.calls += len(images)
        return torch.tensor(numpy.array([numpy.asarray(one, float).mean((0, 1)) for one in images])).float()

    def texts(self, texts):
        return torch.nn.functional.normalize(torch.tensor([[len(text), 1.0, 2.0] for text in texts]), dim=1)


class OnlyColours(Colours):
    metrics = ("",)
    score = image_features.Features.score


class Distances(lpips.Lpips):
    """LPIPS that is the squared distance of these features."""

    def __init__(self, *_):
        pass

    def embed(self, images):
        return Colours().images(images)


KINDS = {"dino": OnlyColours, "clip": Colours, "lpips": Distances}
ENTRIES = [{"name": kind, "kind": kind, "model": "model"} for kind in KINDS]


def test_scores_are_means_over_all_pairs_and_are_computed_again(
    trained_subject, make_subject_run, tiny_subject, monkeypatch
):
    run = trained_subject
    made = drawn(run)
    monkeypatch.setattr(registry, "find", KINDS.get)
    evaluation = {"evaluators": ENTRIES, "best_by": ["dino", "clip_i", "clip_t", "lpips_real"]}
    options = {"evaluation": evaluation, "models": (tiny_subject["model"],)}
    metrics, rows = evaluated(run, **options)
    calls = Colours.calls
    assert calls == 3 * (18 + 3)
    again, same = evaluated(run, **options)
    assert Colours.calls == 2 * calls and again["selections"] == metrics["selections"] and same == rows

    real = Colours().images([images.load(p) for p in images.listed(manifests.folder(tiny_subject["dataset"]))])
    shown = Colours().images([picture.image for picture in made[-6:]])
    last = {name: entry["value"] for name, entry in metrics["selections"]["last"]["metrics"].items()}
    assert last["dino"] == last["clip_i"] == pytest.approx((shown @ real.T).mean().item(), abs=1e-6)
    for metric, key in (("clip_t", "prompts"), ("clip_t_class", "prompts_class")):
        asked = Colours().texts(EVALUATION[key]).repeat_interleave(2, 0)
        assert last[metric] == pytest.approx((shown * asked).sum(1).mean().item(), abs=1e-6)
    assert last["lpips_real"] == pytest.approx(lpips.between(shown, real).mean().item(), abs=1e-6)
    pairs = [lpips.between(shown[i : i + 1], shown[i + 1 : i + 2]).item() for i in (0, 2, 4)]
    assert last["lpips_diversity"] == pytest.approx(numpy.mean(pairs), abs=1e-6)
    assert metrics["selections"]["best_on_test"]["step"] is None
    assert rows[0].keys() >= {"key", "prompt", "seed", "dino", "clip_t", "lpips_real", "blocked"}

    reference = make_subject_run(unet_method("reference"), "reference")
    record = train(reference)
    assert record["steps"] == 0 and record["adapter_parameters"] == 0 and record["total_parameters"] > 1000
    metrics, rows = evaluated(reference, None, **options)
    others = ((real @ real.T).sum() - 3) / 6
    found = metrics["selections"]["last"]["metrics"]
    assert found["dino"]["value"] == pytest.approx(others.item(), abs=1e-6) and "clip_t" not in found
    assert found["lpips_real"] == found["lpips_diversity"] and len(rows) == 3


def test_best_on_test_is_the_official_rule_without_its_undefined_values():
    steps, generator = [10, 20, 30], numpy.random.default_rng(0)
    scores = {name: {step: generator.random(4) for step in steps} for name in ("a", "b")}
    found = aggregation.best_on_test(scores, ["a", "b"])
    for prompt in range(4):
        values = {name: numpy.array([scores[name][step][prompt] for step in steps]) for name in scores}
        total = sum(value / (value.max() - value.min()) for value in values.values())
        assert all(found[name][prompt] == values[name][total.argmax()] for name in scores)
    for step in steps:
        scores["a"][step][0] = 0.5  # no range: b decides
        scores["a"][step][1] = numpy.nan  # blocked at every step
    scores["b"][30][2] = scores["a"][30][2] = numpy.nan  # blocked at one step
    scores["b"][10][2], scores["b"][20][2] = 0.1, 0.2
    scores["a"][10][2], scores["a"][20][2] = 0.1, 0.2
    found = aggregation.best_on_test(scores, ["a", "b"])
    assert found["b"][0] == max(scores["b"][step][0] for step in steps) and found["a"][2] == 0.2
    summary = aggregation.summary(found)
    known = found["a"][[0, 2, 3]]
    assert summary["a"]["value"] == pytest.approx(known.mean())
    assert aggregation.summary({"a": numpy.array([numpy.nan])}) == {}
    only_blocked = {"blocked": {step: numpy.ones(4) for step in steps}}
    assert aggregation.best_on_test(only_blocked, ["a"])["blocked"].tolist() == [1.0] * 4


def test_best_on_test_is_the_official_rule_in_which_the_unit_of_a_metric_does_not_count():
    steps, generator = [10, 20, 30], numpy.random.default_rng(0)
    scores = {name: {step: unit * generator.random(4) for step in steps} for name, unit in (("a", 1000), ("b", 1))}
    found = aggregation.best_on_test(scores, ["a", "b"])
    for prompt in range(4):
        values = {name: numpy.array([scores[name][step][prompt] for step in steps]) for name in scores}
        total = sum(value / (value.max() - value.min()) for value in values.values())
        assert all(found[name][prompt] == values[name][total.argmax()] for name in scores)
