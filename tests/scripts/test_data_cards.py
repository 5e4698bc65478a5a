"""Data cards: what is counted, what warns, what stops a dry run, and when a card is made again."""

import json
import zipfile
from pathlib import Path

import jsonschema
import numpy
import pytest
from PIL import Image

import download
import draw_hints
import rule_jobs
from control_jobs import draw
from hra_workflow import tasks
from hra_workflow.core import files
from hra_workflow.core.errors import JobError
from hra_workflow.cost.planned_jobs import Job
from hra_workflow.data import data_cards, image_card, images, leaks, sources, text_card, text_tables
from hra_workflow.preflight import site
from hra_workflow.tasks import user_data
from hra_workflow.tasks.math import answers
from support import ROOT, paper_config

SCHEMA = files.read_json(ROOT / "workflow/schemas/card.schema.json")
LABELS = {"columns": ["text"], "label": "label", "labels": ["bad", "good", "fine"]}
SPLITS = {"train": ["train.csv"], "dev": ["dev.csv"]}
TRAIN = ["a film,good", '"two\nlines",bad', "A  Film,good", "a film,bad", "odd,bad"]
DEV = ["a film,good", "ODD ,bad", "two lines,good", "new,good"]
LEAK = (
    "3 of 4 rows of dev also occur in train (1 exactly, the others but for whitespace and case), so its scores do not "
    "show how a model does on new data; the first: dev.csv, line 2, and train.csv, line 2"
)


def save(folder: Path, name: str, rows: list[str], header: str = "text,label") -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("\n".join([header, *rows]) + "\n")


def of_texts(folder: Path, entry: dict, gold=None) -> dict:
    return text_card.make_card(text_tables.read_splits("mine", entry, folder, gold), entry)


def test_the_card_of_texts_counts_classes_and_leaks(tmp_path):
    save(tmp_path, "train.csv", TRAIN)
    save(tmp_path, "dev.csv", DEV)
    card = of_texts(tmp_path, LABELS | {"splits": SPLITS})
    train = {"rows": 5, "classes": {"bad": 3, "good": 2, "fine": 0}}
    dev = {"rows": 4, "classes": {"bad": 1, "good": 3, "fine": 0}, "in_train": 3, "in_train_exactly": 1}
    assert card["splits"]["dev"].pop("in_train_items") == [0, 1, 2]
    assert card["splits"]["dev"].pop("in_train_rows")[1] == ["dev.csv, line 3", "train.csv, line 7"]
    assert card["splits"] == {"train": train | {"characters": 6}, "dev": dev | {"characters": 6}}
    assert card["warnings"] == ["train has no row with the label 'fine'", "dev has no row with the label 'fine'", LEAK]
    assert data_cards.summary(card).startswith("train 5 rows (3 classes: bad 3, good 2, fine 0), dev 4 rows (3 classes")
    card["splits"]["train"]["classes"] = {str(label): label for label in range(3, 80)}
    assert data_cards.described("train", card["splits"]["train"]) == "train 5 rows (77 classes of 3 to 79)"


def test_the_card_of_questions_compares_them_without_their_solutions(tmp_path):
    def write(name: str, *rows: tuple[str, str]) -> None:
        lines = [json.dumps({"question": question, "answer": answer}) for question, answer in rows]
        (tmp_path / name).write_text("\n".join(lines) + "\n")

    write("train.jsonl", ("1 + 1?", "The answer is: 2"), ("2 + 2?", "Four. The answer is: 4"))
    write("test.jsonl", ("1 + 1?", "Two. The answer is: 2"), ("2 +  2?", "The answer is: 5"))
    entry = {"answer": "metamath", "columns": {"question": "question", "answer": "answer"}}
    entry["splits"] = {"train": ["train.jsonl"], "test": ["test.jsonl"]}
    card = of_texts(tmp_path, entry, answers.gold)
    assert (card["splits"]["test"].pop("characters"), len(card["splits"]["test"].pop("in_train_rows"))) == (25, 2)
    assert card["splits"]["test"] == {"rows": 2, "in_train": 2, "in_train_exactly": 1, "in_train_items": [0, 1]}


