"""Synthetic records and metrics that conform to the schemas: the results of a grid without training."""

import hashlib
import random
from collections import Counter
from pathlib import Path

import compare
from hra_workflow.core import files, grid, predictions, records
from hra_workflow.methods import METHODS
from hra_workflow.tasks import outputs
from hra_workflow.tasks.glue.task import Glue
from support import paper_config

CONFIG = paper_config()
METRICS = {name: entry["metrics"] for name, entry in CONFIG["datasets"]["glue"].items()}
METRICS["cola"] = ["matthews_correlation"]  # one metric only
SCORE = {dataset: metrics[-1] for dataset, metrics in METRICS.items()}
COLUMNS = [
    column | {"benchmark": "matched" if column["dataset"] == "mnli" else "dev"}
    for column in grid.columns(CONFIG, "glue")
]
AVERAGES = grid.averages(CONFIG, "glue")
LABELS = {"full/all": "Full fine-tuning", "head/all": "Head alone", "bitfit/all": "BitFit", "lora/r8": "LoRA r=8"}
LABELS |= {"adalora/r8": "AdaLoRA r=8", "oft/b16": "OFT b=16", "boft/m2b8": "BOFT m=2, b=8"}
LABELS |= {"hra/r8": "HRA r=8, λ=0", "hra/r8-lambda1e-6": "HRA r=8, λ=1e-6", "hra/r8-lambda1e-5": "HRA r=8, λ=1e-5"}
LABELS |= {"hra/r8-inf": "HRA r=8, λ=∞"}
PARAMETERS = {"full": 184_000_000, "head": 0, "bitfit": 102_000, "lora": 1_327_104, "adalora": 1_990_000}
PARAMETERS |= {"oft": 790_000, "boft": 750_000, "hra": 663_552}
LAMBDAS = {"hra/r8": 0, "hra/r8-lambda1e-6": 1e-6, "hra/r8-lambda1e-5": 1e-5, "hra/r8-inf": "inf"}
FIGURES = ("parameters", "lambda")
COLOURS = {method: METHODS[method].colour for method in PARAMETERS}
SETTINGS = {"epochs": 3, "learning_rate": 1e-3, "batch_size": 32, "gradient_accumulation": 2}
COMPARED = compare.COLUMNS


def entry(folder: Path, dataset: str = "cola", run: str = "hra/r8", seed: int = 0) -> dict:
    """Build one run of the grid as passed by Snakemake to collect_runs.py."""
    method, variant = run.split("/")
    scratch = folder / "scratch" / dataset / run / f"seed{seed}"
    benchmarks = ("matched", "mismatched") if dataset == "mnli" else ("dev",)
    settings = {"method": {"version": 1}, "task_version": 1, "hyperparameters": SETTINGS}
    result = f"glue/{dataset}/{run}/{seed}"
    return {"dataset": dataset, "method": method, "variant": variant, "seed": seed} | {
        "record": {"result": result, "settings": settings, "before": {}},
        "metrics": {name: of_metrics(dataset, result, name) for name in benchmarks},
        "benchmarks": {name: [str(scratch / name / "evaluate.error.json")] for name in benchmarks},
        "errors": [str(scratch / f"{stage}.error.json") for stage in ("augment", "train")],
    }


def identity(run: dict) -> dict:
    return {"task": "glue"} | {name: run[name] for name in ("dataset", "method", "variant", "seed")}


