"""Requests of `hra-workflow export` and `predict`: a run, its weights and new inputs, or a clear error."""

import re
from pathlib import Path

import pytest

from hra_workflow import tasks
from hra_workflow.core import files, records
from hra_workflow.core.errors import JobError
from hra_workflow.tasks import requested_run
from support import paper_config

HEADER = "dataset,method,variant,seed,benchmark,selection,step,metric,value,status"
COLUMN = {"name": "Mine", "dataset": "cola", "benchmark": "validation", "metric": "accuracy"}


def touch(name: str | Path) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).touch()


def finish(folder: Path) -> None:
    for name in ("train.json", "last/adapter_model.safetensors", "best/adapter_model.safetensors"):
        touch(folder / name)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Provide a project with three finished runs of GLUE; project(**request) settles a request."""
    monkeypatch.chdir(tmp_path)
    config = paper_config()
    config["tasks"]["glue"] |= {"columns": [COLUMN], "averages": []}
    config["tasks"]["glue"]["grid"] = [{"runs": ["hra/r8", "lora/r8"], "datasets": ["cola"], "seeds": [0, 1]}]
    values = {("hra/r8", 0): 0.8, ("hra/r8", 1): 0.9, ("lora/r8", 0): 0.86}  # HRA has the best single run
    lines = [HEADER]
    for (run, seed), value in values.items():
        folder = Path(f"results/glue/cola/{run}/seed{seed}")
        finish(folder)
        for selection, offset in (("best_on_dev", 0), ("last", -0.5)):
            method = run.replace("/", ",")
            lines.append(f"cola,{method},{seed},validation,{selection},3,accuracy,{value + offset},ok")
    lines.append("cola,full,all,0,validation,best_on_dev,3,accuracy,0.99,outdated")
    files.write_text("results/runs_glue.csv", "\n".join(lines) + "\n")
    for path in ("train.json", "last/adapter_model.safetensors", "steps/800/adapter_model.safetensors"):
        touch(f"results/subject/dog/hra/r8/seed0/{path}")
    for path in ("new texts.csv", "prompts.txt", "results/subject/dog/real/images/seed0/train.json"):
        touch(path)

    def settle(chosen=("glue", "subject"), **request):
        return requested_run.parse_request(config | {"request": request}, tasks.load(config), list(chosen))

    settle.config = config
    return settle


def test_the_best_run_is_the_best_row_s_best_seed(project):
    found = project(command="predict", texts="new texts.csv")
    assert (found.run, found.weights) == ("results/glue/cola/lora/r8/seed0", "best")  # 0.86 > (0.8 + 0.9) / 2
    place = r"results/glue/cola/lora/r8/seed0/predictions/best/new-texts-\w{8}/predictions\.csv"
    assert re.fullmatch(place, found.predictions)
    assert "lora/r8 has the best mean of accuracy on cola, validation (0.86, n = 1, best_on_dev)" in found.note
    project.config["tasks"]["glue"]["columns"] = [COLUMN | {"better": "lower"}]
    found = project(["glue"], command="export", weights="last")
    assert found.card == "results/glue/cola/hra/r8/seed0/hub/last/README.md" and "seed 0 its best" in found.note


def test_predictions_replace_only_those_of_the_same_inputs(project):
    for name in ("in/ok.csv", "in2/ok.csv", "in/ok.txt"):
        touch(name)
    run = "results/subject/dog/hra/r8/seed0"

    def place(given, seed=None):
        return requested_run.Request(run, "last", given, seed).predictions

    asked = [{"texts": name} for name in ("in/ok.csv", "in2/ok.csv", "in/ok.txt")]
    asked += [
        {kind: "images", "prompts": name} for kind in ("images", "controls") for name in ("in/ok.csv", "in2/ok.csv")
    ]
    places = [*map(place, asked), place({"prompts": "in/ok.csv"}, 1), place({"prompts": "in/ok.csv"}, 2)]
    assert len(set(places)) == len(asked) + 2 and len(place({"texts": f"{'x' * 250}.csv"}).split("/")[-2]) < 100
    again = {"texts": str(Path("in2/../in/ok.csv").absolute())}
    assert place(again) == places[0] and project(command="predict", run=run, prompts="in/ok.csv", seed="1").seed == 1
    assert project(command="predict", run=run, prompts="in/ok.csv").predictions == place({"prompts": "in/ok.csv"})


def test_a_run_is_named_by_its_folder(project, tmp_path):
    for name in ("results/glue/cola/hra/r8/seed1/", f"{tmp_path}/results/glue/cola/hra/r8/seed1/train.json"):
        found = project(command="predict", run=name, texts="new texts.csv", seed="3")
        assert (found.run, found.weights, found.seed) == ("results/glue/cola/hra/r8/seed1", "last", 3)
    subject = project(command="predict", run="results/subject/dog/hra/r8/seed0", prompts="prompts.txt", weights="800")
    assert requested_run.weights_file(subject.run, subject.weights).endswith("steps/800/adapter_model.safetensors")
    assert requested_run.parse_request(project.config, tasks.load(project.config), []) is None


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"run": "results/glue/cola/hra/r8/seed7"}, "none there. Finished runs: results/glue/cola/hra/r8/seed0, "),
        ({"run": "best"}, "For those of another project, name it."),
        ({"run": "results/subject/dog/real/images/seed0"}, "found one that evaluates the real images"),
        ({"weights": "3"}, "expected weights '3', found best, last."),
        ({"prompts": "prompts.txt"}, "predict from, found --texts new texts.csv --prompts prompts.txt."),
        ({"texts": None}, "expected --texts texts.csv to predict from, found nothing."),
        ({"command": "export", "run": None}, "expected a config with one task, found glue, subject. Name a run by"),
    ],
)
def test_what_does_not_exist_is_an_error_that_says_what_does(project, request_, message):
    fine = {"command": "predict", "run": "results/glue/cola/hra/r8/seed0", "texts": "new texts.csv"}
    with pytest.raises(JobError, match=message if ".*" in message else re.escape(message)):
        project(**{name: value for name, value in (fine | request_).items() if value})


def test_a_trial_and_a_table_that_is_not_made_have_no_best_run(project):
    trial = Path("results/glue/cola/hra/r8@lr-0.1/seed1000/train.json")
    touch(trial)
    with pytest.raises(JobError, match="not of a trial, found none there"):
        project(command="export", run=str(trial.parent))
    Path("results/runs_glue.csv").unlink()
    with pytest.raises(JobError, match=r"Make the table first \(hra-workflow run\)"):
        project(["glue"], command="export")


def test_weights_that_are_no_adapter_are_refused_before_a_job(project):
    finish(Path("results/glue/cola/full/all/seed0"))
    table = Path("results/runs_glue.csv").read_text().replace(",outdated", ",ok")
    files.write_text("results/runs_glue.csv", table)
    for run in ({}, {"run": "results/glue/cola/full/all/seed0"}):
        with pytest.raises(JobError, match=r"full/all: expected an adapter of PEFT .* Name a run with an adapter"):
            project(["glue"], command="export", **run)
        assert project(command="predict", texts="new texts.csv", **run).run.endswith("full/all/seed0")


def test_a_tuned_run_needs_the_values_that_its_trials_chose(project):
    project.config["tasks"]["glue"]["tune"] = {"search": {"learning_rate": [1e-3, 2e-3]}, "trials": 2}
    with pytest.raises(JobError, match=r"found no results/tune/glue/cola/lora/r8\.json\. Make it again"):
        project(["glue"], command="export")
    records.write("results/tune/glue/cola/lora/r8.json", {"values": {"learning_rate": 1e-3}})
    assert project(["glue"], command="export").run == "results/glue/cola/lora/r8/seed0"
