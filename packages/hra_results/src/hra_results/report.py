"""Write tables, figures, contact sheets and every run of a folder of results to one HTML file.

It is readable without a network. The tables are those of table_{task}.md, so numbers are formatted only once.
"""

from collections import Counter, defaultdict
from pathlib import Path

import pandas as pd

from hra_results import all_runs, contents, html_page, runs
from hra_workflow.core import files
from hra_workflow.core.errors import JobError
from hra_workflow.report import run_statistics


def section(name: str, facts: dict) -> dict:
    """Return the part of the page about one task."""
    made = [runs.describe(name, facts, expected) for expected in facts["expected"]]
    table = run_statistics.read_csv(facts["tables"][0])
    lines = [headline(table, column, facts) for column in facts["plotted"]["parameters"]]
    return {
        "name": name,
        "title": facts["title"],
        "model": facts["model"],
        "datasets": list(facts["datasets"]),
        "methods": list(facts["labels"].values()),
        "seeds": sorted({run["seed"] for run in made}),
        "published": facts["published"],
        "titles": facts["titles"],
        "selection": facts["titles"][facts["selection"]].lower(),
        "states": Counter(run["state"] for run in made),
        "headline": [line for line in lines if line],
        "warnings": facts["warnings"],
        "tables": [html_page.markdown(path.with_suffix(".md").read_text("utf-8"), 3) for path in facts["tables"]],
        "figures": figures(facts) if any(lines) else [],
        "sheets": {dataset: html_page.sheet(path) for dataset, path in facts["sheets"].items()},
        "runs": made,
        "all_runs": all_runs.contents(name, facts, made),
    }


def headline(table: pd.DataFrame, column: str, facts: dict) -> dict | None:
    """Return the trained run with the best mean of a column for the task's first checkpoint; None without a result.

    `verdict`: the sentence on the best mean of a method that is not a baseline, else on the best mean with a sentence.
    """
    rows = table[(table["selection"] == facts["selection"]) & table["run"].isin(facts["trained"])]
    rows = rows[rows[column] != ""].set_index("run")
    if rows.empty:
        return None
    lower = rows[f"{column}_better"].iloc[0] == "lower"
    ranked = rows.iloc[(pd.to_numeric(rows[column]) * (1 if lower else -1)).argsort(kind="stable")]
    first, verdicts = ranked.iloc[0], ranked.loc[ranked[f"{column}_verdict"] != "", f"{column}_verdict"]
    own = verdicts[~verdicts.index.isin(facts["baselines"])]
    return {
        "column": column,
        "extreme": "Lowest" if lower else "Highest",
        "label": facts["labels"][first.name],
        "verdict": next(iter([*own, *verdicts]), None),
        "value": first[column] + (f" ± {first[f'{column}_std']}" if first[f"{column}_std"] else ""),
        "published": first[f"{column}_published"],
    }


def figures(facts: dict) -> list[dict]:
    """Return the figures with captions."""
    plotted = {name: ", ".join(columns) for name, columns in facts["plotted"].items()}
    hollow = " Hollow markers: the published values." * bool(facts["published"])
    captions = {
        "parameters": f"Adapter parameters against {plotted['parameters']}: mean ± std over seeds.{hollow}",
        "lambda": f"Weight λ of the orthogonality penalty against {plotted['lambda']}.{hollow}",
    }
    drawn = facts["figures"].items()
    return [{"name": name, "caption": captions[name]} | html_page.drawing(path) for name, path in drawn]


def summary(sections: list[dict], content: dict) -> dict:
    """Return the runs, machines, times and code for the head of the page."""
    records = [run["record"] for one in sections for run in one["runs"] if run["record"]]
    hours: dict[str, dict[str, float]] = defaultdict(lambda: {"training": 0.0, "tuning": 0.0})
    for record in records:
        seconds = record["seconds"] * record["processes"] / record["runs_per_gpu"]
        hours[record["device"]]["training"] += seconds / 3600
    for path in (path for one in sections for path in content["tasks"][one["name"]]["trials"]):
        trials = run_statistics.read_csv(path)
        seconds = pd.to_numeric(trials["device_seconds"]).groupby(trials["device"]).sum()
        for device, spent in seconds[seconds > 0].items():
            hours[device]["tuning"] += spent / 3600
    versions = Counter(
        ", ".join(f"{name} {version}" for name, version in record["versions"].items()) for record in records
    )
    commits = Counter(code(record) for record in records)
    local = [f"{one['name']}: {name}" for one in sections for name in content["tasks"][one["name"]]["local"]]
    return {
        "states": sum((one["states"] for one in sections), Counter()),
        "started": min((record["started"] for record in records if record["started"]), default=None),
        "finished": max((record["finished"] for record in records), default=None),
        "hours": dict(hours),
        "commits": dict(commits),
        "commit": max(
            (record for record in records if record["commit"]), key=lambda one: one["finished"], default=None
        ),
        "versions": dict(versions),
        "targets": [one["name"] for one in sections],
        "local": local,
        "results": content["results"],
        "modules": content["modules"],
        "changes": content["changes"],
    }


def code(record: dict) -> str:
    """Describe the version of a run's code."""
    if not record["commit"]:
        return "not from a git checkout"
    return record["commit"][:12] + " with uncommitted changes" * bool(record["dirty"])


def write(folder: Path, page: Path) -> str:
    """Write the page about a folder of results, and return its text."""
    content = contents.read(folder)
    sections = [section(name, facts) for name, facts in content["tasks"].items()]
    sections = [one for one in sections if one["states"].keys() - {"missing"}]
    if not sections:
        raise JobError(
            f"{folder}: expected the results of at least one run of {', '.join(content['tasks'])}, found none. Run a "
            "table first, e.g. results/table_glue.csv."
        )
    text = html_page.render(sections=sections, summary=summary(sections, content))
    files.write_text(page, text)
    return text


def run(folder: Path, to: Path | None) -> int:
    """Write the page about a folder of results, by default in it, and print its path."""
    page = to or folder / "report.html"
    text = write(folder, page)
    print(f"{page}: everything in one file, for a browser ({len(text.encode()) / 1e6:.1f} MB)")
    return 0
