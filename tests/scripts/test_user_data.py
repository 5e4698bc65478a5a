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
from hra_workflow.tasks import user_data
from support import paper_config
from table import main as make_table

LABELS = {"columns": ["text"], "label": "label", "labels": ["bad", "good", "fine"]}
SPLITS = {"train": ["train.csv"], "dev": ["dev.csv"]}
TRAIN = ["a film,good", '"two\nlines",bad', "A  Film,good", "a film,bad", "odd,bad"]


def save(folder: Path, name: str, rows: list[str], header: str = "text,label") -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("\n".join([header, *rows]) + "\n")


def fetch(manifest: str | Path, source: dict, dataset: dict) -> None:
    download.main(rule_jobs.download("dataset", manifest, source, dataset=dataset))


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


# Images


def picture(seed: int = 0, side: int = 32) -> Image.Image:
    return Image.fromarray(numpy.random.default_rng(seed).integers(0, 256, (side, side, 3), numpy.uint8))


class Scenes:
    """A control dataset in the user's files."""

    def __init__(self, folder: Path):
        self.folder = folder
        config = paper_config()
        splits = {
            split: {"prompts": f"{split}.jsonl", "image": f"rooms.zip:{split}/{{key}}.png"}
            for split in ("train", "validation")
        }
        source = {"kind": "local", "path": str(folder)}
        config["datasets"]["control"]["rooms"] = {"source": source, "hint": "canny", "splits": splits, "evaluators": []}
        config["tasks"]["control"]["resolution"] = 32
        self.task = tasks.load(config)["control"]
        self.entry = self.task.datasets["rooms"]
        folder.mkdir()

    def save(self, train: list[bytes], validation: list[bytes]) -> None:
        with zipfile.ZipFile(self.folder / "rooms.zip", "w") as archive:
            for split, pictures in (("train", train), ("validation", validation)):
                for number, one in enumerate(pictures):
                    archive.writestr(f"{split}/{number}.png", one)
                lines = [json.dumps({"image": f"{number}.png", "prompt": "a room"}) for number in range(len(pictures))]
                (self.folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")


@pytest.fixture
def scenes(here, tmp_path) -> Scenes:
    made = Scenes(tmp_path / "rooms")
    made.save([images.to_png(picture(seed)) for seed in range(3)], [images.to_png(picture(3))])
    return made


def test_the_plan_counts_the_rows_of_control_images(scenes):
    user_data.check(scenes.task, "rooms")
    assert user_data.contents(scenes.task) == ["rooms: train 3 rows, validation 1 row"]


def test_a_missing_image_stops_a_dry_run(scenes):
    (scenes.folder / "validation.jsonl").write_text('{"image": "9.png", "prompt": "a room"}\n')
    with pytest.raises(JobError, match=r"^control/rooms: split validation, image '9': rooms\.zip: expected vali.*/9"):
        user_data.check(scenes.task, "rooms")


def test_a_damaged_image_is_an_error_of_the_job_that_computes_control_images(scenes, tmp_path):
    scenes.save([images.to_png(picture(0)), b"no image"], [images.to_png(picture(1))])
    archives, hints = (tmp_path / f"resources/{name}/rooms.manifest.json" for name in ("datasets/control", "hints"))
    fetch(archives, scenes.entry["source"], {"archives": True})
    with pytest.raises(JobError, match=r"split train, image '1': .*/1\.png: cannot be decoded as an image"):
        draw_hints.main(draw(str(archives), hints, scenes.task.hints("rooms")))


# A benchmark that is the split on which models are trained


def on(folder: Path, split: str) -> dict:
    """Return a benchmark that is a split of the training set."""
    return {"dataset": "sst2", "benchmark": "dev", "split": split} | dict.fromkeys(
        ("train", "reported"), str(folder / "sst2.manifest.json")
    )


def test_the_notes_of_a_table_begin_with_a_benchmark_that_is_the_training_split(tmp_path):
    expected = grid(tmp_path, datasets=("sst2",))
    paths = [factories.write(tmp_path, run, [0.1, 0.75]) for run in expected]
    collect_runs.main(factories.collect_job(tmp_path, expected, paths))
    job = factories.table_job(tmp_path, expected)
    job["params"]["benchmarks"] = [on(tmp_path, "train")]
    make_table(job)
    first = (tmp_path / "table_glue.md").read_text().partition("## Notes\n\n")[2].splitlines()[0]
    assert first.startswith("- **The training rows** are the benchmark of SST-2, All (acc), ")
