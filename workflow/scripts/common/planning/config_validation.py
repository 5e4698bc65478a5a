"""Whether the config can work: one clear message on the first thing that cannot, with its place in the file.

Plain Python on plain dicts: imported by the Snakefile on login nodes, so no torch and no pandas here.
"""

import json
import math
from pathlib import Path

from common import methods
from common.core.errors import JobError
from common.core.grid import averages, hyperparameters, names, preset, retention_benchmarks, retention_runs, runs
from common.planning.expected_runs import dataset
from common.planning.method_checks import check_preset, check_variant, expect, one_of
from common.tasks.control import task as controls
from common.tasks.subject.task import slug

SCHEMA = Path(__file__).parents[3] / "schemas" / "config.schema.json"


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
    for task, datasets in config["datasets"].items():
        for name, entry in datasets.items() if task not in ("subject", "control") else ():
            check = check_text_dataset if task == "math" else check_dataset
            check(f"config: datasets.{task}.{name}", entry, datasets)
    if "subject" in config["tasks"]:
        check_subjects(config)
    if "control" in config["tasks"]:
        check_control(config)
    for task, presets in config["presets"].items():
        for name, entry in presets.items():
            check_preset(f"config: presets.{task}.{name}", entry, config["methods"], config["datasets"].get(task, {}))
    for task in config["tasks"]:
        check_task(config, task)
        if task == "math":
            check_math(config, task)


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def check_text_dataset(place: str, dataset: dict, datasets: dict) -> None:
    if "benchmarks" in dataset:
        one_of(f"{place}: splits", "split", "train", dataset["splits"])
        one_of(f"{place}: score", "metric", dataset["score"], dataset["metrics"])
    for benchmark, source in dataset.get("benchmarks", {}).items():
        name, split = source.split("/")
        one_of(f"{place}: benchmarks.{benchmark}", "dataset", name, datasets)
        one_of(f"{place}: benchmarks.{benchmark}", "split", split, datasets[name]["splits"])


def check_dataset(place: str, dataset: dict, datasets: dict) -> None:
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
    entry = config["tasks"][task]
    datasets = {name: dataset(config, task, name) for name in config["datasets"].get(task, {})}
    place = f"config: tasks.{task}"
    one_of(f"{place}.model", "model", entry["model"], config["models"])
    if entry.get("preset"):
        one_of(f"{place}.preset", "preset", entry["preset"], config["presets"].get(task, {}))
    for index, block in enumerate(entry["grid"]):
        for run in block["runs"]:
            method, variant = run.split("/")
            one_of(f"{place}.grid[{index}]: {run}", "method", method, config["methods"])
            one_of(f"{place}.grid[{index}]: {run}", "variant", variant, config["methods"][method]["variants"])
            kind = config["methods"][method]["kind"]
            expect(
                kind in methods.kinds_of(task),
                f"{place}.grid[{index}]: {run}: expected a kind that {task} can run "
                f"({', '.join(methods.kinds_of(task))}), found {kind}. Take the run out of the grid",
            )
            if targets := config["methods"][method]["variants"][variant].get("targets"):
                one_of(f"{place}: {run}: targets", "list", targets, config["models"][entry["model"]]["targets"])
            one_of(f"{place}: {run}", "preset", preset(config, task, run), config["presets"].get(task, {}))
        for name in block["datasets"]:
            trainable = [other for other, found in datasets.items() if "benchmarks" in found]
            one_of(f"{place}.grid[{index}]", "dataset", name, trainable)
            for run in block["runs"]:
                check_hyperparameters(config, task, name, run)
    for column in entry["columns"]:
        where = f"{place}.columns: {column['name']}"
        for name in [column["dataset"]] if "dataset" in column else {run["dataset"] for run in runs(config, task)}:
            one_of(where, "dataset", name, datasets)
            one_of(where, "benchmark", column["benchmark"], datasets[name]["benchmarks"])
            one_of(where, "metric", column["metric"], datasets[name]["metrics"])
    names = [column["name"] for column in entry["columns"]]
    for average in entry.get("averages", []):
        for name in average["columns"]:
            one_of(f"{place}.averages: {average['name']}", "column", name, names)
    for name in entry["figures"]["parameters"]:
        one_of(f"{place}.figures.parameters", "column", name, [*names, *averages(config, task)])
    for name in entry["figures"]["lambda"]:
        one_of(f"{place}.figures.lambda", "column", name, names)


