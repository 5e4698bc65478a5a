"""The results of the studies of results.md as tables; page.py has the commands."""

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import yaml

from hra_workflow import tasks
from hra_workflow.core import files, predictions, records
from hra_workflow.report import comparison
from studies.equal_budgets import sentence_embeddings

STUDY = Path(__file__).parent
RESULTS = STUDY / "results"
TABLES = ("runs", "trials", "contrasts")


class Set(NamedTuple):
    """The scores of a data set. kept: the benchmark and metric that measure what a run has not forgotten, if any."""

    task: str
    dataset: str
    benchmark: str
    metric: str
    contrasts: list[tuple[str, str]]  # contrasts over which Holm's correction is computed
    kept: str
    kept_benchmark: str | None = None
    kept_seeds: int = 5  # the first seeds only, since each takes a minute


OF_PART_A = [("hra/r8", "lora/r4-alpha8"), ("hra/r8", "lora/r8")]
OTHERS = ("hra/r8-inf", "lora/r4-alpha8", "lora/pissa-r8", "dora/r8", "oft/b16", "boft/m2b8", "ia3/outputs", "full/all")
ONLY_SST2 = ("oft/b16", "boft/m2b8")  # on word problems, OFT is in part A, and BOFT was excluded because of its time
WORD_PROBLEMS, ONE_STEP = ("math", "word-problems", "test", "strict"), ("one-step problems", "one_step")
SST2, COSINE = ("glue", "sst2-sentences", "validation", "accuracy"), "STS-B by cosine"
# Parts A and B, by the names of their files in config/ and of their folders; sets by their names on the page. Commit
# 5eb2844 has the others, whose forms of HRA the library no longer has.
STUDIES = {
    "comparison": {
        "word problems": Set(*WORD_PROBLEMS, OF_PART_A, *ONE_STEP),
        "SST-2": Set(*SST2, OF_PART_A, kept=COSINE),
    },
    "comparison_b": {
        "word problems": Set(*WORD_PROBLEMS, [("hra/r8", o) for o in OTHERS if o not in ONLY_SST2], *ONE_STEP),
        "SST-2": Set(*SST2, [("hra/r8", other) for other in OTHERS], kept=COSINE, kept_seeds=3),
    },
}


def config(name: str) -> dict:
    """Return the config of a study, without the configs that it is merged over."""
    return yaml.safe_load((STUDY / f"config/{name}.yaml").read_text())


def read(study: str, table: str) -> pd.DataFrame:
    return pd.read_csv(RESULTS / f"{study}_{table}.csv")


def collect(folder: Path, data: Path) -> None:
    """Read a finished study and write results/{study}_{runs,trials,contrasts}.csv.

    A set whose task was not run in the folder keeps its rows, as when a study's sets were run on different machines.
    """
    name = folder.name
    if name not in STUDIES:
        sys.exit(
            f"{folder}: expected the folder of a study, {' or '.join(STUDIES)}, found another name. For parts C to E, "
            "use commit 5eb2844"
        )
    runs, trials, contrasts = [], [], []
    sets = {title: one for title, one in STUDIES[name].items() if (folder / "results" / one.task).exists()}
    if not sets:
        sys.exit(f"{folder}/results: expected the results of a task of the study, found none. Run the study to its end")
    for title, one in sets.items():
        scored: dict = {}
        for run, seed in final_runs(name, one):
            row, values = final_run(folder / "results" / one.task / one.dataset / run / f"seed{seed}", one)
            runs.append({"set": title, "run": run, "seed": seed} | row)
            scored.setdefault(run, {})[seed] = values
        contrasts += compare(title, one.contrasts, scored, tasks.classes()[one.task].metric(one.metric).function)
        tried = pd.read_csv(folder / "results" / f"tune_{one.task}.csv")
        for _, trial in tried[tried["dataset"] == one.dataset].iterrows():
            run = f"{trial['method']}/{trial['variant']}"
            found = {key: trial[key] for key in ("learning_rate", "metric", "score", "status", "chosen")}
            trials.append({"set": title, "run": run} | found)
    for title, one in sets.items():
        rows = [row for row in runs if row["set"] == title and one.kept == COSINE]
        first = sorted({row["seed"] for row in rows})[: one.kept_seeds]
        if measured := [row for row in rows if row["seed"] in first]:
            sentence_embeddings.add_kept(folder, one.dataset, data, measured)
    if name == "comparison":
        runs += [{"set": "SST-2"} | sentence_embeddings.frozen(folder, data)]
    for table, rows in zip(TABLES, (runs, trials, contrasts), strict=True):
        of_others = [one for one in STUDIES[name] if one not in sets]
        kept = [read(name, table).query("set in @of_others")] if of_others else []
        new = pd.concat([*kept, pd.DataFrame(rows)])
        files.write_text(RESULTS / f"{name}_{table}.csv", new.to_csv(index=False, float_format="%.6g"))


