"""Write the report: one HTML file with tables, figures, contact sheets and every run, readable without a network.

The tables are those of table_{task}.md, so numbers are formatted only once.
"""

import pkgutil
from collections import Counter, defaultdict
from pathlib import Path

import pandas as pd

from hra_results import html_page
from hra_workflow import tasks
from hra_workflow.core import files, made_by, predictions, records, seals
from hra_workflow.core.errors import JobError
from hra_workflow.core.job import start, tail
from hra_workflow.data import data_cards, images, leaks
from hra_workflow.report import all_runs, class_scores, run_statistics, selections, unseen, user_functions
from hra_workflow.report.image_grid import evenly_spaced
from hra_workflow.tasks.images import ImageEvaluation

EXAMPLES = 4  # maximum predictions per benchmark of a run
THUMBNAIL, LONGEST = 160, 600  # pixels, characters
LOG_LINES = 15


def section(name: str, facts: dict) -> dict:
    """Return the part of the page about one task."""
    runs = [run_of(name, facts, expected) for expected in facts["expected"]]
    table = run_statistics.read_sealed(facts["tables"][0])
    lines = [headline(table, column, facts) for column in facts["plotted"]["parameters"]]
    return {
        "name": name,
        "title": facts["title"],
        "model": facts["model"],
        "datasets": list(facts["datasets"]),
        "methods": list(facts["labels"].values()),
        "seeds": sorted({run["seed"] for run in runs}),
        "published": facts["published"],
        "titles": (titles := titles_of(facts)),
        "selection": titles[facts["selection"]].lower(),
        "states": Counter(run["state"] for run in runs),
        "headline": [line for line in lines if line],
        "warnings": [*data_cards.warnings(facts["data"]), *leaks.warnings(facts["benchmarks"])],
        "tables": [html_page.markdown(seals.read(Path(path).with_suffix(".md")), 3) for path in facts["tables"]],
        "figures": figures(facts, runs) if any(lines) else [],
        "sheets": {dataset: html_page.sheet(path) for dataset, path in facts["sheets"].items()},
        "runs": runs,
        "all_runs": all_runs.contents(name, facts, titles, runs),
    }


def titles_of(facts: dict) -> dict[str, str]:
    return selections.name_splits(selections.splits(facts["benchmarks"]), selections.TITLES)


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
        "unseen": unseen.text(first, unseen.NAME.format(column)),
        "published": first[f"{column}_published"],
    }


def figures(facts: dict, runs: list[dict]) -> list[dict]:
    """Return the figures that have contents, with captions."""
    plotted = {name: ", ".join(columns) for name, columns in facts["plotted"].items()}
    hollow = " Hollow markers: the published values." * bool(facts["published"])
    curves = " and ".join(dict.fromkeys(run["curve"]["title"] for run in runs if run["curve"]))
    captions = {
        "parameters": f"Adapter parameters against {plotted['parameters']}: mean ± std over seeds.{hollow}",
        "pareto": f"Device time and peak memory against {plotted['parameters']}. No run beats a named one in both.",
        "stability": "Score against what is left of the base model. No run beats a named one in both.",
        "lambda": f"Weight λ of the orthogonality penalty against {plotted['lambda']}.{hollow}",
        "curves": f"During training: {curves}, mean over seeds with a band of one std.",
        "tuning": "Trials of hyper-parameters: score on held-out training rows. Large markers: the chosen values.",
    }
    return [
        {"name": name, "caption": captions[name]} | html_page.drawing(path)
        for name, path in facts["figures"].items()
        if curves or name != "curves"
    ]


