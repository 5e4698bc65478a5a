"""Write the paper's table from the run table: our mean and std over seeds, the published value, the difference.

The CSV has one row per selection and row of the paper or of our grid. The Markdown file is a readable version, which
starts with the difference of each trained run to the reference (report/verdicts.py).
Published values are in the rows of the task's first checkpoint, that of the official code (best_on_dev for GLUE, last
for math), and are compared only with our column on the same metric scale.
"""

import math

import pandas as pd

from hra_workflow import tasks
from hra_workflow.core import files
from hra_workflow.core.job import script
from hra_workflow.report import column_units, markdown_text, run_statistics, table_notes, verdicts
from hra_workflow.report import selections as checkpoints
from hra_workflow.report.run_statistics import number, signed
from hra_workflow.report.table_notes import Made


def layout(rows: list[dict], published: pd.DataFrame, first: bool = False) -> list[dict]:
    """List the lines of the table: the published rows in their order, our other runs after their method's rows.

    first: put runs of methods that the source lacks before its rows, instead of after them.
    """
    labels = {row["run"]: row["label"] for row in rows}
    lines = [
        {
            "method": cell["method"],
            "setting": cell["setting"],
            "run": cell["run"] if cell["run"] in labels else "",
            "row": cell["row"],
            "kind": cell["run"].split("/")[0],
            "params_M_published": cell["params_M"],
        }
        for cell in published.drop_duplicates("row").to_dict("records")
    ]
    taken, ahead = {line["run"] for line in lines}, []
    for run, label in labels.items():
        if run in taken:
            continue
        kind = run.split("/")[0]
        same = [index for index, line in enumerate(lines) if line["kind"] == kind]
        name, _, rest = label.partition(" ")  # `LoRA, r=8`; `Classifier alone` is not split
        name = name.rstrip(",")
        method, setting = (name, rest) if name.lower() == kind.lower() else (label, "")
        line = {"method": method, "setting": setting, "run": run, "row": None, "kind": kind, "params_M_published": ""}
        if first and not same:
            ahead.append(line)
        else:
            lines.insert(same[-1] + 1 if same else len(lines), line)
    return ahead + lines


def label_of(row: pd.Series, params: dict) -> str:
    """Return the config's label of our run, or the paper's label of a row that we do not run."""
    labels = {entry["run"]: entry["label"] for entry in params["rows"]}
    return labels.get(row["run"]) or f"{row['method']} {run_statistics.readable(row['setting'])}".strip()


def holes(runs: pd.DataFrame, run: str, datasets: list[str]) -> str:
    """List the missing results in the run table's order: `cola: seed 3 (failed: …); rte: seeds 0, 1 (missing)`."""
    ours = runs[(runs["run"] == run) & runs["dataset"].isin(datasets)]
    parts = []
    same = ours[ours["status"] != "ok"].groupby(["dataset", "benchmark", "status", "error"], sort=False)["seed"]
    for (dataset, benchmark, status, error), seeds in same:
        listed = f"seed{'s' * (len(seeds) > 1)} {', '.join(str(int(seed)) for seed in seeds)}"
        why = f": {error[:160]}" if error else ""
        parts.append(f"{f'{dataset} {benchmark}'.strip()}: {listed} ({status}{why})")
    return "; ".join(parts)


def build(runs: pd.DataFrame, published: pd.DataFrame, params: dict) -> pd.DataFrame:
    """Build the table as text, with one row per line of `layout` and selection."""
    units = column_units.units(params)
    datasets = list(dict.fromkeys(column["dataset"] for column in column_units.single(params)))
    scores = run_statistics.scores(runs, column_units.parts(params))
    statistics = run_statistics.summary(scores).to_dict("index")
    theirs = run_statistics.counterparts(published, params["columns"], params.get("averages", {}))
    empty = run_statistics.without_value(scores)
    table = []
    for line in layout(params["rows"], published, run_statistics.source_of(params)["first"]):
        run = line["run"]
        ours = runs[(runs["run"] == run) & runs["dataset"].isin(datasets)]
        selections = params["selections"]
        for selection in selections if run else selections[:1]:
            done = ours[(ours["status"] == "ok") & (ours["selection"] == selection)]
            paper = selection == selections[0]
            row = {name: line[name] for name in ("method", "setting", "run")} | {
                "selection": selection,
                "preset": "+".join(dict.fromkeys(done["preset"])),
                "n_seeds": str(done["seed"].nunique()) if run else "",
                "params_M": number(done["adapter_parameters"].mean() / 1e6, 3),
                "params_M_published": line["params_M_published"] if paper else "",
            }
            for name, unit in units.items():
                places = unit.digits
                cell = statistics.get((run, selection, name), {"mean": math.nan, "std": math.nan, "n": 0})
                value = theirs.get((line["row"], name), math.nan) if paper else math.nan
                wanted = expected_seeds(run, name, params) and run not in empty[name]
                row |= {
                    name: number(cell["mean"], places),
                    f"{name}_std": number(cell["std"], places),
                    f"{name}_n": f"{cell['n']:.0f}" if wanted else "",
                    f"{name}_published": number(value, places),
                    f"{name}_difference": number(cell["mean"] - value, places),
                }
            row["missing"] = holes(runs, run, datasets) if run else ""
            table.append(row)
    return pd.DataFrame(table)