def final_runs(study: str, of: Set) -> list[tuple[str, int]]:
    """List `method/variant` and seed of the runs on a data set."""
    grid = config(study)["tasks"][of.task]["grid"]
    parts = [part for part in grid if of.dataset in part["datasets"]]
    return [(run, seed) for part in parts for run in part["runs"] for seed in part["seeds"]]


def final_run(folder: Path, of: Set) -> tuple[dict, list]:
    """Return a final run's row and its values per item; end the program if it has no final record."""
    if not (folder / "train.json").exists():
        sys.exit(f"{folder}: expected the record of a finished run, found none. Run the study to its end")
    record = records.read(folder / "train.json")
    if record["status"] != "ok":
        sys.exit(f"{folder}: expected a finished run, found one that {record['status']}: {record.get('error')}")
    lines = predictions.read(folder / of.benchmark / "predictions.jsonl.gz")
    row = {
        "score": percent(folder, of.benchmark, of.metric),
        "parameters": record["adapter_parameters"],
        "learning_rate": record["hyperparameters"].get("learning_rate"),
        "seconds": record["seconds"],
        "cpu_share": record.get("cpu_share"),
        "attempts": record["attempts"],  # the seconds of a killed attempt are unknown
        "memory_mb": record["peak_memory_bytes"] / 2**20,
        "commit": record["commit"],
    }
    if of.kept_benchmark:
        row["kept"] = percent(folder, of.kept_benchmark, of.metric)
    return row, tasks.classes()[of.task].per_item(lines, "last", of.metric, {})


def percent(run: Path, benchmark: str, metric: str) -> float:
    """Return a metric of a run's last weights on a benchmark."""
    return 100 * records.read(run / benchmark / "metrics.json")["selections"]["last"]["metrics"][metric]["value"]


def compare(title: str, contrasts: list[tuple[str, str]], scored: dict, statistic) -> list[dict]:
    """Compute the contrasts of one set, with Holm's correction."""
    compared = {run: scored[run] for pair in contrasts for run in pair}
    arrays = {run: {seed: np.array(values, float) for seed, values in of.items()} for run, of in compared.items()}
    estimates = comparison.estimate(arrays, statistic)
    found = [comparison.difference(estimates, *pair, sorted(estimates.value[pair[0]])) for pair in contrasts]
    p = comparison.holm([one.p for one in found])
    equivalent = comparison.holm([one.p_equivalent(comparison.MARGIN / 100) for one in found])
    return [
        {
            "set": title, "run": first, "other": second, "difference": 100 * one.value,
            "low": 100 * one.interval[0], "high": 100 * one.interval[1], "p": one.p, "p_holm": a, "p_equivalent": b,
            "items": one.items, "seeds": one.seeds,
        }
        for (first, second), one, a, b in zip(contrasts, found, p, equivalent, strict=True)
    ]  # fmt: skip