def run_of(task: str, facts: dict, expected: dict) -> dict:
    """Return the page's contents for one run: its state, record, scores, curve and a few predictions."""
    folder, dataset = Path(expected["folder"]), facts["datasets"][expected["dataset"]]
    record = records.read(folder / "train.json") if (folder / "train.json").exists() else None
    evaluations, failures = [], [] if record else failed(expected["errors"])
    diverged = record and record["status"] == records.DIVERGED
    if diverged:
        failures = [{"rule": "training", "time": record["finished"], "error": record["error"], "tail": ""}]
        record = None
    for benchmark, errors in expected["benchmarks"].items() if not diverged else ():
        path = folder / benchmark / "metrics.json"
        found = records.read(path) if path.exists() else {}
        if "selections" not in found:  # missing, or of an earlier training, which diverged
            failures += failed(errors)
            continue
        inputs = dataset["inputs"]
        more = {"examples": [], "classes": []}
        if benchmark in inputs:
            more["examples"] = examples(task, path.parent, dataset, inputs[benchmark], titles_of(facts))
            more["classes"] = per_class(task, path.parent, dataset, facts["selection"])
        main = dataset["scores"].get(benchmark, found["score"])
        several = len(expected["benchmarks"]) > 1
        evaluations.append(found | main_score(found, facts["selection"], main, several) | more)
    complete = record and len(evaluations) == len(expected["benchmarks"])
    curve = (
        [point["metrics"][record["score"]] for point in record["curve"] if record["score"] in point["metrics"]]
        if record
        else []
    )
    label = facts["labels"][f"{expected['method']}/{expected['variant']}"]
    colour = facts["colours"][expected["method"]]
    return {key: expected[key] for key in ("dataset", "method", "variant", "seed", "folder")} | {
        "anchor": f"{task}-{expected['dataset']}-{expected['method']}-{expected['variant']}-{expected['seed']}",
        "label": label,
        "colour": colour,
        "state": "finished" if complete else "diverged" if diverged else "failed" if failures else "missing",
        "record": record,
        "curve": {"points": html_page.polyline(curve), "first": curve[0], "last": curve[-1], "title": title_of(record)}
        if len(curve) > 1
        else None,
        "rotation": rotation(folder / "last", expected["measure"]) if record else None,
        "evaluations": evaluations,
        "failures": failures,
    }


def rotation(adapter: Path, measure: str | None) -> dict | None:
    """Summarise the angle and the orthogonality of an adapter's layers; None: its method is not a rotation."""
    if not measure:
        return None
    layers = pkgutil.resolve_name(measure)(str(adapter))
    largest = max(layers, key=lambda layer: layer["angle"])
    orthogonality = [layer["orthogonality"] for layer in layers]
    return {
        "points": html_page.polyline([layer["angle"] for layer in layers]),
        "layers": len(layers),
        "largest": largest,
        "smallest": min(layer["angle"] for layer in layers),
        "orthogonality": (min(orthogonality), max(orthogonality)),
    }


def title_of(record: dict) -> str:
    """Name the score of a run's curve: `accuracy on held-out training rows`."""
    title = tasks.classes()[record["task"]].table.metric(record["score"]).title
    return title + " on held-out training rows" * run_statistics.on_held_out_rows(record)


def main_score(found: dict, selection: str, metric: str, several: bool) -> dict:
    """Return `main`, such as `0.9010 accuracy`, with the benchmark's name if a dataset has several, and `error`."""
    chosen = found["selections"].get(selection) or found["selections"].get("last", {"metrics": {}})
    value = chosen["metrics"].get(metric)
    if value is None or value["value"] is None:
        return {"main": "–", "error": "–"}
    text = f"{value['value']:.4f} {metric}" + f" ({found['benchmark']})" * several
    return {"main": text, "error": "–" if value["stderr"] is None else f"{value['stderr']:.4f}"}


def per_class(task: str, folder: Path, dataset: dict, selection: str) -> list[dict]:
    """Return the scores of each class from the predictions of a benchmark; [] unless it is a classification."""
    path, labels = folder / "predictions.jsonl.gz", dataset.get("labels")
    if not labels or not path.exists():
        return []
    return class_scores.scores(tasks.classes()[task].table.per_item(predictions.read(path), selection, "", {}), labels)


def failed(errors: list[str]) -> list[dict]:
    """Return the failures in these error files, with the tail of the job's log."""
    found = []
    for path in map(Path, errors):
        if path.exists():
            content = files.read_json(path)
            log = Path(content.get("log") or "/nowhere")  # older error files lack it
            found.append(content | {"tail": tail(log, LOG_LINES) if log.exists() else ""})
    return found


