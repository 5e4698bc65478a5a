"""Reruns of control images, by dry run: an edited hint function is computed again, and all that was trained on it.

The finished project was trained without cached latents, as before these existed.
"""

import os

import pytest

from project import Project, write_rooms

pytestmark = pytest.mark.slow

CONFIG = """
datasets:
  control:
    depth:
      source: {kind: local, path: rooms}
      hint: my_hints:depth
      splits:
        train: {prompts: train.jsonl, image: "rooms.zip:train/{key}.jpg"}
        validation: {prompts: validation.jsonl, image: "rooms.zip:validation/{key}.jpg"}
      evaluators: [canny]
tasks:
  control:
    version: 1
    grid: [{runs: [hra/r8], datasets: [depth], seeds: [0]}]
    resources: {gpu: 0, threads: 1, mem_mb: 1000, runtime: 10}
    latents: {cache: false, resources: {gpu: 0, threads: 1, mem_mb: 1000, runtime: 10}}
    generation: {shards: 1}
    columns: [{name: IoU, dataset: depth, benchmark: validation, metric: canny_iou}]
    figures: {parameters: [IoU], lambda: []}
"""
TABLE = "results/table_control.csv"
HINT = "raise ImportError  # a dry run must not import this\n\n\ndef depth(image, annotation):\n    return image\n"


@pytest.fixture(scope="module")
def drawn(fresh, tmp_path_factory) -> Project:
    """Provide a finished project whose control images are computed by a user's function."""
    project = fresh.copy(tmp_path_factory.mktemp("drawn") / "project")
    project.stand_in()
    (project.folder / "control.yaml").write_text(CONFIG)
    (project.folder / "my_hints.py").write_text(HINT)
    write_rooms(project.folder / "rooms")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(project.folder), prepend=os.pathsep)
        project.snakemake("--cores", "2", "--configfile", "control.yaml", "-q", "all", "--", TABLE)
    return project


@pytest.fixture
def done(drawn, tmp_path, monkeypatch) -> Project:
    project = drawn.copy(tmp_path / "project")
    monkeypatch.setenv("PYTHONPATH", str(project.folder), prepend=os.pathsep)
    return project


def test_an_edited_hint_function_plans_hints_and_all_that_follows(done):
    assert done.plan(TABLE, config="control.yaml") == {}
    done.change("my_hints.py", "return image", "return image.convert('L')")
    planned = done.plan(TABLE, config="control.yaml")
    assert planned["hints"] == {"dataset=depth"}
    assert planned.keys() == {
        "hints", "train_control", "generate_control", "gather_control", "evaluate_control", "runs", "compare", "table"
    }  # fmt: skip


def test_cached_latents_repeat_no_finished_run(done):
    done.change("control.yaml", "cache: false", "cache: true")
    assert done.plan(TABLE, config="control.yaml") == {}
    done.change("control.yaml", "seeds: [0]", "seeds: [0, 1]")
    planned = done.plan(TABLE, config="control.yaml")
    assert planned["latents"] == {"dataset=depth"} and "hints" not in planned
    assert planned["train_control"] == {"task=control dataset=depth method=hra variant=r8 seed=1"}


def test_a_bumped_task_version_plans_hints(done):
    done.change("control.yaml", "version: 1", "version: 2")
    assert {"hints", "train_control"} <= done.plan(TABLE, config="control.yaml").keys()


def test_a_module_that_is_not_on_the_path_stops_the_dry_run(done):
    (done.folder / "my_hints.py").rename(done.folder / "workflow/elsewhere.py")
    output = done.snakemake("-n", "--cores", "1", "--configfile", "control.yaml", "--", TABLE, ok=False)
    assert "hint 'my_hints:depth': expected a module my_hints on PYTHONPATH" in " ".join(output.split())