def record(run: dict, scores: list[float], **changes) -> dict:
    """Build a train.json whose dev curve is `scores`, one per 100 steps."""
    names = METRICS[run["dataset"]]
    curve = [
        {"step": 100 * index, "epoch": index / 2, "metrics": dict.fromkeys(names, score)}
        for index, score in enumerate(scores, 1)
    ]
    parameters = PARAMETERS[run["method"]]
    made = identity(run) | {"status": "ok", "method_version": 1, "task_version": 1, "hyperparameters": SETTINGS}
    made |= {
        "preset": "paper" if run["method"] == "hra" else "baseline",
        "score": SCORE[run["dataset"]],
        "curve": curve,
    }
    made |= {"steps": 100 * len(scores), "best_step": 100 * (1 + scores.index(max(scores)))}
    made |= {"trainable_parameters": parameters + 1538, "adapter_parameters": parameters}
    made |= {"total_parameters": 184_000_000 + parameters, "adapter_bytes": 4 * parameters + 1000}
    made |= {"seconds": 123.456789, "device_seconds": 123.456789, "runs_per_gpu": 1, "processes": 1}
    made |= {"peak_memory_bytes": 2**30, "device": "NVIDIA H100", "attempts": 1, "resumed_from": []}
    made |= {"started": "2026-11-25T10:00:00Z", "finished": "2026-11-25T10:02:03Z"}
    made |= {"model": {"name": "microsoft/deberta-v3-base", "revision": "0" * 40, "sha256": "a" * 64}}
    made |= {"data_sha256": "b" * 64, "weights_sha256": {}, "made_from": run.get("record", {}) | {"inputs": {}}}
    return made | {"commit": "d" * 40, "dirty": False, "versions": {"torch": "2.9.0", "peft": "0.18.0"}} | changes


def of_metrics(dataset: str, result: str, benchmark: str) -> dict:
    """Return what an evaluation is made from."""
    return {"result": f"{result}/{benchmark}", "settings": {"dataset": dataset, "split": benchmark}, "before": {}}


def metrics(run: dict, benchmark: str, last: float, best: float | None = None, **changes) -> dict:
    """Build a metrics.json; accuracy is `last`, and every further metric slightly higher."""

    def selection(step: int, value: float) -> dict:
        names = enumerate(METRICS[run["dataset"]])
        return {
            "step": step,
            "metrics": {name: {"value": value + index / 100, "stderr": 0.005} for index, name in names},
        }

    made_from = run.get("metrics", {}).get(benchmark, of_metrics(run["dataset"], "", benchmark)) | {"inputs": {}}
    selections = {"last": selection(300, last), "best_on_dev": selection(200, last if best is None else best)}
    made = identity(run) | {"benchmark": benchmark, "score": SCORE[run["dataset"]], "selections": selections}
    made |= {"task_version": 1, "n_items": 1043, "seconds": 1.5, "device": "cpu", "made_from": made_from}
    return made | changes


def diverged(run: dict, error: str = "the training loss is nan at step 7") -> dict:
    """Build the train.json of a run that has diverged."""
    schema = files.read_json(Path(__file__).parents[2] / "workflow/schemas/record.schema.json")
    content = {name: value for name, value in record(run, [0.5]).items() if name in schema["required"]}
    return content | {"status": "diverged", "error": error}


def write(folder: Path, run: dict, scores: list[float], lines=None, **changes) -> tuple[str, list[str]]:
    """Write the files of one run; return the paths of its record and its metrics. lines: the predictions."""
    place = folder / "glue" / run["dataset"] / run["method"] / run["variant"] / f"seed{run['seed']}"
    place.mkdir(parents=True, exist_ok=True)
    made = records.with_digest(record(run, scores, **changes))
    records.write(place / "train.json", made)
    evaluations = []
    for benchmark in run["benchmarks"]:
        path = place / benchmark / "metrics.json"
        path.parent.mkdir(exist_ok=True)
        predictions.write(path.with_name("predictions.jsonl.gz"), lines or [])
        digests = {"predictions_sha256": files.sha256(path.with_name("predictions.jsonl.gz"))}
        written = metrics(run, benchmark, scores[-1], max(scores), **digests)
        written["made_from"]["inputs"] = {str(place / "train.json"): made[records.SEAL]}
        records.write(path, written)
        evaluations.append(str(path))
    return str(place / "train.json"), evaluations


def noisy_curve(run: dict, points: int = 12) -> list[float]:
    """Simulate a dev curve that rises to a level depending on dataset and method, with noise per seed."""
    name = f"{run['dataset']}/{run['method']}/{run['variant']}"
    level = 0.97 - int(hashlib.sha256(run["dataset"].encode()).hexdigest(), 16) % 25 / 100
    level -= int(hashlib.sha256(name.encode()).hexdigest(), 16) % 40 / 1000 + 0.12 * (run["method"] == "head")
    noise = random.Random(f"{name}/{run['seed']}")
    return [level * (1 - 0.35 * 0.6**index) + noise.gauss(0, 0.006) for index in range(points)]


