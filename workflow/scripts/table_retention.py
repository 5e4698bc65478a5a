"""Write the paper's Table 3: the base model's other abilities that remain after fine-tuning on mathematics.

It has, per benchmark, our mean and std over seeds, the published value and the difference, as in table.py, and the
overall impact, which the paper defines as the mean over the benchmarks of (tuned − base) / base.
"""

from pathlib import Path

import pandas as pd

from hra_workflow.core import files, made_from, records
from hra_workflow.core.errors import JobError
from hra_workflow.core.job import as_list, script
from hra_workflow.report import markdown_text, run_statistics
from table import layout, lines_of, number, ours_cell, paper_cell

IMPACT, LEFT_OUT = "Overall impact", "not run"


def read(paths: list[str], expected: dict[str, dict], evaluations: dict[str, dict]) -> pd.DataFrame:
    """Read one row per run, seed and benchmark, in percent; diverged runs have none.

    Raises JobError for an outdated run. expected: what each run is made from, by its path
    (core/made_from.py). evaluations: what its results are made from.
    """
    rows = []
    for path in paths:
        found, record = records.read(path), records.read(Path(path).with_name("train.json"))
        if found.get("status") == records.DIVERGED:
            continue
        run, seed = f"{found['method']}/{found['variant']}", found["seed"]
        differences = made_from.list_differences(record.get(made_from.KEY, {}), expected[path])
        differences += made_from.list_differences(found.get(made_from.KEY, {}), evaluations[path])
        if differences:
            raise JobError(
                f"{path}: expected the run that the config specifies, found {', '.join(differences)}. Delete it and "
                "the run's train.json, and run again."
            )
        for name, entry in found["benchmarks"].items():
            protocol = f"{entry['task']} (version {entry['task_version']}), {entry['shots']} shots, {entry['metric']}"
            protocol += f", lm-eval {found['lm_eval']}"
            if found["limit"]:
                protocol += f", only {found['limit']} items of each task"
            value = {"run": run, "seed": seed, "benchmark": name, "value": 100 * entry["value"]}
            rows.append(value | {"protocol": protocol})
    return pd.DataFrame(rows, columns=["run", "seed", "benchmark", "value", "protocol"])


def impact(scores: pd.DataFrame, base: pd.Series) -> pd.Series:
    """Compute the impact in percent for every row of `scores` with all benchmarks; none if a base score is 0."""
    base = base.where(base != 0)
    return 100 * ((scores - base) / base).mean(axis=1, skipna=False)


def build(values: pd.DataFrame, published: pd.DataFrame, params: dict) -> pd.DataFrame:
    """Build the table as text, with one row per line of `layout`."""
    names, base, left_out = params["benchmarks"], params["base"], params["left_out"]
    scores = values.pivot(index=["run", "seed"], columns="benchmark", values="value").reindex(columns=names)
    scores = scores.drop(columns=left_out)
    means = scores.groupby("run").mean().reindex([row["run"] for row in params["rows"]])
    scores[IMPACT] = impact(scores, means.loc[base])
    theirs = published.set_index(["row", "column"])["value"].to_dict()
    table = []
    for line in layout(params["rows"], published):
        run = line["run"]
        ours = scores[scores.index.get_level_values("run") == run]
        row = {name: line[name] for name in ("method", "setting", "run")}
        row["n_seeds"] = str(len(ours)) if run else ""
        for name in [*names, IMPACT]:
            shown = name not in left_out and (run, name) != (base, IMPACT)
            cell = ours[name] if shown else pd.Series(dtype=float)
            paper, mean = theirs.get((line["row"], name)), cell.mean()
            alike = paper and not (name == IMPACT and left_out)  # the paper's impact is over all benchmarks
            row |= {
                name: number(mean),
                f"{name}_std": number(cell.std()),
                f"{name}_n": str(cell.count()) if run and name not in left_out else "",
                f"{name}_published": number(paper and float(paper)),
                f"{name}_difference": number(mean - float(paper) if alike else None),
            }
        table.append(row)
    return pd.DataFrame(table)


def markdown(table: pd.DataFrame, values: pd.DataFrame, published: pd.DataFrame, params: dict) -> str:
    """Write two lines per row: ours, then the paper's with the difference."""
    names, seeds = [*params["benchmarks"], IMPACT], len(params["seeds"])
    lines = [["Method", "", *(f"{name} ↑" for name in [*names[:-1], f"{IMPACT} (%)"])]]
    for _, row in table.iterrows():
        expected = {name: 0 if (row["run"], name) == (params["base"], IMPACT) else seeds for name in names}
        ours = [LEFT_OUT if name in params["left_out"] else ours_cell(row, name, expected[name]) for name in names]
        theirs = [paper_cell(row, name) for name in names]
        lines += lines_of(row, params, ours, theirs if any(theirs) else None, "paper")
    drawn = markdown_text.two_sources(lines, ["left"] * 2 + ["right"] * len(names))
    listed = "\n".join(f"- {line}" for line in notes(values, published, params))
    return f"# Retention\n\n{drawn}\n## Notes\n\n{listed}\n"


def notes(values: pd.DataFrame, published: pd.DataFrame, params: dict) -> list[str]:
    """List the notes that readers need to compare numbers."""
    lines = [
        "Percent. `mean ± std` over n seeds (sample standard deviation; none for n = 1). `(3/5)`: 3 of 5 seeds are "
        "available; `–`: none.",
        f"{IMPACT}: the mean over the benchmarks of (tuned − base) / base, per seed against the mean of the base; "
        "empty for a seed that lacks a benchmark, or where the base's score is 0.",
    ]
    if params["left_out"]:
        lines.append(
            f"`{LEFT_OUT}`: {', '.join(params['left_out'])} executes programs written by the model, which this config "
            f"does not allow (`unsafe_code: false`). Our {IMPACT} is the mean over the other benchmarks and is not "
            "compared with the paper's, which is over all benchmarks."
        )
    for name in (name for name in params["benchmarks"] if name not in params["left_out"]):
        found = values.loc[values["benchmark"] == name, "protocol"].unique()
        mixed = "**mixed, so the values in its column are not comparable**: " if len(found) > 1 else ""
        lines.append(f"{name}: {mixed}{'; '.join(found) or 'no result yet'}.")
    if len(published):
        lines.append(
            "Signed numbers in brackets: ours − paper. The paper does not specify harness, shots, r or λ for this "
            "table, and calls the training data MATHQA without specifying the dataset."
        )
    return lines


@script
def main(job: dict) -> None:
    params = job["params"]
    values = read(as_list(job["input"].get("metrics")), params["expected"], params["evaluations"])
    published = run_statistics.read_published(job["input"].get("published"))
    table = build(values, published, params)
    files.write_text(job["output"]["csv"], table.to_csv(index=False, lineterminator="\n"))
    files.write_text(job["output"]["markdown"], markdown(table, values, published, params))


if __name__ == "__main__":
    main()
