"""Trials, choices and a config that searches."""

from pathlib import Path

import choose
import collect_trials
from hra_workflow.core import records, tuning
from support import paper_config

RATES = (0.001, 0.01, 0.1)


def trial_job(run) -> dict:
    """Return the job of a trial, with outputs of its own: rules/common.smk gives it no benchmarks."""
    job, variant = run.train, f"v{tuning.MARK}learning_rate-0.005"
    job["wildcards"] = job["wildcards"] | {"variant": variant}
    if "evaluation" in job["params"]:
        job["params"]["evaluation"] = job["params"]["evaluation"] | {"benchmarks": {}}
    job["output"] = {name: path.replace("/run/", f"/{variant}/") for name, path in job["output"].items()}
    return job


def made(folder, scores: dict[str, list], metric: str = "accuracy") -> list[dict]:
    """Write the records of the trials of some runs, a score, an error or None (missing) each; return the trials."""
    trials = []
    for run, found in scores.items():
        name, variant = run.split("/")
        for rate, score in zip(RATES, found, strict=True):
            trial = f"{variant}{tuning.MARK}learning_rate-{rate}"
            path = folder / name / trial / "seed0/train.json"
            one = {"dataset": "cola", "method": name, "variant": variant, "trial": trial, "seed": 0}
            trials.append(one | {"values": {"learning_rate": rate}, "record": str(path)})
            record = {"status": "ok", "steps": 10, "seconds": 1.5}
            if isinstance(score, str):
                record = {"status": "diverged", "error": score, "seconds": 1.5}
            elif score is not None:
                record["held_out"] = {"metric": metric, "value": score, "rows": 20, "train_rows": 80}
            if score is not None:
                path.parent.mkdir(parents=True)
                made_from = expected(trials[-1:])[0] | {"inputs": {}}
                records.write(path, one | {"variant": trial, "made_from": made_from} | record)
    return trials


def expected(trials: list[dict], epochs: int = 3) -> list[dict]:
    """Return what trials are made from, as the rules do."""
    return [
        {
            "result": "glue/{dataset}/{method}/{trial}/{seed}".format(**one),
            "settings": {"hyperparameters": one["values"] | {"epochs": epochs}},
            "before": {},
        }
        for one in trials
    ]


def choices(folder, trials: list[dict], task: str = "glue") -> list[str]:
    """Choose for every run of some trials; return the files."""
    paths = []
    for run in dict.fromkeys(f"{one['method']}/{one['variant']}" for one in trials):
        names = dict(zip(("method", "variant"), run.split("/"), strict=True)) | {"task": task, "dataset": "cola"}
        paths.append(str(folder / f"{task}/cola/{run}.json"))
        of_run = [one for one in trials if one["method"] == names["method"]]
        params = {"trials": of_run, "expected": expected(of_run)}
        choose.main({"params": params, "wildcards": names, "output": {"choice": paths[-1]}})
    return paths


def choice(folder, trials: list[dict], task: str = "glue") -> dict:
    return tuning.read_choice(*choices(folder, trials, task))


def collect(folder, trials: list[dict], chosen: list[str], incomplete: bool = False, epochs: int = 3) -> Path:
    output = {"csv": str(folder / "tune_glue.csv")}
    params = {"trials": trials, "expected": expected(trials, epochs), "incomplete": incomplete}
    job = {"params": params, "input": {"choices": chosen}, "output": output, "wildcards": {"task": "glue"}}
    collect_trials.main(job)
    return folder / "tune_glue.csv"


def tuned_config(**tune) -> dict:
    config = paper_config()
    glue = config["tasks"]["glue"]
    glue["grid"] = [{"runs": ["lora/r8", "hra/r8"], "datasets": ["cola"], "seeds": [0]}]
    glue |= {"columns": glue["columns"][2:3], "averages": [], "figures": {"parameters": ["CoLA"], "lambda": []}}
    glue["tune"] = {"search": {"learning_rate": [1e-3, 2e-3]}, "trials": 2} | tune
    return config
