"""Look-ups in the config: the parts that rules pass to their jobs."""

from collections.abc import Mapping

from hra_workflow.core import tuning

HELD_OUT = "held-out"  # tasks.{task}.selection: select the best checkpoint on held-out rows of the training data
SAMPLER = "vllm"  # a hyper-parameter of any kind of method whose value is a mapping


def run_name(names: Mapping[str, str]) -> str:
    """Return `method/variant` of a run or of a job's wildcards."""
    return f"{names['method']}/{names['variant']}"


def runs(config: dict, task: str) -> list[dict]:
    """List a task's runs in config order (`dataset`, `method`, `variant`, `seed`), each once."""
    unique = {}
    for block in config["tasks"][task]["grid"]:
        for run in block["runs"]:
            for dataset in block["datasets"]:
                for seed in block["seeds"]:
                    method, variant = run.split("/")
                    unique[dataset, run, seed] = dict(dataset=dataset, method=method, variant=variant, seed=seed)
    return list(unique.values())


def paths(config: dict) -> dict[str, str]:
    """Return the paths, with wildcards, of a run, its evaluations and the checkpoints of training and augmentation."""
    roots, run = config["pathvars"], "{task}/{dataset}/{method}/{variant}/seed{seed}"
    return {
        "run": f"{roots['results']}/{run}",
        "eval": f"{roots['results']}/{run}/{{benchmark}}",
        "scratch": f"{roots['scratch']}/{run}",
        "start_scratch": f"{roots['scratch']}/augmented/{{task}}/{{method}}/{{variant}}/seed{{seed}}",
    }


def choice_file(config: dict, task: str, dataset: str, run: str) -> str:
    """Return the path of the values chosen from the trials of `method/variant` on a dataset."""
    return f"{config['pathvars']['results']}/tune/{task}/{dataset}/{run}.json"


def columns(config: dict, task: str) -> list[dict]:
    """List the table's columns; a column without a dataset is the mean over all `datasets` of the grid."""
    every = {"datasets": datasets(config, task)}
    return [column if "dataset" in column else column | every for column in config["tasks"][task]["columns"]]


def datasets(config: dict, task: str) -> list[str]:
    """List the datasets of a task's grid; none for a task that is not in the config."""
    return list(dict.fromkeys(run["dataset"] for run in runs(config, task))) if task in config["tasks"] else []


def preset(config: dict, task: str, run: str) -> str | None:
    """Return the name of the hyper-parameter preset of `method/variant`; None if the task has none."""
    return value_for_run(config["tasks"][task]["preset"], run)


def every_run(config: dict) -> list[str]:
    """List every `method/variant` of the config, whether it is in a grid or not."""
    return [f"{name}/{variant}" for name, one in config["methods"].items() for variant in one["variants"]]


def run_keys(config: dict) -> list[str]:
    """List the keys that `of_run` looks up."""
    return ["default", *config["methods"], *every_run(config)]


def value_for_run(chosen: str | int | dict, run: str) -> str | int | None:
    """Return the value of a setting for `method/variant`.

    chosen: one value for all runs, or a mapping with the keys `method/variant`, `method` and `default`.
    """
    run = tuning.base(run)
    names = (run, run.split("/")[0], "default")
    return next((chosen[name] for name in names if name in chosen), None) if isinstance(chosen, dict) else chosen


def runs_per_gpu(resources: dict, run: str) -> int:
    """Return how many runs of `method/variant` share a GPU, by the `resources` of training jobs."""
    return value_for_run(resources.get("runs_per_gpu", 1), run) or 1


