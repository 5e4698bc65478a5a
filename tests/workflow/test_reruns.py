"""Incremental reruns, by dry run: a change plans only what depends on it. test_config_reruns.py tries every key."""

import json
import os
import re
import time

import pytest
import yaml
from snakemake.utils import update_config

import results_contract
from support import ROOT, paper_config

pytestmark = pytest.mark.slow  # the grid is finished once, in half a minute

EVALUATION, RETENTION = "evaluate_glue", "results/table_retention.csv"
TABLES = {"runs": {"task=glue"}, "compare": {"task=glue"}, "table": {"task=glue"}}


def runs(*, dataset="cola mnli", method="lora/r8 hra/r8", seed="0 1") -> set[str]:
    return {
        f"task=glue dataset={d} method={m.split('/')[0]} variant={m.split('/')[1]} seed={s}"
        for d in dataset.split()
        for m in method.split()
        for s in seed.split()
    }


def evaluations(planned: dict) -> set[str]:
    return {line.rsplit(" benchmark=", 1)[0] for line in planned.get(EVALUATION, set())}


def backwards(value):
    return {key: backwards(value[key]) for key in reversed(value)} if isinstance(value, dict) else value


def record_settings(project, rule: str) -> None:
    """Write what the results of a rule's jobs are made from, as the scripts do, with the times that they have."""
    project.snakemake("-n", "-q", "--configfile", "small.yaml", "--config", "plan_file=plan.json", "--", "glue")
    for job in json.loads((project.folder / "plan.json").read_text())["jobs"]:
        if job["rule"] == rule:
            path = project.folder / job["output"]["record"]
            settings = {name: job["params"][name] for name in job["params"]["expects"]["settings"]}
            record = {"status": "ok", "seconds": 1, "device": "CPU", "made_from": {"settings": settings}}
            when = path.stat().st_mtime_ns
            path.write_text(json.dumps(record))
            os.utime(path, ns=(when, when))


def test_what_is_added_plans_its_own_jobs(done):
    """Add a seed, a variant, a dataset and, after the first, a benchmark; no finished job runs again."""
    done.change("small.yaml", "[lora/r8, hra/r8]", "[lora/r8, hra/r8, hra/r16]")
    done.change("small.yaml", "mnli], seeds: [0, 1]", "mnli, rte], seeds: [0, 1, 2]")
    again = "\ndatasets: {glue: {mnli: {benchmarks: {again: validation_matched}}}}\ntasks:"
    done.change("small.yaml", "\ntasks:", again)
    names = {"cola": ["validation"], "mnli": ["matched", "mismatched", "again"], "rte": ["validation"]}
    every = {name: runs(dataset=name, method="lora/r8 hra/r8 hra/r16", seed="0 1 2") for name in names}
    evaluated = {
        f"{run} benchmark={benchmark}"
        for dataset, benchmarks in names.items()
        for benchmark in benchmarks
        for run in every[dataset] - (set() if benchmark == "again" else runs())
    }
    planned = done.plan()
    assert planned.keys() == {"download_dataset", "augment", "train_glue", EVALUATION, *TABLES}
    assert planned["download_dataset"] == {"task=glue dataset=rte"}
    assert planned["train_glue"] == set.union(*every.values()) - runs()
    assert planned[EVALUATION] == evaluated and len(planned["augment"]) == 5


def test_a_learning_rate_plans_its_dataset_and_preset_and_nothing_of_the_base_model(done):
    record_settings(done, "train_glue")
    done.change(
        "config/glue/presets.yaml",
        "cola: {epochs: 28, learning_rate: 8.0e-4",  # code-head, which the HRA variants use
        "cola: {epochs: 28, learning_rate: 7.0e-4",
    )
    done.change("config/math/presets.yaml", "epochs: 2", "epochs: 3")
    planned = done.plan("results/table_glue.csv", RETENTION)
    assert planned["train_glue"] == runs(dataset="cola", method="hra/r8") == evaluations(planned)
    assert planned.keys() == {"train_glue", EVALUATION, *TABLES}
    assert re.findall("  again:    (.*)", done.printed) == [
        "train_glue: 2 jobs, learning_rate 0.0008 → 0.0007",
        "evaluate_glue: 2 jobs, after train_glue",
        "runs: 1 job, after evaluate_glue, train_glue",
        "compare: 1 job, after evaluate_glue, runs",
        "table: 1 job, after compare, runs",
    ]


def test_another_order_of_the_config_plans_nothing_and_another_number_of_processes_the_training(done):
    """Restate all of the config, keys in reverse and a whole float as an integer, and move a key within its file."""
    config = paper_config()
    update_config(config, yaml.safe_load((done.folder / "small.yaml").read_text()))
    assert repr(config["tasks"]["glue"]["defaults"]["max_grad_norm"]) == "1.0"
    config["tasks"]["glue"]["defaults"]["max_grad_norm"] = 1
    config["tasks"]["glue"]["resources"] |= {"gpu": 1, "runs_per_gpu": 1}
    (done.folder / "restated.yaml").write_text(yaml.safe_dump(backwards(config), sort_keys=False))
    line = "      weight_decay: 0.01\n"
    done.change("config/glue/task.yaml", line, "")
    done.change("config/glue/task.yaml", "      precision: bf16\n", f"      precision: bf16\n{line}")
    for path in [*(done.folder / "workflow/scripts").rglob("*.py")]:
        path.write_text(path.read_text() + "\n# a comment\n")
    (done.folder / "hra").mkdir()
    for path in (ROOT / "hra").glob("*.py"):
        (done.folder / "hra" / path.name).write_text(path.read_text() + "\n# a comment\n")
    assert done.plan("results/table_glue.csv", RETENTION, extra=("restated.yaml",)) == {}
    assert re.search(r"^table_glue, table_retention: nothing to do, all \d+ jobs are done$", done.printed, re.MULTILINE)
    config["tasks"]["glue"]["resources"]["gpu"] = 2
    (done.folder / "restated.yaml").write_text(yaml.safe_dump(config))
    assert done.plan(extra=("restated.yaml",))["train_glue"] == runs()