def test_a_benchmark_of_another_dataset_is_compared_with_the_training_set(here, tmp_path):
    """In the user's files by the dry run, then in the downloads."""
    rows = {
        "a": [("1 + 1?", "The answer is: 2"), ("2 + 2?", "The answer is: 4")],
        "b": [("2 +  2?", "4. The answer is: 4"), ("0?", "The answer is: 0")],
    }
    config = paper_config()
    for name, lines in rows.items():
        texts = [json.dumps({"question": question, "answer": answer}) for question, answer in lines]
        (tmp_path / name).mkdir()
        (tmp_path / name / "rows.jsonl").write_text("\n".join(texts))
        config["datasets"]["math"][name] = {
            "source": {"kind": "local", "path": str(tmp_path / name)},
            "splits": {"train" if name == "a" else "test": ["rows.jsonl"]},
            "columns": {"question": "question", "answer": "answer"},
            "answer": "metamath",
        }
    config["datasets"]["math"]["a"] |= {"benchmarks": {"gsm8k": "b/test"}, "metrics": ["strict"], "score": "strict"}
    config["tasks"]["math"]["grid"] = [{"runs": ["hra/r32"], "datasets": ["a"], "seeds": [0]}]
    math = tasks.load(config)["math"]
    assert [data_cards.name_of(manifest) for manifest in user_data.manifests(math)] == ["a", "b"]
    user_data.check(math, "a")
    (warning,) = leaks.warnings(user_data.benchmarks(math))
    assert warning.startswith("a: 1 of 2 rows of b/test also occur in a/train (0 exactly, the others but for")
    assert warning.endswith("the first: rows.jsonl, line 1, and rows.jsonl, line 2")
    for name in rows:
        fetch(user_data.manifest(math, name), config["datasets"]["math"][name]["source"], math.download(name))
    assert leaks.warnings(user_data.benchmarks(math))[0].endswith("the first: b, row of test 1, and a, row of train 2")


def fetch(manifest: str | Path, source: dict, dataset: dict) -> None:
    download.main(rule_jobs.download("dataset", manifest, source, dataset=dataset))


@pytest.fixture
def mine(here, tmp_path):
    """Provide task glue with a dataset `mine` in the user's files."""
    save(tmp_path / "own", "train.csv", TRAIN)
    save(tmp_path / "own", "dev.csv", DEV)
    config = paper_config()
    benchmark = {"benchmarks": {"dev": "dev"}, "metrics": ["accuracy"], "score": "accuracy"}
    entry = {"source": {"kind": "local", "path": str(tmp_path / "own")}, "splits": SPLITS} | LABELS | benchmark
    config["datasets"]["glue"]["mine"] = entry
    config["tasks"]["glue"]["grid"] = [{"runs": ["hra/r8"], "datasets": ["mine"], "seeds": [0]}]
    return tasks.load(config)["glue"]


def test_a_card_is_made_again_if_a_file_or_the_entry_changes(mine, tmp_path, monkeypatch):
    path = data_cards.path_of(mine.inputs("mine")["dataset"])
    made = []
    read = text_tables.read_splits
    monkeypatch.setattr(text_tables, "read_splits", lambda *given: made.append(1) or read(*given))

    def times() -> int:
        user_data.check(mine, "mine")
        jsonschema.validate(files.read_json(path), SCHEMA)
        return len(made)

    assert [times(), times()] == [1, 1]
    (tmp_path / "own/train.csv").touch()
    assert [times(), times()] == [1, 1]
    save(tmp_path / "own", "dev.csv", ["new,good"])
    assert times() == 2 and data_cards.contents(user_data.manifests(mine))[0].endswith(" good 1, fine 0)")
    mine.datasets["mine"]["take"] = {"train": 3}
    assert times() == 3 and data_cards.contents(user_data.manifests(mine))[0].startswith("mine: train 3 rows")
    path.write_text("{")
    assert times() == 4


def test_a_bad_row_stops_a_dry_run_and_is_a_finding_of_preflight(mine, tmp_path):
    save(tmp_path / "own", "train.csv", [*TRAIN, "new,goood"])
    message = (
        "glue/mine, train: train.csv, line 8, column label: expected one of bad, good, fine, found 'goood' (is it "
        "'good'?); 1 of 6 labels are invalid. Correct the file, or `label`, `labels` or `read`. "
        f"The files are in {tmp_path}/own."
    )
    with pytest.raises(JobError) as problem:
        user_data.check(mine, "mine")
    assert str(problem.value) == message
    (found,) = site.sources(mine.config, [Job("download_dataset", {"task": "glue", "dataset": "mine"}, [], "log")])
    assert not found.ok and found.text == message


def picture(seed: int = 0, side: int = 32) -> Image.Image:
    return Image.fromarray(numpy.random.default_rng(seed).integers(0, 256, (side, side, 3), numpy.uint8))


def of_12_bits() -> Image.Image:
    return Image.fromarray(numpy.asarray(picture())[..., 0].astype(numpy.uint16) * 16)


def photographs(folder: Path) -> dict:
    paths = sources.of({"kind": "local", "path": str(folder)}).user_files({"resolution": 32})
    return image_card.make_card(paths, 32, folder)