def hyperparameters(config: dict, task: str, dataset: str, run: str) -> dict:
    """Merge hyper-parameters; later entries win: the task's defaults, then the preset's `all`, methods and datasets.

    A mapping in a preset, such as AdaLoRA's schedule, has the name of a method's kind, or of a type of kind peft, and
    applies only to it; that of SAMPLER applies to all. The values of a trial, or those chosen from the trials of a
    run, are merged last. `held_out` specifies the training rows that are held out, if any.
    """
    trial, run, settings = run, tuning.base(run), config["tasks"][task]
    chosen = config["presets"][task][preset(config, task, run)]
    methods = chosen.get("methods", {})
    layers = (
        config["tasks"][task]["defaults"],
        chosen["all"],
        methods.get(run.split("/")[0], {}),
        methods.get(run, {}),
        chosen.get("datasets", {}).get(dataset, {}),
    )
    values = {key: value for layer in layers for key, value in layer.items()}
    kind = kind_of(config["methods"][run.split("/")[0]])
    values = {key: value for key, value in values.items() if key in (kind, SAMPLER) or not isinstance(value, dict)}
    tune = settings.get("tune")
    if trial != run:
        values |= tuning.trials(tune, run)[trial]
    elif tuning.is_tuned(tune, run):
        values |= tuning.chosen_values(choice_file(config, task, dataset, run))
    if trial != run or settings.get("selection") == HELD_OUT:
        values["held_out"] = settings["held_out"]
    return values


def kind_of(method: dict) -> str:
    """Return a method's kind; for kind peft, the type, which counts as a separate kind."""
    return method.get("type", method["kind"])


def method(config: dict, task: str, method: str, variant: str, dataset: str | None = None) -> dict:
    """Return the parts of a variant that augmentation and training need: kind, version, PEFT arguments, targets.

    A preset's mapping with the kind's name overrides `peft` for a dataset, except sizes, since all datasets share one
    initial adapter.
    """
    entry, model = config["methods"][method], config["models"][config["tasks"][task]["model"]]
    chosen = entry["variants"][tuning.base(variant)]
    peft = chosen.get("peft")
    if dataset and peft:
        peft = peft | hyperparameters(config, task, dataset, f"{method}/{variant}").get(kind_of(entry), {})
    # Keys that only some methods have do not appear in the params of others, so that finished runs remain valid.
    entries = {key: entry[key] for key in ("type",) if key in entry}
    return entries | {
        "kind": entry["kind"],
        "version": entry["version"],
        "peft": peft,
        "targets": model["targets"][chosen["targets"]] if "targets" in chosen else None,
        "lambda": chosen.get("lambda", 0.0),
        "penalty": chosen.get("penalty", "squared"),
        "budget": chosen.get("budget"),
        "train_head": chosen.get("train_head", True),
    }


def resource(stated: dict, name: str, default, attempt: int):
    """Look up a resource. Each retry adds 50 % of the initial memory, in case the job ran out of it."""
    value = stated.get(name, default)
    return value * (1 + attempt) // 2 if name == "mem_mb" else value


def run_names(config: dict, task: str) -> list[str]:
    """List the distinct `method/variant` of a task's runs in config order."""
    return list(dict.fromkeys(f"{run['method']}/{run['variant']}" for run in runs(config, task)))


def table_rows(config: dict, task: str) -> list[dict[str, str]]:
    """List the rows of the table in config order."""
    return rows_of(config, run_names(config, task))


def labels(config: dict, task: str) -> dict[str, str]:
    """Return the label of each `method/variant` of the table."""
    return {row["run"]: row["label"] for row in table_rows(config, task)}


def rows_of(config: dict, chosen: list[str]) -> list[dict[str, str]]:
    """Return `run` (method/variant) and `label` of each run."""

    def label(run: str) -> str:
        method, variant = run.split("/")
        return config["methods"][method]["variants"][variant].get("label", f"{method} {variant}")

    return [{"run": run, "label": label(run)} for run in chosen]


def seeds_expected(config: dict, task: str) -> dict[str, dict[str, int]]:
    """Count the seeds in the grid: `method/variant` -> dataset -> number."""
    counts: dict[str, dict[str, int]] = {}
    for run in runs(config, task):
        datasets = counts.setdefault(f"{run['method']}/{run['variant']}", {})
        datasets[run["dataset"]] = datasets.get(run["dataset"], 0) + 1
    return counts


def averages(config: dict, task: str) -> dict[str, list[str]]:
    """Map the name of each average column to the columns it averages."""
    return {entry["name"]: entry["columns"] for entry in config["tasks"][task].get("averages", [])}
