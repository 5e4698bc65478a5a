"""Tables and what they are made from: an edited, outdated or unsealed file is refused by name, whoever reads it."""

import shutil
import sys
from pathlib import Path

import pytest
from rich.console import Console

import collect_runs
import compare
import cost
import factories
import figures
import table
import table_compute
import tuning_figure
from glue_tables import grid
from hra_workflow import tasks
from hra_workflow.commands import print_table
from hra_workflow.core import files, records
from hra_workflow.core.errors import JobError
from hra_workflow.tasks import requested_run
from support import paper_config

TUNED = "dataset,method,variant,trial,seed,learning_rate,chosen,device_seconds\ncola,lora,r8,1,0,0.001,true,3\n"


def runs_of(folder: Path) -> list[dict]:
    return grid(folder, runs=("hra/r8", "lora/r8"))


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """Build the tables of six runs."""
    folder = tmp_path_factory.mktemp("built")
    expected = runs_of(folder)
    paths = [factories.write(folder, run, factories.noisy_curve(run)) for run in expected]
    collect_runs.main(factories.collect_job(folder, expected, paths))
    compare.main(factories.compare_job(folder, expected, []))
    table.main(factories.table_job(folder, expected))
    cost.main(factories.cost_job(folder, expected))
    return folder


@pytest.fixture
def results(built, tmp_path) -> Path:
    """Provide a copy of the folder, as by `rsync -a`."""
    shutil.copytree(built, tmp_path / "results")
    return tmp_path / "results"


def printed(folder: Path) -> str:
    console = Console(width=200, record=True)
    print_table.show(folder / "table_glue.csv", None, console)
    return console.export_text()


def plotted(folder: Path) -> None:
    figures.main(factories.figures_job(folder, runs_of(folder), []))


def tuned(folder: Path) -> None:
    tuning_figure.main({"input": {"trials": str(folder / "tune_glue.csv")}, "output": {}, "params": {"task": "glue"}})


def computed(folder: Path) -> None:
    output = {"csv": str(folder / "table_compute.csv"), "markdown": str(folder / "table_compute.md")}
    job = {"input": {"runs": str(folder / "runs_glue.csv")}, "output": output, "params": {"rows": []}}
    table_compute.main(job)


READERS = {
    "print_table": printed,
    "table": lambda folder: table.main(factories.table_job(folder, runs_of(folder))),
    "compare": lambda folder: compare.main(factories.compare_job(folder, runs_of(folder), [])),
    "cost": lambda folder: cost.main(factories.cost_job(folder, runs_of(folder))),
    "figures": plotted,
    "table_compute": computed,
    "tuning_figure": tuned,
    "tuning_hours": lambda folder: cost.tuning_hours(str(folder / "tune_glue.csv")),
}


@pytest.mark.parametrize(
    ("name", "old", "new", "readers"),
    [
        ("table_glue.csv", ",HRA,", ",Best,", "print_table"),
        ("compare_glue.csv", "column", "columns", "table"),
        ("one_class_glue.csv", "run", "runs", "table figures"),
        ("runs_glue.csv", ",0.", ",0.0009", "table compare cost figures table_compute"),
        ("cost_glue.csv", "CoLA", "MRPC", "figures"),
        ("tune_glue.csv", "0.001", "0.002", "tuning_figure tuning_hours"),
    ],
)
def test_an_edited_file_is_refused_by_all_who_read_it(results, name, old, new, readers):
    path = results / name
    if name == "tune_glue.csv":
        (results / name).write_text(TUNED)
    text = path.read_text()
    path.write_text(text.replace(old, new) if old in text else f"{text}\n")
    for reader in readers.split():
        with pytest.raises(JobError, match=rf"{name}: expected (the content that was written|its SHA-256)"):
            READERS[reader](results)


def test_a_copied_folder_is_read_and_one_of_an_earlier_version_is_refused(results):
    assert "HRA" in printed(results)
    shutil.rmtree(results / "glue")  # of the tables only
    assert "HRA" in printed(results)
    (results / ".table_glue.csv.sha256").unlink()
    with pytest.raises(JobError, match=r"an earlier version built it, .* Delete .*results/\*\.csv and run again"):
        printed(results)


def test_a_table_is_refused_if_what_it_was_made_from_has_changed(results):
    record, *_ = sorted(results.rglob("train.json"))
    before = record.read_bytes()
    content = files.read_json(record)
    records.write(record, content | {"seconds": content["seconds"] + 1})  # trained again, and no table was built
    for reader in ("print_table", "table"):
        with pytest.raises(JobError, match=r"runs_glue.csv: expected .*train.json as when this file was made from it"):
            READERS[reader](results)
    record.write_bytes(before)
    runs = runs_of(results)
    paths = [factories.write(results, run, factories.noisy_curve(run)) for run in runs]
    collect_runs.main(factories.collect_job(results, runs, paths[:-1], incomplete=True))
    with pytest.raises(JobError, match=r"table_glue.csv: expected .*runs_glue.csv as when this file was made from it"):
        printed(results)


def test_the_other_tables_are_shown_and_the_exit_status_says_that_one_was_not(results, monkeypatch, capsys):
    shutil.copytree(results, results / "edited")
    path = results / "edited/table_glue.csv"
    path.write_text(path.read_text().replace("HRA", "Best"))
    monkeypatch.setattr(sys, "argv", ["print_table.py", str(path), str(results / "table_glue.csv")])
    with pytest.raises(SystemExit, match=r"Not shown: .*edited/table_glue.csv: expected the content that was written"):
        print_table.main()
    assert "HRA" in capsys.readouterr().out


def test_the_best_run_is_not_taken_from_an_edited_table(results):
    path = results / "runs_glue.csv"
    path.write_text(path.read_text().replace(",lora,", ",hra,"))
    column = {"name": "CoLA", "dataset": "cola", "benchmark": "dev", "metric": "matthews_correlation"}
    config = paper_config()
    config["pathvars"]["results"] = str(results)
    config["tasks"]["glue"] |= {"columns": [column], "averages": []}
    with pytest.raises(JobError, match=r"runs_glue.csv: expected the content that was written"):
        requested_run.best(tasks.load(config)["glue"], "cola")