def check_math(config: dict, task: str) -> None:
    entry, known = config["tasks"][task], names(config, task)
    place, made = f"config: tasks.{task}", runs(config, task)
    trained = {run["dataset"] for run in made}
    for name in trained:
        for benchmark in config["datasets"][task][name]["benchmarks"]:
            one_of(f"{place}.generation.max_new_tokens", "benchmark", benchmark, entry["generation"]["max_new_tokens"])
    serving = entry["generation"]
    for run in made:
        name = f"{run['method']}/{run['variant']}"
        expect(
            methods.of(config, run["method"]).merges_quantized
            or (serving["serve"] != "merged" and serving["backend"] != "vllm")
            or not hyperparameters(config, task, run["dataset"], name).get("quantization"),
            f"{place}: {name} is on a base in 4 bits, which cannot be merged into, nor served by vLLM as it was in "
            "training. Take `serve: adapter` or `lora` with `backend: transformers`, or `quantization: null`",
        )
    compared = entry.get("compute", {}).get("runs", [])
    for run in compared:
        one_of(f"{place}.compute.runs", "run of the grid", run, known)
    for name in sorted(trained):
        there = {f"{run['method']}/{run['variant']}" for run in made if run["dataset"] == name}
        check_micro_batches(config, task, name, [run for run in compared if run in there])
    if retention := entry.get("retention"):
        one_of(f"{place}.retention.dataset", "dataset of the grid", retention["dataset"], trained)
        one_of(f"{place}.retention.base", "run", retention["base"], retention["runs"])
        expect(
            retention_benchmarks(config),
            f"{place}.retention.benchmarks: all have `unsafe_code: false`, so none runs. "
            "Set one to true, or retention: null",
        )
        for run in retention_runs(config):
            name = f"{run['method']}/{run['variant']} on {run['dataset']}, seed {run['seed']}"
            expect(run in made, f"{place}.retention: {name}, is not in the grid. Add it there")