def test_a_value_that_becomes_equal_to_another_param_is_a_change(done):
    """Snakemake compares the set of all values, without the names of the params."""
    done.change("config/math/task.yaml", "batch_size: 16\n      limit: null", "batch_size: 16\n      limit: 16")
    assert done.plan(RETENTION).keys() == {"evaluate_harness", "table_retention"}


def test_a_metric_plans_the_evaluations_of_its_dataset(done):
    done.change(
        "config/glue/datasets.yaml", "metrics: [matthews_correlation, accuracy]", "metrics: [matthews_correlation]"
    )
    planned = done.plan()
    assert planned == TABLES | {EVALUATION: {f"{run} benchmark=validation" for run in runs(dataset="cola")}}
    done.change("config/methods.yaml", "    kind: hra\n    version: 2", "    kind: hra\n    version: 3")
    planned = done.plan()  # the training evaluates the new metrics
    assert planned["train_glue"] == runs(method="hra/r8")
    assert planned["augment"] == {f"task=glue method=hra variant=r8 seed={seed}" for seed in (0, 1)}


def test_a_deleted_result_plans_its_own_job_and_the_table_every_time(done):
    tables, results = ("results/table_glue.csv", RETENTION), done.folder / "results"
    (results / "compare_glue.csv").unlink()  # made again with the next table
    assert done.plan(*tables) == {}
    (results / "table_glue.csv").unlink()
    assert done.plan(*tables).keys() == TABLES.keys() - {"runs"}
    trained, evaluated = (f"task=glue dataset={name} method=hra variant=r8 seed=1" for name in ("cola", "mnli"))
    for remake in (True, False):
        (results / "glue/cola/hra/r8/seed1/train.json").unlink()
        (results / "glue/mnli/hra/r8/seed1/mismatched/metrics.json").unlink()
        (results / "math/metamathqa-40k/base/pretrained/seed0/retention.json").unlink()
        assert done.plan(*tables) == TABLES | {
            "table_retention": set(),
            "train_glue": {trained},
            EVALUATION: {f"{trained} benchmark=validation", f"{evaluated} benchmark=mismatched"},
            "evaluate_harness": {"task=math dataset=metamathqa-40k method=base variant=pretrained seed=0"},
        }
        assert "  again:    runs: 1 job, deleted input files\n" in done.printed
        if remake:
            done.snakemake("--cores", "2", "--configfile", "small.yaml", "-q", "all", "--", *tables)
            assert done.plan(*tables) == {}


def test_a_plan_file_has_every_job_with_its_state_and_the_tables_that_need_it(done):
    command = ("--cores", "1", "--configfile", "small.yaml", "--config", "plan_file=new/plan.json", "--", "glue")
    run = "results/glue/cola/hra/r8/seed0/train.json"

    def plan() -> dict:
        assert "table_glue:" not in done.snakemake("-n", "-q", *command)
        found = json.loads((done.folder / "new/plan.json").read_text())
        assert list(results_contract.refused("plan", [found])) == []
        assert found["basedir"] == str(done.folder)
        return {job["outputs"][0]: job for job in found["jobs"]}

    jobs = plan()
    train, table, figure = (jobs[one] for one in (run, "results/table_glue.csv", "results/figures/glue_parameters.svg"))
    assert train["script"] == "train_glue.py" and 0 < train["started"] <= train["finished"] <= time.time()
    assert {"method", "hyperparameters"} <= set(train["params"]["expects"]["settings"])
    assert table["input"]["runs"] == "results/runs_glue.csv" and table["params"]["scale"] == 100
    assert train["tables"] == table["tables"] == ["table_glue"] and figure["tables"] == []
    assert (train["needed"], table["needed"], figure["needed"], figure["started"]) == (False, False, True, None)
    assert {job["gpus"] for job in jobs.values()} == {0} and train["hours_left"] == 0
    (done.folder / run).unlink()
    assert plan()[run]["needed"]
    assert "`--config plan_file` is for a dry run: add -n" in done.snakemake("-q", *command, ok=False)


def test_an_export_and_a_prediction_train_nothing(done):
    card = "seed0/hub/best/README.md"
    done.change("config/glue/task.yaml", "  glue:\n    version: 1", "  glue:\n    version: 2")
    planned = done.plan()
    assert planned["train_glue"] == runs() == evaluations(planned)
    assert "augment" not in planned and "download_dataset" not in planned
    named = "task=glue dataset=cola method=hra variant=r8 seed=0 weights=best"
    assert done.plan(f"results/glue/cola/hra/r8/{card}") == {"export_adapter": {named}}
    request = {"run": "results/glue/cola/hra/r8/seed0", "weights": "best", "texts": "small.yaml", "command": "predict"}
    planned = done.plan("predict", extra=("--config", f"request={json.dumps(request)}"))
    assert planned.keys() == {"predict_inputs", "predict"}
    assert re.fullmatch(rf"{named} inputs=small-\w+", *planned["predict_inputs"])
    options = ("-n", "--cores", "1", "--configfile", "small.yaml", "--")
    refused = done.snakemake(*options, f"results/glue/cola/full/all/{card}", ok=False)
    assert "expected an adapter of PEFT to export, found weights of kind full" in refused
