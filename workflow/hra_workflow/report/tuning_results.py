"""The trials of hyper-parameters as a table, the best of them, and notes for readers of the results."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from hra_workflow.core import made_from, records, tuning
from hra_workflow.core.errors import JobError, expect
from hra_workflow.report import markdown_text, run_statistics

RUN = ["dataset", "method", "variant"]
OUTDATED = "outdated"
COLUMNS = [
    "metric", "score", "status", "chosen", "held_out_rows", "train_rows", "steps", "seconds", "device_seconds",
    "device", "error",
]  # fmt: skip


def table(trials: list[dict], expected: list[dict], incomplete: bool = False) -> pd.DataFrame:
    """Build one row per trial and seed; a trial whose record does not exist is missing.

    trials: those of hra_workflow/tasks/tuned_runs.py. expected: what each is made from (core/made_from.py). The
    score is on the held-out rows, or NaN. Raises JobError for a record of another trial, config, dataset or version;
    with `incomplete`, such a trial is outdated and has no score.
    """
    rows = [row(*one) for one in zip(trials, expected, strict=True)]
    old = [one["error"] for one in rows if one["status"] == OUTDATED]
    if old and not incomplete:
        raise JobError(
            f"{len(old)} trial(s) are not those that the config specifies: {', '.join(old)}. Delete the files and "
            "rerun the same command to make them again."
        )
    return pd.DataFrame(rows)


def outdated(path: str) -> dict[tuple[str, ...], str]:
    """Return the errors of outdated trials in tune_{task}.csv by `RUN`; a run of which there are none is missing."""
    trials = run_statistics.read_csv(path)
    return trials[trials["status"] == OUTDATED].groupby(RUN)["error"].agg(", ".join).to_dict()


def row(trial: dict, expected: dict) -> dict:
    path, record = Path(trial["record"]), {"status": "missing"}
    if path.exists():
        record = records.read(path)
        if differences := made_from.list_differences(record.get(made_from.KEY, {}), expected):
            record = {"status": OUTDATED, "error": f"{', '.join(differences)}; delete {path}"}
    score = record.get("held_out", {})
    return {name: trial[name] for name in (*RUN, "trial", "seed", "values")} | {
        "metric": score.get("metric", ""),
        "score": score.get("value", float("nan")),
        "status": record["status"],
        "held_out_rows": score.get("rows"),
        "train_rows": score.get("train_rows"),
        **{key: record.get(key) for key in ("steps", "seconds")},
        "device_seconds": record.get("device_seconds", record.get("seconds")),
        "device": record.get("device", ""),
        "error": record.get("error", ""),
    }


def best(trials: pd.DataFrame, kind) -> str | None:
    """Return the trial of one run with the best score, the first of equal ones; None if none has a score.

    kind: the tasks.base.Task of the task.
    """
    lower = any(kind.metric(name).better == "lower" for name in filter(None, trials["metric"].unique()))
    scored = trials.dropna(subset="score").sort_values("score", ascending=lower, kind="stable")
    return next(iter(scored["trial"]), None)


def check_choice(path: str, trials: pd.DataFrame, kind) -> None:
    """Raise JobError unless the choice `path` has the values of the best of a run's trials."""
    found, name = tuning.chosen_values(path), best(trials, kind)
    values = trials.loc[trials["trial"] == name, "values"].iloc[0] if name else {}
    expect(
        found == values,
        f"{path}: expected the values of the best trial, {values}, found {found}. Delete it and run again: they are "
        "chosen again.",
    )


def notes(task: str, trials: pd.DataFrame, labels: dict[str, str]) -> Iterator[str]:
    """Describe the budget, and name the runs without a chosen value, in Markdown.

    trials: tune_{task}.csv, as text. labels: the labels by `method/variant`.
    """
    keys = values_of(trials)
    groups = trials.groupby(RUN, sort=False)
    budget, seeds = groups["trial"].nunique().max(), trials["seed"].nunique()
    done = trials[trials["held_out_rows"] != ""]
    rows = " or ".join(dict.fromkeys(done["held_out_rows"]))
    metrics = " or ".join(dict.fromkeys(done["metric"]))
    yield (
        f"Tuned: {', '.join(keys)}, in {budget} trials with {seeds} seed{'s' * (seeds > 1)} for each tuned run "
        f"and dataset, by {metrics or 'no score yet'} on {rows or 'no'} held-out rows of the training data. No trial "
        f"reads what is reported. `tune_{task}.csv` has every trial and the chosen values."
    )
    lost = [
        markdown_text.plain(f"{labels[f'{method}/{variant}']} on {dataset}")
        for (dataset, method, variant), group in groups
        if not (group["chosen"] == "true").any()
    ]
    if lost:
        yield f"**No trial has a score**: {', '.join(lost)}."


def values_of(trials: pd.DataFrame) -> list[str]:
    """List the columns of tune_{task}.csv that are hyper-parameters."""
    names = list(trials.columns)
    return names[names.index("seed") + 1 : names.index(COLUMNS[0])]
