"""Control through the real rules and scripts: archives, control images, a killed and retried shard, table, sheet."""

import pytest
from PIL import Image

from support import table_rows
from tiny_demo import real_project, tiny_demo

TABLE, SHEET = "results/table_control.csv", "results/sheets/control_scenes.png"
SCRIPT, LINE = "workflow/hra_workflow/models/image_shards.py", "            progress.update(len(batch))\n"
KILL = (  # when the first batch is written
    "            import os; written.result()\n"
    '            os.kill(os.getpid(), 9 * (job["rule"] == "generate_control" and index == 1))\n'
)
TINY = tiny_demo(
    "control",
    {"scenes": "scenes-classes"},
    """
datasets:
  control:
    scenes: {source: {rows: &rows {train: 8, validation: 4}}, rows: *rows, evaluators: [canny, classes]}
presets: {control: {tiny: {all: {batch_size: 4, warmup_steps: 0}}}}
tasks:
  control:
    grid: [{runs: [real/images, hra/r8], datasets: [scenes], seeds: [0]}]
    generation: {shards: 2, batch_size: 1, inference_steps: 2}
    columns:
      - {name: IoU, dataset: scenes, benchmark: validation, metric: canny_iou}
      - {name: mIoU, dataset: scenes, benchmark: validation, metric: classes_miou, scale: 100}
    figures: {parameters: [IoU], lambda: [IoU]}
""",
)


@pytest.mark.slow
def test_from_archives_to_table_and_sheet_with_a_killed_shard(fresh, tmp_path):
    project = real_project(fresh, tmp_path / "project", TINY)
    command = ("--cores", "2", "--configfile", "tiny.yaml", "--")
    project.change(SCRIPT, LINE, LINE + KILL)
    project.snakemake(*command, TABLE, ok=False)
    project.change(SCRIPT, KILL, "")
    planned = project.plan(TABLE, SHEET, config="tiny.yaml")
    assert {job.split(" shard=")[1] for job in planned["generate_control"]} == {"1 n_shards=2"}
    of_task = {f"{name}_control" for name in ("generate", "gather", "sheet")}
    assert planned.keys() - {"evaluate_control"} == {*of_task, "runs", "compare", "table"}
    project.snakemake(*command, TABLE, SHEET)
    logs = project.folder / "logs/generate/control/scenes/hra/r8/seed0/validation"
    assert "2 images, 1 of them generated now" in (logs / "shard1-of-2.log").read_text()
    table = {row["run"]: row for row in table_rows(project.folder / TABLE)}
    hra, real = table["hra/r8"], table["real/images"]
    assert (real["IoU"], real["params_M"]) == ("1.000", "0.000") and float(real["mIoU"]) > 95
    assert 0 <= float(hra["IoU"]) < 1 and 0 < float(hra["mIoU"]) <= 100 and not hra["missing"]
    sheet = Image.open(project.folder / SHEET)
    assert sheet.size == (698, 864)  # three columns; four rows with two scores below each image
    left = sorted(path.name for path in (project.folder / "results/control").rglob("*") if path.suffix == ".tar")
    assert left == ["images.tar"]
    assert not list((project.folder / "resources").rglob("*.png"))  # archives and hints are few files