def ours_cell(row: pd.Series, name: str, expected: int) -> str:
    """Format `90.10 ± 0.20 (3/5)`; a missing result is `–`; empty: not in the grid, or without a value."""
    if not row[name]:
        return "–" if row[f"{name}_n"] else ""
    text = row[name] + (f" ± {row[f'{name}_std']}" if row[f"{name}_std"] else "")
    return text if int(row[f"{name}_n"]) >= expected else f"{text} ({row[f'{name}_n']}/{expected})"


def paper_cell(row: pd.Series, name: str) -> str:
    difference = row[f"{name}_difference"]
    return row[f"{name}_published"] + (f" ({signed(difference)})" if difference else "")


def expected_seeds(run: str, name: str, params: dict) -> int:
    """Return the grid's number of seeds for a column; for an average, the smallest of its columns."""
    counts = params["seeds_expected"].get(run, {})
    return min(counts.get(part["dataset"], 0) for part in column_units.parts(params)[name])


def lines_of(row: pd.Series, params: dict, ours: list[str], theirs: list[str] | None, source: str) -> list[list[str]]:
    """Return the Markdown table's line of our run, and that of the published one; either may be missing."""
    lines = [["ours", *ours]] if row["run"] else []
    lines += [[source, *theirs]] if theirs else []
    return [[label, *line] for label, line in zip([label_of(row, params), ""], lines, strict=False)]


def markdown_table(table: pd.DataFrame, params: dict) -> str:
    """Write two lines per row: ours, then the published one with the difference."""
    units, source = column_units.units(params), run_statistics.source_of(params)["label"]

    def cell(row: pd.Series, name: str) -> str:
        text = ours_cell(row, name, expected_seeds(row["run"], name, params))
        return markdown_text.Bold(text) if row[f"{name}_best"] else text

    heads = [f"{name} {unit.arrow}" for name, unit in units.items()]
    lines = [["Method", "", "Params (M) ↓", *heads]]
    for _, row in table.iterrows():
        theirs = [paper_cell(row, name) for name in units]
        ours = [row["params_M"] or "–", *(cell(row, name) for name in units)]
        published = [number(row["params_M_published"] or None, 3), *theirs] if any(theirs) else None
        lines += lines_of(row, params, ours, published, source)
    return markdown_text.two_sources(lines, ["left"] * 2 + ["right"] * (1 + len(heads)))


def markdown(table: pd.DataFrame, runs: pd.DataFrame, found: dict, params: dict, lines: list[str]) -> str:
    """Write the table with its verdicts. found: those of verdicts.compare. lines: the notes."""
    models = ", ".join(dict.fromkeys(name for name in runs["model"] if name)) or "no run yet"
    parts, units = [f"# {params['task']}: {models}\n"], column_units.units(params)
    splits = checkpoints.splits(params["benchmarks"])
    titles, explained = (checkpoints.name_splits(splits, texts) for texts in (checkpoints.TITLES, checkpoints.NOTES))
    first = params["selections"][0]
    if sentences := verdicts.summary(table, first, params):
        parts.append(f"## Verdict: {titles[first].lower()}\n\n{sentences}\n")
    for selection in params["selections"]:
        parts.append(f"## {titles[selection]}\n\n{explained[selection]}\n")
        parts.append(markdown_table(table[table["selection"] == selection], params))
        if cells := verdicts.cells(found, selection, units, params):
            parts.append(f"### Differences to the reference: {titles[selection].lower()}\n\n{cells}")
    parts.append("## Notes\n\n" + "\n".join(f"- {line}" for line in lines) + "\n")
    return "\n".join(parts)


@script
def main(job: dict) -> None:
    params = job["params"]
    runs = run_statistics.read_runs(job["input"]["runs"])
    published = run_statistics.read_published(job["input"].get("published"))
    differences, units = run_statistics.read_csv(job["input"]["comparison"]), column_units.units(params)
    trials = run_statistics.read_csv(job["input"]["trials"]) if job["input"].get("trials") else None
    kind = tasks.classes()[params["task"]]

    table = build(runs, published, params)
    table, found = verdicts.compare(table, differences, units, params)
    made = Made(table, runs, published, differences, params, kind, trials)
    text = markdown(table, runs, found, params, table_notes.lines(made))
    files.write_text(job["output"]["csv"], table.to_csv(index=False, lineterminator="\n"))
    files.write_text(job["output"]["markdown"], text)


if __name__ == "__main__":
    main()
