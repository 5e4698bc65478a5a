"""What the config says: checks with one clear message, and the slices that rules hand to their jobs.

Plain Python on plain dicts: imported by the Snakefile on login nodes, so no torch and no pandas here.
"""

import json
from pathlib import Path

from common.job import JobError

SCHEMA = Path(__file__).parents[2] / "schemas" / "config.schema.json"


def check(config: dict) -> None:
    """Raise JobError on the first thing in the config that cannot work, with its place in the file."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    error = best_match(Draft202012Validator(json.loads(SCHEMA.read_text())).iter_errors(config))
    if error:
        place = ".".join(str(key) for key in error.absolute_path) or "top level"
        known = error.parent is None and error.validator == "additionalProperties" and error.schema.get("properties")
        hint = f"; known keys: {', '.join(sorted(known))}" if known else ""
        about = f" ({error.schema['description']})" if error.schema.get("description") else ""
        if error.validator == "type" and isinstance(error.instance, str) and is_number(error.instance):
            hint = "; YAML reads 1e-5 as text: write 1.0e-5"
        if error.validator == "type" and error.instance in ("true", "false"):
            hint = f"; on the command line write {error.instance.title()}"
        raise JobError(f"config: {place}: {error.message}{about}{hint}")
    for name, method in config["methods"].items():
        for variant, entry in method["variants"].items():
            check_variant(f"config: methods.{name}.variants.{variant}", method["kind"], entry)
    for name, dataset in ((n, d) for task in config["datasets"].values() for n, d in task.items()):
        check_dataset(f"config: datasets.…{name}", dataset)
    for task in config["tasks"]:
        check_task(config, task)


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def expect(condition: bool, message: str) -> None:
    if not condition:
        raise JobError(message)


def one_of(place: str, what: str, value, known) -> None:
    expect(value in known, f"{place}: unknown {what} {value!r}; known: {', '.join(map(str, known))}")


def check_variant(place: str, kind: str, variant: dict) -> None:
    peft = variant.get("peft")
    needs_adapter = kind not in ("full", "bitfit", "head")
    if needs_adapter:
        expect(peft is not None, f"{place}: kind {kind} needs `peft: {{…}}`, the arguments of PEFT's config")
        expect("targets" in variant, f"{place}: kind {kind} needs `targets`, the name of a list of the model's targets")
    else:
        expect(
            peft is None and "targets" not in variant, f"{place}: kind {kind} inserts no adapter: remove peft, targets"
        )
    for key in ("lambda", "penalty"):
        expect(kind == "hra" or key not in variant, f"{place}: {key} is for kind hra, this is {kind}")
    expect(
        (kind == "adalora") == ("budget" in variant), f"{place}: `budget` belongs to kind adalora and is needed there"
    )
    if kind == "hra":
        paired = not peft.get("apply_GS", False) and peft.get("init_weights", True)
        expect(
            not (paired and peft["r"] % 2),
            f"{place}: peft.r is {peft['r']}; the paired start (equal columns, H = I) needs an even r. "
            "Use an even r, or init_weights: false for a random start away from the pretrained model",
        )


def check_dataset(place: str, dataset: dict) -> None:
    one_of(f"{place}: score", "metric", dataset["score"], dataset["metrics"])
    for benchmark, split in dataset["benchmarks"].items():
        one_of(f"{place}: benchmarks.{benchmark}", "split", split, list(dataset["splits"]))
    correlation = {"pearson", "spearman", "pearson_spearman_mean"}
    for metric in dataset["metrics"]:
        expect(
            (metric in correlation) == (dataset["labels"] is None),
            f"{place}: metric {metric} does not go with labels {dataset['labels']} (null: regression)",
        )
        expect(
            not ("f1" in metric or "matthews" in metric) or len(dataset["labels"]) == 2,
            f"{place}: metric {metric} needs two labels, there are {len(dataset['labels'] or [])}",
        )


def check_task(config: dict, task: str) -> None:
    entry, datasets = config["tasks"][task], config["datasets"].get(task, {})
    place = f"config: tasks.{task}"
    one_of(f"{place}.model", "model", entry["model"], config["models"])
    if entry.get("preset"):
        one_of(f"{place}.preset", "preset", entry["preset"], config["presets"].get(task, {}))
    for index, block in enumerate(entry["grid"]):
        for run in block["runs"]:
            method, variant = run.split("/")
            one_of(f"{place}.grid[{index}]: {run}", "method", method, config["methods"])
            one_of(f"{place}.grid[{index}]: {run}", "variant", variant, config["methods"][method]["variants"])
            if targets := config["methods"][method]["variants"][variant].get("targets"):
                one_of(f"{place}: {run}: targets", "list", targets, config["models"][entry["model"]]["targets"])
            one_of(f"{place}: {run}", "preset", preset(config, task, run), config["presets"].get(task, {}))
        for name in block["datasets"]:
            one_of(f"{place}.grid[{index}]", "dataset", name, datasets)
            for run in block["runs"]:
                check_hyperparameters(config, task, name, run)
    for column in entry["columns"]:
        where = f"{place}.columns: {column['name']}"
        one_of(where, "dataset", column["dataset"], datasets)
        one_of(where, "benchmark", column["benchmark"], datasets[column["dataset"]]["benchmarks"])
        one_of(where, "metric", column["metric"], datasets[column["dataset"]]["metrics"])
    names = [column["name"] for column in entry["columns"]]
    for average in entry["averages"]:
        for name in average["columns"]:
            one_of(f"{place}.averages: {average['name']}", "column", name, names)
    known = [average["name"] for average in entry["averages"]]
    one_of(f"{place}.figures.average", "average", entry["figures"]["average"], known)
    if entry["figures"].get("lambda_column"):
        one_of(f"{place}.figures.lambda_column", "column", entry["figures"]["lambda_column"], names)


def check_hyperparameters(config: dict, task: str, dataset: str, run: str) -> None:
    values = hyperparameters(config, task, dataset, run)
    place = f"config: tasks.{task}: {run} on {dataset}, preset {preset(config, task, run)}"
    for key in ("epochs", "learning_rate", "warmup_steps", "max_length", "batch_size", "eval_steps", "precision"):
        expect(key in values, f"{place}: {key} is missing: neither tasks.{task}.defaults nor the preset states it")
    parts = values["gradient_accumulation"] * max(1, config["tasks"][task]["resources"]["gpu"])
    expect(
        values["batch_size"] % parts == 0,
        f"{place}: batch_size {values['batch_size']} is not a multiple of gpu × gradient_accumulation = {parts}",
    )


def runs(config: dict, task: str) -> list[dict]:
    """The runs of a task, in config order: `dataset`, `method`, `variant`, `seed`; a run named twice counts once."""
    unique = {}
    for block in config["tasks"][task]["grid"]:
        for run in block["runs"]:
            for dataset in block["datasets"]:
                for seed in block["seeds"]:
                    method, variant = run.split("/")
                    unique[dataset, run, seed] = dict(dataset=dataset, method=method, variant=variant, seed=seed)
    return list(unique.values())


def preset(config: dict, task: str, run: str) -> str | None:
    """Name of the hyper-parameter preset of `method/variant`."""
    method, variant = run.split("/")
    return config["tasks"][task].get("preset") or config["methods"][method]["variants"][variant]["preset"].get(task)


def hyperparameters(config: dict, task: str, dataset: str, run: str) -> dict:
    """Of `method/variant` on a dataset; later wins: the task's defaults, the preset's all, methods, datasets."""
    chosen = config["presets"][task][preset(config, task, run)]
    methods = chosen.get("methods", {})
    layers = (
        config["tasks"][task]["defaults"],
        chosen["all"],
        methods.get(run.split("/")[0], {}),
        methods.get(run, {}),
        chosen.get("datasets", {}).get(dataset, {}),
    )
    return {key: value for layer in layers for key, value in layer.items()}


def method(config: dict, task: str, method: str, variant: str) -> dict:
    """What augmentation and training need to know of a variant: its kind, version, PEFT arguments and targets."""
    entry, model = config["methods"][method], config["models"][config["tasks"][task]["model"]]
    chosen = entry["variants"][variant]
    return {
        "kind": entry["kind"],
        "version": entry["version"],
        "peft": chosen.get("peft"),
        "targets": model["targets"][chosen["targets"]] if "targets" in chosen else None,
        "lambda": chosen.get("lambda", 0.0),
        "penalty": chosen.get("penalty", "squared"),
        "budget": chosen.get("budget"),
        "train_head": chosen.get("train_head", True),
    }


def names(config: dict, task: str) -> list[str]:
    """`method/variant` of every run of a task, once, in config order."""
    return list(dict.fromkeys(f"{run['method']}/{run['variant']}" for run in runs(config, task)))


def expected_runs(config: dict, task: str, scratch: str, start_scratch: str) -> list[dict]:
    """The runs with what the run table needs: their benchmarks, and the files in which a failure leaves its error."""

    def expected(run: dict) -> dict:
        folder, start = (Path(pattern.format(task=task, **run)) for pattern in (scratch, start_scratch))
        benchmarks = config["datasets"][task][run["dataset"]]["benchmarks"]
        return run | {
            "errors": [str(start / "augment.error.json"), str(folder / "train.error.json")],
            "benchmarks": {name: str(folder / name / "evaluate.error.json") for name in benchmarks},
        }

    return [expected(run) for run in runs(config, task)]


def table_rows(config: dict, task: str) -> list[dict[str, str]]:
    """Rows of the table in config order: `run` (method/variant) and `label`."""

    def label(run: str) -> str:
        method, variant = run.split("/")
        return config["methods"][method]["variants"][variant].get("label", f"{method} {variant}")

    return [{"run": run, "label": label(run)} for run in names(config, task)]


def seeds_expected(config: dict, task: str) -> dict[str, dict[str, int]]:
    """`method/variant` -> dataset -> number of seeds in the grid."""
    counts: dict[str, dict[str, int]] = {}
    for run in runs(config, task):
        datasets = counts.setdefault(f"{run['method']}/{run['variant']}", {})
        datasets[run["dataset"]] = datasets.get(run["dataset"], 0) + 1
    return counts


def averages(config: dict, task: str) -> dict[str, list[str]]:
    """Name of an average column -> the columns that it averages."""
    return {entry["name"]: entry["columns"] for entry in config["tasks"][task]["averages"]}


def lambdas(config: dict, task: str) -> dict[str, float | str]:
    """λ of the HRA runs of a task: a number, or "inf" for apply_GS."""
    found = {}
    for run in names(config, task):
        method, variant = run.split("/")
        if config["methods"][method]["kind"] == "hra":
            chosen = config["methods"][method]["variants"][variant]
            found[run] = "inf" if chosen["peft"].get("apply_GS") else chosen.get("lambda", 0.0)
    return found