def test_the_card_of_photographs(tmp_path):
    for name in ("a.png", "b.png"):
        picture().save(tmp_path / name)
    of_12_bits().save(tmp_path / "deep.png")
    (tmp_path / "IMG_1.HEIC").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("no image")
    card = photographs(tmp_path)
    assert card["splits"] == {"images": {"rows": 3, "pixels": [32, 32]}}
    skipped, same, dark = card["warnings"]
    assert skipped.startswith("1 file skipped because of the ending: IMG_1.HEIC. Convert to JPEG or PNG (used: .bmp ")
    assert same == "b.png is the same image as a.png"
    assert dark.startswith("deep.png is nearly black: its brightest value is 16 of 255, as of 12 bits stored in 16.")
    assert data_cards.summary(card) == "3 images of 32 pixels per side"
    (tmp_path / "b.png").unlink()
    Image.new("RGB", (32, 32), "red").save(tmp_path / "deep.png")
    _, few, plain = photographs(tmp_path)["warnings"]
    assert few.startswith("expected at least 3 images, found 2") and plain == "deep.png has a single colour"


class Scenes:
    """A control dataset in the user's files."""

    def __init__(self, folder: Path, hint: str = "canny", resolution: int = 32):
        self.folder = folder
        config = paper_config()
        splits = {
            split: {"prompts": f"{split}.jsonl", "image": f"rooms.zip:{split}/{{key}}.png"}
            for split in ("train", "validation")
        }
        source = {"kind": "local", "path": str(folder)}
        config["datasets"]["control"]["rooms"] = {"source": source, "hint": hint, "splits": splits, "evaluators": []}
        config["tasks"]["control"]["resolution"] = resolution
        self.task = tasks.load(config)["control"]
        self.entry = self.task.datasets["rooms"]
        folder.mkdir()

    def save(self, train: list[Image.Image], validation: list[Image.Image]) -> None:
        with zipfile.ZipFile(self.folder / "rooms.zip", "w") as archive:
            for split, pictures in (("train", train), ("validation", validation)):
                for number, one in enumerate(pictures):
                    archive.writestr(f"{split}/{number}.png", images.to_png(one))
                lines = [json.dumps({"image": f"{number}.png", "prompt": "a room"}) for number in range(len(pictures))]
                (self.folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")


def test_the_card_of_control_images(here, tmp_path):
    scenes = Scenes(tmp_path / "rooms")
    scenes.save([picture(0), picture(1), picture(0), picture(2, side=16)], [picture(1), picture(3)])
    user_data.check(scenes.task, "rooms")
    path = tmp_path / "resources/hints/rooms.card.json"
    card = files.read_json(path)
    jsonschema.validate(card, SCHEMA)
    validation = {"rows": 2, "in_train": 1, "in_train_items": [0]}
    assert card["splits"] == {"train": {"rows": 4, "repeated": 1}, "validation": validation}
    repeated, small, leak = card["warnings"]
    assert repeated == "1 of 4 rows of train have the image of an earlier row"
    assert small.startswith(
        "1 of 4 opened images of train have fewer than 32 × 32 pixels and are enlarged, the first: '3'"
    )
    assert leak.startswith("the images of 1 of 2 rows of validation also occur in train, so its scores")
    (scenes.folder / "validation.jsonl").write_text('{"image": "9.png", "prompt": "a room"}\n')
    with pytest.raises(JobError, match=r"^control/rooms: split validation, image '9': rooms\.zip: expected vali.*/9"):
        user_data.check(scenes.task, "rooms")


def test_control_images_of_one_colour(here, tmp_path):
    """A warning of the job that computes them, which a later dry run keeps; if all are the same, an error."""
    scenes, plain = Scenes(tmp_path / "rooms"), Image.new("RGB", (32, 32), "red")
    scenes.save([picture(0), plain], [picture(1)])
    archives, hints = (tmp_path / f"resources/{name}/rooms.manifest.json" for name in ("datasets/control", "hints"))
    fetch(archives, scenes.entry["source"], {"archives": True})
    user_data.check(scenes.task, "rooms")
    draw_hints.main(draw(str(archives), hints, scenes.task.hints("rooms")))
    user_data.check(scenes.task, "rooms")
    assert data_cards.warnings([str(hints)]) == [
        "rooms: 1 of 2 control images of train, the first '1': each has a single colour"
    ]
    scenes.save([plain, plain], [picture(1)])
    fetch(archives, scenes.entry["source"], {"archives": True})
    with pytest.raises(JobError, match=r"train: expected control images that differ, found the same one 2 times"):
        draw_hints.main(draw(str(archives), hints, scenes.task.hints("rooms")))
