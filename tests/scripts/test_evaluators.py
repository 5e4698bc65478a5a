"""Custom evaluators, given in the config as `module:Class`: scored like any other, with errors for invalid ones."""

import pytest
from PIL import Image

import evaluate_control
from hra_workflow.core import files, predictions, records
from hra_workflow.core.errors import JobError
from hra_workflow.data import images
from hra_workflow.evaluators import registry
from hra_workflow.tasks.control import items
from image_files import hints

TOY = """
from hra_workflow.evaluators.protocol import Evaluator, Scores


class Brightness(Evaluator):
    metrics = ("_mean", "_most")
    of_run = ("_most",)

    def score(self, images, reference):
        means = [image.convert("L").getpixel((0, 0)) for image in images]
        return Scores({"_mean": [mean or None for mean in means]}, {"_most": {"value": max(means), "stderr": 0.0}})


class Undeclared(Brightness):
    metrics = ("_mean",)


class Unknown(Brightness):
    def score(self, images, reference):
        return Scores({"_mean": [1.0, float("nan"), None]})


class NoEvaluator:
    metrics = "_mean"
"""
GREYS = (0, 10, 40)


@pytest.fixture
def job(tmp_path, monkeypatch):
    """job(class): an evaluation of three grey images by a class of a module in a folder on PYTHONPATH."""
    (tmp_path / "toy_evaluators.py").write_text(TOY)
    monkeypatch.syspath_prepend(tmp_path)
    pictures = [
        images.Picture(items.key((0, row)), images.to_png(Image.new("RGB", (8, 8), (grey,) * 3)), {"row": row})
        for row, grey in enumerate(GREYS)
    ]
    images.pack(tmp_path / "images.tar", pictures, head={"result": "x/x/x/x/x", "settings": {}})
    dataset = hints(tmp_path, [one.key for one in pictures], [one.png for one in pictures])
    records.write(tmp_path / "train.json", {"data_sha256": "0", "steps": 7, "seed": 0, "made_from": {"settings": {}}})

    def make(name: str) -> dict:
        light = {"name": "light", "kind": f"toy_evaluators:{name}"}
        params = {"task_version": 1, "device": "cpu", "scratch": str(tmp_path / "scratch")}
        given = {"record": str(tmp_path / "train.json"), "images": str(tmp_path / "images.tar"), "dataset": dataset}
        return {
            "input": given,
            "output": {name: str(tmp_path / f"{name}.json") for name in ("metrics", "predictions")},
            "params": params | {"evaluators": [light, {"name": "canny", "kind": "canny"}]},
            "resources": {},
            "wildcards": dict.fromkeys(("task", "dataset", "method", "variant", "benchmark"), "x"),
        }

    return make


def test_a_custom_class_scores_like_any_other(job):
    made = job("Brightness")
    assert registry.metrics(made["params"]["evaluators"]) == ["light_mean", "light_most", "canny_iou", "canny_f1"]
    evaluate_control.main(made)
    metrics = files.read_json(made["output"]["metrics"])
    found = metrics["selections"]["last"]["metrics"]
    assert metrics["score"] == "light_mean" and metrics["n_items"] == 3
    assert found["light_mean"] == {"value": 25, "stderr": 15} and found["light_most"]["value"] == 40
    assert [row["light_mean"] for row in predictions.read(made["output"]["predictions"])] == [None, 10, 40]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Undeclared", r"light \(\S+Undeclared\): expected scores that its `metrics` declare, found \['_most'\]"),
        ("Unknown", r"3 finite scores '_mean', one per image, found 3, 1 of them NaN or infinite"),
        ("NoEvaluator", r"expected a class, found <class .* Derive it from"),
        ("Missing", r"evaluator kind: expected 'Missing' in module toy_evaluators, found Brightness, Evaluator"),
    ],
)
def test_classes_that_are_no_evaluators(job, name, message):
    with pytest.raises(JobError, match=message):
        evaluate_control.main(job(name))
