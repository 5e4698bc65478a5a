"""The control task's scripts as its rules call them, on generated scenes and the demo's tiny Stable Diffusion."""

import numpy
import pytest
from safetensors.torch import load_file

import draw_hints
from control_jobs import EVALUATORS, ControlRun, draw, entry
from controlled import unet_method
from hra_workflow.core import files, predictions
from hra_workflow.core.errors import JobError
from hra_workflow.evaluators import registry
from rule_jobs import train

pytestmark = pytest.mark.usefixtures("fresh_accelerator")


def test_from_hints_to_scores(tiny_control, tmp_path):
    run = ControlRun(tmp_path, tiny_control, unet_method("hra")).started()
    started, record = files.read_json(run.augment["output"]["manifest"]), train(run)
    assert record["steps"] == 2 and len(record["curve"]) == 2  # 8 rows, 4 at a time
    trained = load_file(run.last)
    inside = sum(value.numel() for name, value in trained.items() if name.endswith("hra_u"))
    assert started["adapter_parameters"] == record["adapter_parameters"] == inside
    assert any("hint_encoder" in name for name in trained)
    assert record["trainable_parameters"] == sum(value.numel() for value in trained.values())

    made = run.gather([run.generate(shard, 2) for shard in range(2)])
    assert [picture.key for picture in made] == [f"row{row:06d}" for row in range(5)]
    assert all(picture.about["prompt"].endswith(", ") for picture in made)
    assert len({picture.about["seed"] for picture in made}) == 5
    assert run.gather([run.generate(shard, 3) for shard in range(3)]) == made  # the same, to the bit

    metrics = run.evaluate()
    found = metrics["selections"]["last"]["metrics"]
    rows = predictions.read(tmp_path / "run/validation/predictions.jsonl.gz")
    assert metrics["n_items"] == len(rows) == 5 and metrics["score"] == registry.metrics(EVALUATORS["canny"])[0]
    for name, value in found.items():
        known = [row[name] for row in rows if row[name] is not None]
        assert value["value"] == pytest.approx(numpy.mean(known))


def test_control_images_of_another_dataset_with_the_same_settings_are_refused(tiny_control, tmp_path):
    """As after `cp -r` of one dataset's control images over another's."""
    manifest = tmp_path / "canny.manifest.json"
    draw_hints.main(draw(tiny_control["dataset"], manifest, entry("canny")))
    run = ControlRun(tmp_path, tiny_control | {"canny": str(manifest)}, unet_method("pretrained")).started()
    found = files.read_json(manifest)
    files.write_json(manifest, found | {"made_from": found["made_from"] | {"result": "coco"}})
    with pytest.raises(JobError, match=r"canny\.manifest\.json: .* result coco, now canny\. Delete it"):
        train(run)
    other = found["made_from"] | {"inputs": dict.fromkeys(found["made_from"]["inputs"], "0" * 64)}
    files.write_json(manifest, found | {"made_from": other})
    with pytest.raises(JobError, match=r"canny\.manifest\.json: .* inputs\..* 000000000000…, now "):
        train(run)
