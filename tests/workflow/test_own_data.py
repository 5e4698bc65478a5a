"""The user's own files are inputs: a dry run after an edit plans their download and what depends on it, nothing else.

The downloads are real; everything after them only touches its outputs.
"""

import shutil
import zipfile
from pathlib import Path

import pytest

from hra_workflow.core import files
from project import Project, png
from support import ROOT

pytestmark = pytest.mark.slow

CONFIG = """
local_root: own
models:
  mine: {source: {kind: local, path: model}, head: [], targets: {paper: [q]}}
datasets:
  glue:
    texts:
      source: {kind: local, path: texts}
      splits: {train: [train.csv], dev: [dev.csv]}
      columns: [text]
      label: label
      labels: [bad, good]
      benchmarks: {dev: dev}
      metrics: [accuracy]
      score: accuracy
  math:
    sums:
      source: {kind: local, path: sums}
      splits: {train: [train.jsonl]}
      columns: {question: question, answer: answer}
      answer: metamath
      benchmarks: {gsm8k: sums/train}
      metrics: [strict]
      score: strict
  subject:
    mug: {source: {kind: local, path: mug}, class: mug, prompts: object}
  control:
    rooms:
      source: {kind: local, path: rooms}
      hint: canny
      splits:
        train: {prompts: [{image: 1.png, prompt: a room}], image: "rooms.zip:{key}.png"}
        validation: {prompts: [{image: 1.png, prompt: a room}], image: "rooms.zip:{key}.png"}
      evaluators: [canny]
presets:
  glue: {mine: {source: mine, all: {epochs: 1, learning_rate: 1.0e-3, warmup_steps: 0, max_length: 8, eval_steps: 1}}}
tasks:
  glue: {model: mine, preset: mine, grid: [{runs: [hra/r8], datasets: [texts], seeds: [0]}]}
  math: {model: mine, grid: [{runs: [hra/r32], datasets: [sums], seeds: [0]}]}
  subject: {model: mine, resolution: 16, grid: [{runs: [hra/r8], datasets: [mug], seeds: [0]}]}
  control: {model: mine, grid: [{runs: [hra/r8], datasets: [rooms], seeds: [0]}]}
"""
RUNS = {"glue": "texts/hra/r8", "math": "sums/hra/r32", "subject": "mug/hra/r8", "control": "rooms/hra/r8"}
RECORDS = [f"results/{task}/{run}/seed0/train.json" for task, run in RUNS.items()]
SUM = '{"question": "1 + 1", "answer": "The answer is: 2"}\n'


def add_to(archive: Path, name: str) -> None:
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr(name, png("red"))


@pytest.fixture(scope="module")
def trained(fresh, tmp_path_factory):
    project = fresh.copy(tmp_path_factory.mktemp("own") / "project")
    project.stand_in()
    shutil.copy(ROOT / "workflow/scripts/download.py", project.folder / "workflow/scripts")
    (project.folder / "mine.yaml").write_text(CONFIG)
    own = project.folder / "own"
    for name, content in {
        "model/config.json": b"{}",
        "texts/train.csv": b"text,label\na,good\n",
        "texts/dev.csv": b"text,label\na,good\n",
        "sums/train.jsonl": SUM.encode(),
        "mug/1.png": png("red"),
        "rooms/notes.txt": b"",
    }.items():
        (own / name).parent.mkdir(parents=True, exist_ok=True)
        (own / name).write_bytes(content)
    add_to(own / "rooms/rooms.zip", "1.png")
    project.snakemake("--cores", "2", "--configfile", "mine.yaml", "-q", "all", "--", *RECORDS)
    return project


def plan(project: Project, *options: str) -> dict[str, set[str]]:
    return project.plan(*RECORDS, config="mine.yaml", extra=options)


def test_an_edit_plans_its_download_and_what_depends_on_it(trained, tmp_path):
    project = trained.copy(tmp_path / "project")
    own = project.folder / "own"
    for path in own.rglob("*.*"):
        path.touch()
    assert plan(project) == {}
    (own / "texts/train.csv").write_text("text,label\na,good\nb,bad\n")
    (own / "sums/train.jsonl").write_text(SUM * 2)
    (own / "mug/2.png").write_bytes(png("blue"))
    planned = plan(project)
    assert planned.keys() == {"download_dataset", "train_glue", "train_math", "train_subject"}
    assert {job.split()[0] for job in planned["download_dataset"]} == {"task=glue", "task=math", "task=subject"}
    add_to(own / "rooms/rooms.zip", "2.png")
    assert plan(project).keys() == planned.keys() | {"hints", "train_control"}
    project.snakemake("--cores", "2", "--configfile", "mine.yaml", "-q", "all", "--", *RECORDS)
    assert plan(project) == {}
    manifests = project.folder / "resources/datasets"
    assert files.read_json(manifests / "glue/texts.manifest.json")["rows"] == {"train": 2, "dev": 1}
    assert files.read_json(manifests / "math/sums.manifest.json")["rows"] == {"train": 2}
    assert (manifests / "subject/mug/2.png").read_bytes() == png("blue")
    (own / "model/config.json").write_text("{ }")
    planned = plan(project)
    assert planned["download_model"] == {"model=mine"}
    assert not planned.keys() & {"download_dataset", "hints"} and {f"train_{task}" for task in RUNS} <= planned.keys()


def test_the_same_files_in_another_folder_plan_nothing_and_stay_readable(trained, tmp_path):
    project = trained.copy(tmp_path / "project")
    (project.folder / "own").rename(tmp_path / "elsewhere")
    refused = project.snakemake("-n", "--configfile", "mine.yaml", "--", *RECORDS, ok=False)
    assert f"expected a folder at {project.folder}/own/model, found none" in " ".join(refused.split())
    moved = ("--config", f"local_root={tmp_path / 'elsewhere'}")
    assert plan(project, *moved) == {}
