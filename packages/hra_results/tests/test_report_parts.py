"""Parts of the HTML report: the headline, figures, images, the rotation of layers, and the config's changes."""

import pandas as pd
import pytest
from PIL import Image

import factories
from hra_results import examples, html_page, report, runs
from hra_workflow.core import predictions, records
from hra_workflow.data import images
from hra_workflow.methods import METHODS

RUNS = ("full/all", "hra/r8", "lora/r8")


def test_the_headline_is_on_the_best_run_that_is_no_baseline():
    names = ["selection", "run", "SST-2", "SST-2_std", "SST-2_published", "SST-2_better", "SST-2_verdict"]
    rows = [
        ("last", "full/all", "99.00", "", "", "higher", "A"),
        ("best_on_dev", "hra/r8", "91.00", "", "", "higher", "B"),
    ]
    rows += [("best_on_dev", "lora/r8", "92.00", "0.50", "93.00", "higher", "")]
    rows += [("best_on_dev", "full/all", "91.50", "", "", "higher", "C")]
    facts = {"selection": "best_on_dev", "trained": RUNS, "labels": factories.LABELS, "baselines": RUNS[::2]}
    found = report.headline(pd.DataFrame(rows, columns=names), "SST-2", facts)
    assert (found["label"], found["value"], found["published"]) == ("LoRA r=8", "92.00 ± 0.50", "93.00")
    assert found["verdict"] == "B"
    assert report.headline(pd.DataFrame(rows[2:], columns=names), "SST-2", facts)["verdict"] == "C"
    assert report.headline(pd.DataFrame(rows[2:3], columns=names), "SST-2", facts)["verdict"] is None
    assert report.headline(pd.DataFrame(rows, columns=names).assign(**{"SST-2": ""}), "SST-2", facts) is None
    equal = pd.DataFrame(rows[1:], columns=names).assign(**{"SST-2": "92.00"})
    for better in ("higher", "lower"):  # of equal runs the first one, as for --run best
        assert report.headline(equal.assign(**{"SST-2_better": better}), "SST-2", facts)["label"] == "HRA r=8, λ=0"


def test_the_rotation_of_hras_layers_is_summarised(tmp_path):
    import peft
    import torch

    torch.manual_seed(0)
    base = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 8))
    peft.get_peft_model(base, peft.HRAConfig(r=2, target_modules=["0", "1"])).save_pretrained(tmp_path)
    found = runs.rotation(tmp_path, METHODS["hra"].adapter.measure)
    assert found["layers"] == 2 and len(found["points"].split()) == 2
    # Columns are drawn in equal pairs, whose reflections cancel: no rotation, and UᵀU is all ones.
    assert found["largest"]["angle"] == pytest.approx(0, abs=1e-4)
    assert found["orthogonality"] == pytest.approx((2**0.5, 2**0.5))


def test_the_title_of_a_curve_names_held_out_rows():
    record = {"task": "glue", "score": "accuracy_f1_mean", "held_out": {"rows": 9}}
    assert runs.title_of(record) == "mean of accuracy and F1 on held-out training rows"
    assert runs.title_of(record | {"task": "math", "score": "loss"}) == "loss"  # that of training


@pytest.fixture
def place(tmp_path):
    """Return the folder of a benchmark of a run, whose images state `HEAD`."""
    record = dict.fromkeys(("task", "dataset", "method", "variant", "seed"), "x")
    records.write(tmp_path / "train.json", record | {"status": "ok", "weights_sha256": {}})
    return tmp_path / "b"


FACTS = {"images": True, "titles": {}}
HEAD = {"result": "x/x/x/x/x/b", "weights": {}, "settings": {}}


def test_images_are_shown_with_their_prompts(place):
    colours = ["red", "lime", "blue"]
    pictures = [
        images.Picture(
            f"row{row:06d}", images.to_png(Image.new("RGB", (64, 64), colour)), {"row": row, "key": f"k{row}"}
        )
        for row, colour in enumerate(colours)
    ]
    images.pack(place / "images.tar", pictures, head=HEAD)
    lines = [{"key": f"k{row}", "prompt": f"a {colour} ball", "iou": row / 4} for row, colour in enumerate(colours)]
    predictions.write(place / "predictions.jsonl.gz", lines)
    shown = examples.chosen("subject", place, {"metrics": ["iou"]}, FACTS)
    assert [one["texts"] for one in shown] == [
        {"prompt": f"a {colour} ball", "iou": f"{row / 4:.3g}"} for row, colour in enumerate(colours)
    ]
    assert [one["url"] for one in shown] == [html_page.image(picture.image, 160, 70) for picture in pictures]


def test_the_last_epochs_images_of_a_subject_are_shown(place):
    def about(step: int) -> dict:
        return {"step": step, "prompt_index": 0, "index": 0, "prompt": "a ball"}

    shades = {1: "black", 2: "white"}
    pictures = [
        images.Picture(f"step{step}", images.to_png(Image.new("RGB", (8, 8), shade)), about(step))
        for step, shade in shades.items()
    ]
    images.pack(place / "images.tar", pictures, head=HEAD)
    predictions.write(place / "predictions.jsonl.gz", [about(step) | {"key": f"step{step}"} for step in shades])
    (shown,) = examples.chosen("subject", place, {"metrics": []}, FACTS)
    assert shown["url"] == html_page.image(Image.new("RGB", (8, 8), "white"), 160, 70)