def examples(task: str, folder: Path, dataset: dict, inputs: str | None, names: dict = selections.TITLES) -> list[dict]:
    """Return a few evenly spaced predictions: their `texts` by heading, and `url`, the generated image or None."""
    kind, path, archive = tasks.classes()[task], folder / "predictions.jsonl.gz", folder / "images.tar"
    generated = issubclass(kind.evaluation, ImageEvaluation)
    if not path.exists() or (generated and not archive.exists()):  # real images are not generated
        return []
    lines = predictions.read(path)
    last = max((line.get("step", 0) for line in lines), default=0)  # subjects: one set of images per epoch
    lines = [line for line in lines if line.get("step", 0) == last]
    chosen = [lines[index] for index in evenly_spaced(len(lines), EXAMPLES)]
    rows = pd.read_parquet(inputs) if inputs and Path(inputs).exists() else None
    urls = thumbnails(archive, chosen) if archive.exists() else {}
    found = []
    for place, line in enumerate(chosen):
        row = rows.iloc[line["item"]].to_dict() if rows is not None else {}
        texts = kind.table.example(line, row, dataset)
        named = {names.get(name, name): text for name, text in texts.items()}
        short = {name: text if len(text) <= LONGEST else f"…{text[-LONGEST:]}" for name, text in named.items()}
        found.append({"texts": short, "url": urls.get(place)})
    return found


def thumbnails(archive: Path, lines: list[dict]) -> dict[int, str]:
    """Return the images of these predictions as data URLs, by the index of their line."""
    made_by.check_place(archive, images.made_by(archive))
    identity = (
        "step",
        "prompt_index",
        "index",
        "row",
        "key",
    )  # keys in both a task's images and predictions

    def place(about: dict) -> int | None:
        def same(line: dict) -> bool:
            return all(line[name] == about[name] for name in identity if name in line and name in about)

        return next((index for index, line in enumerate(lines) if same(line)), None)

    found = images.unpack(archive, lambda about: place(about) is not None)
    return {place(one.about): html_page.image(one.image, THUMBNAIL, 70) for one in found if one.png}


def summary(sections: list[dict], params: dict) -> dict:
    """Return the runs, machines, times and code for the head of the page."""
    records = [run["record"] for one in sections for run in one["runs"] if run["record"]]
    hours: dict[str, dict[str, float]] = defaultdict(lambda: {"training": 0.0, "tuning": 0.0})
    for record in records:
        seconds = record["seconds"] * record["processes"] / record["runs_per_gpu"]
        hours[record["device"]]["training"] += seconds / 3600
    for path in (path for one in sections for path in params["tasks"][one["name"]]["trials"]):
        trials = run_statistics.read_sealed(path)
        seconds = pd.to_numeric(trials["device_seconds"]).groupby(trials["device"]).sum()
        for device, spent in seconds[seconds > 0].items():
            hours[device]["tuning"] += spent / 3600
    versions = Counter(
        ", ".join(f"{name} {version}" for name, version in record["versions"].items()) for record in records
    )
    commits = Counter(code(record) for record in records)
    local = [f"{one['name']}: {name}" for one in sections for name in params["tasks"][one["name"]]["local"]]
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
        "modules": user_functions.modules(name for task in params["tasks"].values() for name in task["functions"]),
        "changes": params["changes"],
    }


def code(record: dict) -> str:
    """Describe the version of a run's code."""
    if not record["commit"]:
        return "not from a git checkout"
    return record["commit"][:12] + " with uncommitted changes" * bool(record["dirty"])


def main(job: dict) -> None:
    params = job["params"]
    sections = [section(name, facts) for name, facts in params["tasks"].items()]
    sections = [one for one in sections if one["states"].keys() - {"missing"}]
    if not sections:
        raise JobError(
            f"{job['output']['html']}: expected the results of at least one run of {', '.join(params['tasks'])}, found "
            "none. Run a table first, e.g. results/table_glue.csv."
        )
    page = html_page.render(sections=sections, summary=summary(sections, params))
    made_from = [path for facts in params["tasks"].values() for path in (facts["runs"], *facts["tables"])]
    seals.write(job["output"]["html"], page, made_from)
    print(f"{job['output']['html']}: {len(page.encode()) / 1e6:.1f} MB")


if __name__ == "__main__":
    start(main, __file__, globals().get("snakemake"))
