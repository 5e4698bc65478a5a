"""Write the run table: one row per run, benchmark, selection and metric, with its provenance.

Every run of the grid has its rows, in config order. A diverged run has one row. A run that failed, is missing, or is
made from something else than the config specifies (`outdated`, core/made_from.py) has one row with the error; such runs
stop the job, unless the config sets `incomplete: true`.
"""

from pathlib import Path

import pandas as pd

from hra_workflow.core import files, logs, made_from, records
from hra_workflow.core.errors import JobError
from hra_workflow.core.job import as_list, script
from hra_workflow.report import run_columns, tuning_results
from hra_workflow.report.run_statistics import RUN
from hra_workflow.report.selections import TITLES
from hra_workflow.tasks.expected_runs import with_errors


def name_of(run: dict) -> str:
    """Return the name of a run: its folder below that of its task."""
    return "{dataset}/{method}/{variant}/seed{seed}".format(**run)


def by_folder(paths: str | list[str] | None, depth: int) -> dict[str, str]:
    """Return the paths of files by the last `depth` names of their folders."""
    return {"/".join(Path(path).parts[-depth - 1 : -1]): path for path in as_list(paths)}


def hole(errors: list[str]) -> dict:
    """Return status and error of a missing result, from its job's error file."""
    for path in map(Path, errors):
        if path.exists():
            return {"status": "failed", "error": " ".join(logs.read_error(path).split())[:500]}
    return {"status": "missing", "error": ""}


def from_record(record: dict) -> dict:
    """Return the columns of the run table that a record has; that of a diverged run lacks some."""
    versions = ";".join(f"{name}={version}" for name, version in sorted(record["versions"].items()))
    model = record["model"]
    row = {name: record[name] for name in run_columns.columns() if name in record} | {"versions": versions}
    if record.get("steps"):
        settings = record["hyperparameters"]
        row["gradient_checkpointing"] = settings.get("gradient_checkpointing")
        # Number of rows that a device processes at a time.
        row["micro_batch"] = settings["batch_size"] // settings["gradient_accumulation"] // record["processes"]
    return row | {"model": model["name"], "model_revision": model["revision"], "model_sha256": model["sha256"]}


def read(path: str | None, expected: dict, errors: list[str]) -> tuple[dict, dict]:
    """Return a result, {} if it is missing, and the status and error if it is missing or outdated."""
    if path is None:
        return {}, hole(errors)
    found = records.read(path)
    differences = made_from.list_differences(found.get(made_from.KEY, {}), expected)
    return found, outdated(f"{', '.join(differences)}; delete {path}") if differences else {}


def outdated(error: str) -> dict:
    return {"status": "outdated", "error": error}


def rows_of(run: dict, trained: dict[str, str], evaluated: dict[str, str], trials: dict) -> list[dict]:
    """Build the rows of one run of the grid. trained, evaluated: paths of the records, by their folders' names.

    trials: why trials are outdated (tuning_results.outdated).
    """
    base, name = {key: run[key] for key in RUN}, name_of(run)
    record, problem = read(trained.get(name), run["record"], run["errors"])
    base = (from_record(record) if record else {}) | base
    if record and (key := tuple(run[name] for name in tuning_results.RUN)) in trials:
        problem = outdated(f"of its trials: {trials[key]}")
    elif not problem and record["status"] == records.DIVERGED:
        problem = {name: record[name] for name in ("status", "error")}
    if problem:
        return [base | problem]
    rows = []
    for benchmark, errors in run["benchmarks"].items():
        base |= {"benchmark": benchmark}
        evaluation, problem = read(evaluated.get(f"{name}/{benchmark}"), run["metrics"][benchmark], errors)
        if problem:
            rows.append(base | problem)
            continue
        common = {"n_items": evaluation["n_items"], "eval_seconds": evaluation["seconds"], "status": "ok"}
        common |= evaluation.get("generation", {})
        for selection in TITLES:
            found = evaluation["selections"].get(selection, {"step": None, "metrics": {}})
            common |= {"selection": selection, "step": found["step"]}
            rows += [base | common | {"metric": metric} | value for metric, value in found["metrics"].items()]
    return rows


def text(value) -> str:
    """Format a value with fixed digits, so that diffs are readable; None becomes empty."""
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def check_complete(task: str, rows: list[dict]) -> None:
    """Raise JobError if results are outdated or missing."""
    others = "append --config incomplete=True to it to build the table from the other results"
    if old := [row for row in rows if row["status"] == "outdated"]:
        raise JobError(
            f"{len(old)} result(s) of {task} are not those that the config specifies: {listed(old)}. Delete the files "
            f"and rerun the same command to make them again, or {others}"
        )
    if missing := [row for row in rows if row["status"] in ("failed", "missing")]:
        raise JobError(
            f"{len(missing)} result(s) of {task} are missing: {listed(missing)}. Rerun the same command to finish "
            f"them, or {others}"
        )


def listed(rows: list[dict]) -> str:
    names = [f"{name_of(row)} ({row['status']}{': ' * bool(row['error'])}{row['error']})" for row in rows[:3]]
    return ", ".join(names) + ", …" * (len(rows) > 3)


@script
def main(job: dict) -> None:
    params = job["params"]
    task, expected = params["task"], with_errors(params["expected"], params["errors"])
    trained = by_folder(job["input"].get("records"), 4)
    evaluated = by_folder(job["input"].get("metrics"), 5)
    trials = tuning_results.outdated(job["input"]["tuning"]) if job["input"].get("tuning") else {}

    rows = [row for run in expected for row in rows_of(run, trained, evaluated, trials)]
    if not params["incomplete"]:
        check_complete(task, rows)
    columns = list(run_columns.columns())
    cells = [{name: text(row.get(name)) for name in columns} | {"task": task} for row in rows]
    table = pd.DataFrame(cells, columns=columns)
    files.write_text(job["output"]["runs"], table.to_csv(index=False, lineterminator="\n"))


if __name__ == "__main__":
    main()
