"""A task's data before the first job: errors in the user's files, what the plan counts, and benchmarks of training."""

import json
import zipfile
from pathlib import Path

import numpy
import pytest
from PIL import Image

import collect_runs
import download
import draw_hints
import factories
import rule_jobs
from control_jobs import draw
from glue_tables import grid
from hra_workflow import tasks
from hra_workflow.core.errors import JobError
from hra_workflow.data import images
from hra_workflow.report import selections
from hra_workflow.tasks import user_data
from support import paper_config
from table import main as make_table

LABELS = {"columns": ["text"], "label": "label", "labels": ["bad", "good", "fine"]}
SPLITS = {"train": ["train.csv"], "dev": ["dev.csv"]}
TRAIN = ["a film,good", '"two\nlines",bad', "A  Film,good", "a film,bad", "odd,bad"]


def save(folder: Path, name: str, rows: list[str], header: str = "text,label") -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("\n".join([header, *rows]) + "\n")


@pytest.fixture
def mine(here, tmp_path):
    """Provide task glue with a dataset `mine` in the user's files."""
    save(tmp_path / "own", "train.csv", TRAIN)
    save(tmp_path / "own", "dev.csv", ["new,good"])
    config = paper_config()
    benchmark = {"benchmarks": {"dev": "dev"}, "metrics": ["accuracy"], "score": "accuracy"}
    entry = {"source": {"kind": "local", "path": str(tmp_path / "own")}, "splits": SPLITS} | LABELS | benchmark
    config["datasets"]["glue"]["mine"] = entry
    config["tasks"]["glue"]["grid"] = [{"runs": ["hra/r8"], "datasets": ["mine"], "seeds": [0]}]
    return tasks.load(config)["glue"]


def test_the_plan_counts_the_rows_of_every_class(mine):
    user_data.check(mine, "mine")
    assert user_data.contents(mine) == [
        "mine: train 5 rows (3 classes: bad 3, good 2, fine 0), dev 1 row (3 classes: bad 0, good 1, fine 0)"
    ]


def test_a_bad_row_stops_a_dry_run(mine, tmp_path):
    save(tmp_path / "own", "train.csv", [*TRAIN, "new,goood"])
    message = (
        "glue/mine, train: train.csv, line 8, column label: expected one of bad, good, fine, found 'goood' (is it "
        "'good'?); 1 of 6 labels are invalid. Correct the file, or `label`, `labels` or `read`. "
        f"The files are in {tmp_path}/own."
    )
    with pytest.raises(JobError) as problem:
        user_data.check(mine, "mine")
    assert str(problem.value) == message


def test_images_of_the_user_are_counted_and_a_missing_or_damaged_one_is_named(here, tmp_path):
    """The plan finds a missing image; the job that computes control images finds a damaged one."""
    config, folder = paper_config(), tmp_path / "rooms"
    folder.mkdir()
    config["tasks"]["control"]["resolution"] = 32
    source = {"kind": "local", "path": str(folder)}
    splits = {
        name: {"prompts": f"{name}.jsonl", "image": f"rooms.zip:{name}/{{key}}.png"} for name in ("train", "validation")
    }
    config["datasets"]["control"]["rooms"] = {"source": source, "hint": "canny", "splits": splits, "evaluators": []}
    task = tasks.load(config)["control"]
    noise = numpy.random.default_rng(0).integers(0, 256, (32, 32, 3), numpy.uint8)
    with zipfile.ZipFile(folder / "rooms.zip", "w") as archive:
        for name in ("train/0.png", "train/1.png", "validation/0.png"):
            archive.writestr(name, b"no image" if "1" in name else images.to_png(Image.fromarray(noise)))

    def prompts(split: str, *keys: int) -> None:
        lines = [json.dumps({"image": f"{key}.png", "prompt": "a room"}) for key in keys]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")

    prompts("train", 0, 1)
    prompts("validation", 9)
    with pytest.raises(JobError, match=r"^control/rooms: split validation, image '9': rooms\.zip: expected vali.*/9"):
        user_data.check(task, "rooms")
    prompts("validation", 0)
    user_data.check(task, "rooms")
    assert user_data.contents(task) == ["rooms: train 2 rows, validation 1 row"]
    archives, hints = (tmp_path / f"resources/{name}/rooms.manifest.json" for name in ("datasets/control", "hints"))
    download.main(rule_jobs.download("dataset", archives, source, dataset={"archives": True}))
    with pytest.raises(JobError, match=r"split train, image '1': .*/1\.png: cannot be decoded as an image"):
        draw_hints.main(draw(str(archives), hints, task.hints("rooms")))


def test_the_notes_of_a_table_begin_with_a_benchmark_that_is_the_training_split(tmp_path):
    expected = grid(tmp_path, datasets=("sst2",))
    paths = [factories.write(tmp_path, run, [0.1, 0.75]) for run in expected]
    collect_runs.main(factories.collect_job(tmp_path, expected, paths))
    job = factories.table_job(tmp_path, expected)
    manifest = str(tmp_path / "sst2.manifest.json")
    own = {"dataset": "sst2", "benchmark": "dev", "split": "train", "train": manifest, "reported": manifest}
    warned = [selections.training_split_warnings([own | {"split": split}]) for split in ("dev", "train")]
    assert warned[0] == [] and "sst2: the benchmark dev is the split on which models are trained" in warned[1][0]
    job["params"]["benchmarks"] = [own]
    make_table(job)
    first = (tmp_path / "table_glue.md").read_text().partition("## Notes\n\n")[2].splitlines()[0]
    assert first.startswith("- **The training rows** are the benchmark of SST-2, All (acc), ")
