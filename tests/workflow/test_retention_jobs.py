"""Drift and strengths of the tasks that generate images, by dry run."""

import pytest
from yaml import safe_dump

DRIFT = {"prompts": 5, "images": 1, "evaluators": [{"name": "lpips", "kind": "lpips-vgg", "model": "lpips-vgg"}]}


def task(dataset: str, *runs: str) -> dict:
    column = {"name": "A", "dataset": dataset, "benchmark": "prompts", "metric": "dino"}
    column |= {"benchmark": "validation", "metric": "canny_iou"} if dataset == "coco" else {}
    return {
        "grid": [{"runs": ["base/pretrained", *runs], "datasets": [dataset], "seeds": [0]}],
        "columns": [column],
        "drift": DRIFT,
        "rewind": [0.5],
    }


@pytest.mark.slow
def test_rewound_weights_and_drift_need_no_training_of_their_own(fresh, tmp_path):
    tasks = {"subject": task("dog", "hra/r8"), "control": task("coco", "hra/r8", "hra/r8-inf", "controlnet/full")}
    (tmp_path / "own.yaml").write_text(safe_dump({"tasks": tasks}))
    planned = fresh.plan("results/runs_subject.csv", "results/runs_control.csv", config=str(tmp_path / "own.yaml"))

    def lines(rule: str, part: str) -> set[str]:
        return {line.split(" method=")[1] for line in planned[rule] if part in line}

    hra = "hra variant=r8 seed=0 benchmark="
    assert planned["generate_base_images"] == {"task=subject dataset=dog", "task=control dataset=coco"}
    assert lines("generate_drift", "subject") == {f"{hra}drift", f"{hra}drift@0.5"}
    assert lines("generate_drift", "control") == {
        f"{hra}drift",
        f"{hra}drift@0.5",
        "hra variant=r8-inf seed=0 benchmark=drift",
    }
    assert planned["evaluate_drift"] == planned["generate_drift"]
    base = "base variant=pretrained seed=0 benchmark="
    assert lines("evaluate_subject", "") == {f"{base}prompts", f"{hra}prompts", f"{hra}prompts@0.5"}
    assert lines("gather_subject", "") == lines("evaluate_subject", "")
    assert len(planned["evaluate_control"]) == len(planned["gather_control"]) == 5
    assert len(planned["train_subject"]) == 2 and len(planned["train_control"]) == 4