def collect_job(folder: Path, expected: list[dict], paths: list[tuple[str, list[str]]], incomplete=False) -> dict:
    errors = [{key: run[key] for key in ("errors", "benchmarks")} for run in expected]
    return {
        "input": {"records": [path for path, _ in paths], "metrics": [path for _, more in paths for path in more]},
        "output": {"runs": str(folder / "runs_glue.csv")},
        "params": {"task": "glue", "expected": expected, "errors": errors, "incomplete": incomplete},
    }


def searched(trials: int = 4, preset: str = "mine", **settings) -> dict:
    """Build an entry of tasks.tuned_runs.searches."""
    return {"preset": preset, "trials": trials, "settings": settings}


def compare_job(folder: Path, expected: list[dict], evaluations: list[dict]) -> dict:
    """Build the job of compare.py for the same grid as `table_job`."""
    params, labels = table_job(folder, expected)["params"], {dataset: ["no", "yes"] for dataset in METRICS}
    return {
        "input": {"runs": str(folder / "runs_glue.csv")},
        "output": {"csv": str(folder / "compare_glue.csv")},
        "params": {name: params[name] for name in ("task", "columns", "averages", "selections")}
        | {"scale": 100, "settings": {"labels": labels}, "evaluations": evaluations},
    }


def table_job(folder: Path, expected: list[dict], published: Path | None = None) -> dict:
    """Build the job of table.py for the columns whose datasets are in the grid."""
    datasets = {run["dataset"] for run in expected}
    columns = [column for column in COLUMNS if column["dataset"] in datasets]
    names = {column["name"] for column in columns}
    averages = {key: [name for name in members if name in names] for key, members in AVERAGES.items()}
    comparison = folder / "compare_glue.csv"
    if not comparison.exists():
        files.write_text(comparison, ",".join(COMPARED) + "\n")
    seeds: dict[str, Counter] = {}
    for run in expected:
        seeds.setdefault(f"{run['method']}/{run['variant']}", Counter())[run["dataset"]] += 1
    runs = list(seeds)
    baselines = [run for run in runs if METHODS[run.split("/")[0]].baseline]
    inputs = {"runs": str(folder / "runs_glue.csv"), "comparison": str(comparison)}
    params = {"task": "glue", "columns": columns, "averages": averages, "selections": ["best_on_dev", "last"]}
    params |= {"benchmarks": [], "settings": {}}
    return {
        "input": inputs | ({"published": str(published)} if published else {}),
        "output": {"csv": str(folder / "table_glue.csv"), "markdown": str(folder / "table_glue.md")},
        "params": params
        | {
            "rows": [{"run": run, "label": LABELS[run]} for run in runs],
            "seeds_expected": seeds,
            "trained": runs,
            "verdicts": {"columns": [columns[0]["name"]], "reference": None, "baselines": baselines},
            "searches": {dataset: {run: searched() for run in runs} for dataset in datasets},
            "published": outputs.published(Glue({"tasks": {"glue": {"published": True}}, "datasets": {}})),
            "metrics": str(folder / "{task}/{dataset}/{method}/{variant}/seed{seed}/{benchmark}/metrics.json"),
        },
    }


def figures_job(folder: Path, expected: list[dict], records: list[str], published: Path | None = None) -> dict:
    """Build the job of figures.py for the same grid as `table_job`."""
    table = table_job(folder, expected, published)
    params = {key: table["params"][key] for key in ("task", "columns", "averages", "selections", "searches")}
    names = [column["name"] for column in params["columns"]]
    labels = {row["run"]: row["label"] for row in table["params"]["rows"]}
    inputs = table["input"] | {"records": records}
    if published:
        inputs["published_lambda"] = str(published.with_name("glue_lambda.csv"))
    lambdas = {run: {"lambda": value, "series": "r=8"} for run, value in LAMBDAS.items() if run in labels}
    shown = {
        "parameters": ["All (acc/F1 mean)"],
        "lambda": [next((name for name in names if "MRPC (acc/F1" in name), names[0])],
    }
    return {
        "input": inputs,
        "output": {f"{name}_{kind}": str(folder / f"{name}.{kind}") for name in FIGURES for kind in ("svg", "png")},
        "params": params | shown | {"lambdas": lambdas, "labels": labels, "colours": COLOURS},
    }
