"""The control task's scripts as its rules call them, on generated scenes and the demo's tiny Stable Diffusion."""

import numpy
import pytest
from PIL import Image
from safetensors.torch import load_file

import draw_hints
import sheet as sheet_script
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


def test_the_photographs_themselves_are_the_best_there_is(tiny_control, tmp_path):
    for hint, best in {
        "canny": {"canny_iou": 1, "canny_f1": 1},
        "segmentation": {"classes_miou": 1, "classes_macc": 1, "classes_aacc": 1},
        "landmarks": {"points_error": 0, "points_error_all": 0, "points_no_face": 0, "points_several_faces": 0},
    }.items():
        run = ControlRun(tmp_path / hint, tiny_control, unet_method("reference"), hint).started()
        record = train(run)
        assert record["steps"] == record["trainable_parameters"] == 0
        found = run.evaluate()["selections"]["last"]["metrics"]
        allowed = 0.6 if hint == "landmarks" else 0.05  # pixels; of shares: what light and texture do to an edge
        assert set(found) == set(best)
        for name, value in best.items():
            assert found[name]["value"] == pytest.approx(value, abs=allowed), (hint, name)


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


def test_the_base_alone_and_its_sheet(tiny_control, tmp_path):
    run = ControlRun(tmp_path, tiny_control, unet_method("pretrained")).started()
    train(run)
    run.gather([run.generate()])
    sheet, scored = tmp_path / "sheet.png", [{"canny_iou": value} for value in (0.25, None, 0.5, 0.75, 1.0)]
    predictions.write(tmp_path / "predictions.jsonl.gz", scored)
    predictions.write(tmp_path / "real.jsonl.gz", [*[{"canny_iou": 1.0}] * 4, {}])
    given = {"images": [str(run.images)], "predictions": [str(tmp_path / "predictions.jsonl.gz")]}
    labels = {path: "base" for paths in given.values() for path in paths}
    given |= {"dataset": tiny_control["canny"], "real": [str(tmp_path / "real.jsonl.gz")]}
    metrics = {name: {"name": name, "scale": 100} for name in ("canny_f1", "canny_iou")}
    job = run.job("sheet_control", given, {"sheet": sheet}, labels=labels, metrics=metrics)
    sheet_script.main(job)
    made = numpy.array(Image.open(sheet).convert("L"))
    left, top, across, step = 16 + 170, 16 + 40, 168, 168 + 16  # border, captions, head, columns and rows with a line
    assert made.shape == (top + 5 * step - 8 + 16, left + 3 * across - 8 + 16)  # the split has five rows
    below = [made[top + row * step + 160 :][:24] for row in range(5)]
    assert [bool((line[:, left + 2 * across :] < 128).any()) for line in below] == [True, False, True, True, True]


def test_a_run_on_other_control_images_generates_and_evaluates_nothing(tiny_control, tmp_path):
    manifest = tmp_path / "canny.manifest.json"

    def drawn(hint: str) -> str:
        draw_hints.main(draw(tiny_control["dataset"], manifest, entry(hint)))
        return files.read_json(manifest)["sha256"]

    first = drawn("canny")
    run = ControlRun(tmp_path, tiny_control | {"canny": str(manifest)}, unet_method("pretrained")).started()
    assert train(run)["data_sha256"] == first
    assert drawn("segmentation") != first
    for job in (run.generate, run.evaluate):
        with pytest.raises(JobError, match=rf"inputs\.{manifest} {first[:12]}…, now"):
            job()
    assert train(run)["data_sha256"] != first