def check_micro_batches(config: dict, task: str, dataset: str, compared: list[str]) -> None:
    """Time and memory are compared at equal numbers of rows that a device computes at once."""
    devices = max(1, config["tasks"][task]["resources"]["gpu"])
    trained = [run for run in compared if methods.of(config, run.split("/")[0]).trains]
    settings = {run: hyperparameters(config, task, dataset, run) for run in trained}
    sizes = {run: one["batch_size"] // one["gradient_accumulation"] // devices for run, one in settings.items()}
    equal = math.gcd(*sizes.values())
    remedies = [
        f"gradient_accumulation: {settings[run]['batch_size'] // devices // equal} in {preset(config, task, run)}"
        for run in trained
        if sizes[run] != equal
    ]
    expect(
        not remedies,
        f"config: tasks.{task}.compute: expected equal micro-batches (batch_size / gradient_accumulation / gpu) on "
        f"{dataset}, found {', '.join(f'{run} {size}' for run, size in sizes.items())}. Make all of them {equal} in "
        f"presets.{task}: {'; '.join(dict.fromkeys(remedies))}",
    )


def check_hyperparameters(config: dict, task: str, dataset: str, run: str) -> None:
    values = hyperparameters(config, task, dataset, run)
    place = f"config: tasks.{task}: {run} on {dataset}, preset {preset(config, task, run)}"
    needed = ["learning_rate", "schedule", "warmup_steps", "batch_size", "gradient_accumulation"]
    needed += ["weight_decay", "max_grad_norm", "adam_epsilon", "precision"]
    needed += {
        "glue": ["epochs", "max_length", "eval_steps"],
        "math": ["epochs", "max_length", "gradient_checkpointing", "group_by_length"],
        "subject": ["max_steps", "epoch_steps", "keep_epochs", "prior_weight", "gradient_checkpointing"],
        "control": ["epochs", "gradient_checkpointing", "shuffle", "prompt_dropout"],
    }[task]
    for key in needed:
        expect(key in values, f"{place}: {key} is missing: neither tasks.{task}.defaults nor the preset states it")
    parts = values["gradient_accumulation"] * max(1, config["tasks"][task]["resources"]["gpu"])
    expect(
        values["batch_size"] % parts == 0,
        f"{place}: batch_size {values['batch_size']} is not a multiple of gpu × gradient_accumulation = {parts}",
    )


def check_subjects(config: dict) -> None:
    entry = config["tasks"]["subject"]
    place, known = "config: tasks.subject", entry["prompts"]
    classes: dict[str, str] = {}
    for name, subject in config["datasets"].get("subject", {}).items():
        where = f"config: datasets.subject.{name}"
        one_of(f"{where}.prompts", "list", subject["prompts"], known)
        first = classes.setdefault(slug(subject["class"]), subject["class"])
        expect(
            first == subject["class"],
            f"{where}.class: {subject['class']!r} and {first!r} would share a folder. Write them alike, or other words",
        )
    evaluation = entry["evaluation"]
    official = evaluation["prompts"] == "official"
    expect(
        not official or "live" in known, f"{place}.evaluation.prompts: official needs the list {place[8:]}.prompts.live"
    )
    check_evaluators(config, "subject", ("faithfulness",))
    for name in {run["dataset"] for run in runs(config, "subject")}:
        one_of(f"{place}.grid", "dataset", name, config["datasets"].get("subject", {}))
        metrics = dataset(config, "subject", name)["metrics"]
        for metric in evaluation["best_by"]:
            one_of(f"{place}.evaluation.best_by", "metric", metric, metrics)


def check_evaluators(config: dict, task: str, without_model: tuple[str, ...]) -> None:
    for evaluator in config["tasks"][task]["evaluation"]["evaluators"]:
        where = f"config: tasks.{task}.evaluation.evaluators: {evaluator['name']}"
        needs = evaluator["kind"] not in without_model
        expect(
            needs == ("model" in evaluator),
            f"{where}: kind {evaluator['kind']} {'needs a' if needs else 'has no'} model",
        )
        if needs:
            one_of(where, "model", evaluator["model"], config["models"])
        expect(
            "crop" not in evaluator or evaluator["kind"] in ("dino", "clip", "efficientnet-lite0"),
            f"{where}: kind {evaluator['kind']} has no crop",
        )


def check_control(config: dict) -> None:
    entry, datasets = config["tasks"]["control"], config["datasets"].get("control", {})
    check_evaluators(config, "control", controls.WITHOUT_MODEL)
    known = {one["name"]: one["kind"] for one in entry["evaluation"]["evaluators"]}
    for name in {run["dataset"] for run in runs(config, "control")}:
        one_of("config: tasks.control.grid", "dataset", name, datasets)
        where, dataset = f"config: datasets.control.{name}", datasets[name]
        for split in ("train", controls.BENCHMARK):
            one_of(f"{where}: splits", "split", split, dataset["splits"])
        annotated = dataset["splits"][controls.BENCHMARK].get("annotation", {}).get("kind")
        for evaluator in dataset["evaluators"]:
            one_of(f"{where}: evaluators", "evaluator", evaluator, known)
            needed = next((kind for kind, kinds in controls.NEEDS.items() if known[evaluator] in kinds), None)
            fits = needed is None or known[evaluator] in controls.NEEDS.get(annotated, ())
            expect(fits, f"{where}: evaluators: {evaluator} ({known[evaluator]}) needs an annotation of kind {needed}")
    every = [f"{name}/{variant}" for name, method in config["methods"].items() for variant in method["variants"]]
    for run in entry["sheets"]["runs"]:  # one that is not in the grid is left out
        one_of("config: tasks.control.sheets.runs", "run", run, every)
