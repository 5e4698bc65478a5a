"""Subjects through the real rules and scripts: a class of two words, shards, table and sheet."""

import pytest
from PIL import Image

from support import table_rows
from tiny_demo import real_project, tiny_demo

TABLE, SHEET = "results/table_subject.csv", "results/sheets/subject_clown.png"
TINY = tiny_demo(
    "subject",
    {"clown": "jester-ball"},
    """
datasets: {subject: {clown: {class: rubber ball, source: {rows: {train: 3}}}}}
presets: {subject: {tiny: {all: {max_steps: 3, epoch_steps: 2, batch_size: 2, warmup_steps: 0}}}}
tasks:
  subject:
    grid: [{runs: [real/images, hra/r8], datasets: [clown], seeds: [0]}]
    prompts: {object: ["a {subject} on the left", "a {subject} on a blue background"]}
    class_images: {images: 4, inference_steps: 2}
    generation: {images: 2, batch_size: 2, inference_steps: 2}
    evaluation:
      evaluators: [{name: faithfulness, kind: "hra_workflow.demo.prompt_fidelity:PromptFidelity"}]
      best_by: [faithfulness]
    columns:
      - {name: Faithfulness, benchmark: prompts, metric: faithfulness}
      - {name: Blocked, benchmark: prompts, metric: blocked, better: lower}
    figures: {parameters: [Faithfulness], lambda: [Faithfulness]}
""",
)


@pytest.mark.slow
def test_from_photographs_to_table_and_sheet(fresh, tmp_path):
    project = real_project(fresh, tmp_path / "project", TINY)
    project.snakemake("--cores", "2", "--configfile", "tiny.yaml", "--", TABLE, SHEET)
    table = {(row["run"], row["selection"]): row for row in table_rows(project.folder / TABLE)}
    hra, real = table["hra/r8", "last"], table["real/images", "last"]
    assert 0 <= float(hra["Faithfulness"]) <= 1 and hra["Blocked"] == "0.000" and not hra["missing"]
    assert real["Faithfulness"] == real["Faithfulness_n"] == "" and real["Blocked"] == "0.000"
    assert (project.folder / "resources/class_images/rubber-ball.tar").stat().st_size > 1000
    assert Image.open(project.folder / SHEET).size == (528, 696)
    left = [path for path in (project.folder / "results/subject").rglob("*") if path.suffix in (".png", ".tar")]
    assert [path.name for path in left] == ["images.tar"]  # few files a run

    # Another number of shards repeats no finished run.
    project.change("tiny.yaml", "shards: 2", "shards: auto")
    assert project.plan(TABLE, SHEET, config="tiny.yaml").keys() <= {"runs", "compare", "table"}
