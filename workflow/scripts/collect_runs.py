"""Write the run table: one row per run, benchmark, selection and metric, with its provenance.

Every run of the grid has its rows, in config order. A run that failed or is missing is one row with its error; it stops
the job, unless the config sets `incomplete: true`.
"""

from functools import cache
from pathlib import Path

import jsonschema
import pandas as pd

from common.core import files, rewound
from common.core.errors import JobError
from common.core.job import as_list, start
from common.report.run_statistics import RUN
from common.report.selections import TITLES

SCHEMAS = Path(__file__).parents[1] / "schemas"
FROM_RECORD = [
    "preset", "method_version", "task_version", "steps", "trainable_parameters", "adapter_parameters",
    "total_parameters", "adapter_bytes", "seconds", "peak_memory_bytes", "device", "processes", "attempts",
    "data_sha256", "config_hash", "commit", "dirty", "started", "finished",
]  # fmt: skip
COLUMNS = [
    "task", "dataset", "method", "variant", "seed", "benchmark", "strength", "selection", "metric", "value", "stderr",
    "n_items", "status", "error", "preset", "method_version", "task_version", "step", "steps", "trainable_parameters",
    "adapter_parameters", "total_parameters", "adapter_bytes", "seconds", "device_seconds", "eval_seconds",
    "peak_memory_bytes", "device", "processes", "runs_per_gpu", "micro_batch", "gradient_checkpointing", "attempts",
    "backend", "serve", "model", "model_revision", "model_sha256", "data_sha256", "config_hash", "commit", "dirty",
    "versions", "started", "finished",
]  # fmt: skip


@cache
def validator(name: str) -> jsonschema.protocols.Validator:
    schema = files.read_json(SCHEMAS / f"{name}.schema.json")
    return jsonschema.validators.validator_for(schema)(schema)


def load(path: str, schema: str) -> dict:
    """Read a JSON file and validate it against its schema."""
    value = files.read_json(path)
    problem = jsonschema.exceptions.best_match(validator(schema).iter_errors(value))
    if problem:
        key = ".".join(map(str, problem.absolute_path)) or "top level"
        raise JobError(
            f"{path}: {key}: {problem.message} (workflow/schemas/{schema}.schema.json). Delete it and run again."
        )
    return value


def load_all(paths: list[str], schema: str, task: str, keys: list[str], known: set) -> dict[tuple, dict]:
    """Read files by key; raise JobError for another task's file, one outside the grid, or a duplicate."""
    loaded, origin = {}, {}
    for path in paths:
        value = load(path, schema)
        key = tuple(value[name] for name in keys)
        if value["task"] != task or key not in known:
            raise JobError(f"{path}: {value['task']} {name_of(key)} is not in the grid of {task} in the config.")
        if key in loaded:
            raise JobError(f"{name_of(key)} has two files: {origin[key]} and {path}. Keep one.")
        loaded[key], origin[key] = value, path
    return loaded


def name_of(key: tuple) -> str:
    dataset, method, variant, seed, *benchmark = key
    return "/".join([dataset, method, variant, f"seed{seed}", *benchmark])


def hole(errors: list[str]) -> dict:
    """Return status and error of a missing result, from its job's error file."""
    for path in map(Path, errors):
        if path.exists():
            try:
                text = str(files.read_json(path)["error"])
            except (JobError, KeyError, TypeError):
                text = f"unreadable error file {path}"
            return {"status": "failed", "error": " ".join(text.split())[:500]}
    return {"status": "missing", "error": ""}


def from_record(record: dict) -> dict:
    versions = ";".join(f"{name}={version}" for name, version in sorted(record["versions"].items()))
    model = record["model"]
    row = {name: record[name] for name in FROM_RECORD} | {"versions": versions, "micro_batch": micro_batch(record)}
    if record["steps"]:
        row["gradient_checkpointing"] = record["hyperparameters"].get("gradient_checkpointing")
    row["runs_per_gpu"] = record.get("runs_per_gpu", 1)  # older records lack it
    row["device_seconds"] = record.get("device_seconds", record["seconds"] * record["processes"] / row["runs_per_gpu"])
    return row | {"model": model["name"], "model_revision": model["revision"], "model_sha256": model["sha256"]}


def micro_batch(record: dict) -> int | None:
    """Return the number of rows that a device processes at a time in training; None if nothing was trained."""
    settings = record["hyperparameters"]
    if not record["steps"]:
        return None
    return settings["batch_size"] // settings["gradient_accumulation"] // record["processes"]


def rows_of(run: dict, record: dict | None, metrics: dict[tuple, dict]) -> list[dict]:
    """Build the rows of one run of the grid."""
    key = tuple(run[name] for name in RUN)
    base = dict(zip(RUN, key, strict=True))
    if record is None:
        return [base | hole(run["errors"])]
    base |= from_record(record)
    rows = []
    for benchmark, errors in run["benchmarks"].items():
        base |= {"benchmark": benchmark, "strength": rewound.split(benchmark)[1] or 1.0}
        evaluation = metrics.get((*key, benchmark))
        if evaluation is None:
            rows.append(base | hole(errors))
            continue
        common = {"n_items": evaluation["n_items"], "eval_seconds": evaluation["seconds"], "status": "ok"}
        common |= evaluation.get("generation", {})
        for selection in TITLES:
            chosen = evaluation["selections"].get(selection, {"step": None, "metrics": {}})
            common |= {"selection": selection, "step": chosen["step"]}
            rows += [base | common | {"metric": name} | value for name, value in chosen["metrics"].items()]
    return rows


def text(value) -> str:
    """Format with fixed digits, so that diffs are readable; None is empty."""
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def main(job: dict) -> None:
    params = job["params"]
    task, expected = params["task"], params["expected"]
    grid = [tuple(run[name] for name in RUN) for run in expected]
    if double := {name_of(key) for key in grid if grid.count(key) > 1}:
        raise JobError(f"The grid of {task} lists {', '.join(sorted(double))} twice. Remove one entry from the config.")
    evaluations = {(*key, name) for key, run in zip(grid, expected, strict=True) for name in run["benchmarks"]}
    records = load_all(as_list(job["input"].get("records")), "record", task, RUN, set(grid))
    metrics = load_all(as_list(job["input"].get("metrics")), "metrics", task, [*RUN, "benchmark"], evaluations)

    rows = [row for key, run in zip(grid, expected, strict=True) for row in rows_of(run, records.get(key), metrics)]
    holes = [row for row in rows if row["status"] != "ok"]
    if holes and not params["incomplete"]:
        names = [
            f"{name_of(tuple(row[name] for name in RUN))} ({row['status']}{': ' * bool(row['error'])}{row['error']})"
            for row in holes
        ]
        raise JobError(
            f"{len(holes)} result(s) of {task} are missing: {', '.join(names[:3])}{', …' * (len(names) > 3)}. Rerun "
            "the same command to finish them, or append --config incomplete=True to it to build the table from the "
            "available results"
        )
    cells = [{name: text(row.get(name)) for name in COLUMNS} | {"task": task} for row in rows]
    table = pd.DataFrame(cells, columns=COLUMNS)
    files.write_text(job["output"]["runs"], table.to_csv(index=False, lineterminator="\n"))


if __name__ == "__main__":
    start(main, __file__, globals().get("snakemake"))
