"""Estimate the cost of the paper's tables on different GPUs: for each, rehearse and then plan.

    python -m fakegpu.workflow.cards FOLDER [CARD …]    rehearse on these cards (20 minutes each on two quiet cores), or
                                                        read their results in FOLDER; write results/cards.csv, the rates
                                                        of the jobs to results/rehearsed.csv, and gpus.md
    python -m fakegpu.workflow.cards                    write the table of gpus.md from results/cards.csv

If the default settings do not fit a card, gpus.md has a config for it, which this command uses.
"""

import argparse
import csv
import json
import re
import subprocess
from pathlib import Path

import yaml

from fakegpu import cuda
from fakegpu.workflow import probes
from hra_workflow.core import files, grid
from hra_workflow.core.wording import number

PACKAGE, ROOT = Path(__file__).parents[3], Path(__file__).parents[5]
RESULTS, PAGE = PACKAGE / "results/cards.csv", PACKAGE / "gpus.md"
RATES = RESULTS.with_name("rehearsed.csv")  # seconds per row of every rehearsed job, from which a plan has its hours
ALL = "all"
TABLES = {
    "glue": "Table 2, GLUE",
    "math": "Figure 1c, Tables 6 and 7, mathematics",
    "retention": "Table 3, retention",
    "subject": "Table 4, left, subjects",
    "control": "Table 4, right, control",
    ALL: "all",
}
TASKS = {"retention": "math"}  # tasks of tables that are not named after their task
GPUS = 8
DEFAULT = "h100"  # the card of the default settings
SIZES = {name: card.total_memory for name, card in cuda.CARDS.items()}
MARKED = re.compile(r"(<!-- (cards|stages) -->\n).*?(<!-- end -->)", re.DOTALL)
STAGES = {"train": "training", "generate": "generation", "evaluate": "evaluation"}
COLUMNS = ("card", "table", "settings", "gpu_hours", *STAGES, "longest_hours", "peak_bytes", "needed_bytes", "fits")
OF_RATE = ("card", "task", "stage", "kind", "run", "seconds_per_row", "busy_per_row")
Rows = dict[tuple[str, str], dict]  # by card and table


def settings(page: Path = PAGE) -> dict[str, str]:
    """Return the page's configs: card → text."""
    return dict(re.findall(r"```yaml\n# card (\S+)\n(.*?)```", page.read_text(), re.DOTALL))


def rehearse(folder: Path, card: str) -> Path:
    """Rehearse all tables on a card, unless the folder has its results; return the config of its folders."""
    config, own = folder / f"{card}.yaml", folder / card
    places = {name: str(own / name) for name in ("results", "resources", "scratch", "logs")}
    own.mkdir(parents=True, exist_ok=True)
    config.write_text(yaml.safe_dump({"pathvars": places}) + settings().get(card, ""))
    if not files.read_if_valid(own / "results/rehearsal.json").get("jobs"):
        # It fails if a job does not fit, which the results record.
        asked = ["preflight=True", f"probes={json.dumps(probes.config(card)['probes'])}"]
        snakemake(config, "--cores", "2", "--keep-going", "--config", *asked, "--", "preflight")
    return config


def snakemake(config: Path, *options: str) -> None:
    subprocess.run(["snakemake", "--configfile", config, *options], cwd=ROOT, check=False)


def planned(jobs: list[dict], card: str) -> dict[str, dict]:
    """Add up the jobs of a plan: table → GPU-hours, also by stage, and the hours of the longest run."""
    found = {}
    for table in TABLES:
        own = [job for job in jobs if job["gpus"] and (table == ALL or f"table_{table}" in job["tables"])]
        hours, walls = dict.fromkeys(STAGES, 0.0), {}
        for job in own:
            stage = stage if (stage := job["rule"].partition("_")[0]) in STAGES else "generate"
            hours[stage] += job["hours_left"] or 0.0
            if "method" in job["wildcards"]:  # the stages of a run follow one another, the jobs of a stage do not
                run = walls.setdefault(run_of(job), {})
                run[job["rule"]] = max(run.get(job["rule"], 0.0), wall_hours(job, card))
        longest = max((sum(stages.values()) for stages in walls.values()), default=0.0)
        numbers = {"gpu_hours": sum(hours.values()), "longest_hours": longest} | hours
        found[table] = {name: float(f"{value:.3g}") for name, value in numbers.items()}
    return found


def run_of(job: dict) -> tuple:
    return tuple(job["wildcards"].get(name) for name in ("task", "dataset", "method", "variant", "seed"))


def wall_hours(job: dict, card: str) -> float:
    """Return the estimated hours from a job's start to its end."""
    shared = sharing(job, job["wildcards"].get("task", ""), card)
    return (job["hours_left"] or 0.0) * shared / job["gpus"]


def memory(results: Path, card: str) -> dict[str, dict]:
    """Return by task the peak of its largest job, the total of runs that share a GPU, and whether all jobs fit.

    These are results of the rehearsal.
    """
    jobs = [job for job in files.read_json(results / "rehearsal.json")["jobs"] if job.get("gpu", 1)]
    found = {}
    for task in {table for table in TABLES if table != ALL} - TASKS.keys():
        own = [job for job in jobs if task in (job["wildcards"].get("task"), job["rule"].rpartition("_")[2])]
        if own:
            shared = [job["peak_bytes"] * sharing(job, task, card) for job in own]
            peak = max(job["peak_bytes"] for job in own)
            found[task] = {"peak_bytes": peak, "needed_bytes": max(shared), "fits": max(shared) <= SIZES[card]}
    return found


def sharing(job: dict, task: str, card: str) -> int:
    """Return the number of jobs like this one that share a GPU."""
    if not job["rule"].startswith("train"):
        return 1
    resources = yaml.safe_load((ROOT / f"config/{task}/task.yaml").read_text())["tasks"][task]["resources"]
    changed = (yaml.safe_load(settings().get(card, "")) or {"tasks": {}})["tasks"].get(task, {}).get("resources", {})
    return grid.runs_per_gpu(merged(resources, changed), "{method}/{variant}".format(**job["wildcards"]))


def merged(under: dict, over: dict) -> dict:
    """Merge two mappings as the config does."""
    both = {key: merged(under[key], over[key]) for key in under.keys() & over if isinstance(under[key], dict)}
    return under | over | both


def measure(folder: Path, card: str) -> list[dict]:
    """Return the rows of a card."""
    config, names = rehearse(folder, card), [f"table_{name}" for name in TABLES if name != ALL]
    plan = folder / card / "plan.json"
    snakemake(config, "-n", "-q", "host", "rules", "progress", "--config", f"plan_file={plan}", "--", *names)
    hours = planned(files.read_json(plan)["jobs"], card)
    peaks, rows = memory(folder / card / "results", card), []
    for table in TABLES:
        kinds = [*peaks.values()] if table == ALL else [peaks[TASKS.get(table, table)]]
        largest = {name: max(kind[name] for kind in kinds) for name in ("peak_bytes", "needed_bytes")}
        row = {"card": card, "table": table, "settings": card in settings(), **hours[table], **largest}
        rows.append(row | {"fits": all(kind["fits"] for kind in kinds)})
    return rows


def rehearsed(results: Path, card: str) -> list[dict]:
    """Return the rates that a rehearsal has saved."""
    saved = [rate | {"card": card} for rate in files.read_json(results / "preflight.json")["rates"]]
    return [{name: rate[name] for name in OF_RATE} for rate in saved if "by" in rate]


def rates(card: str = DEFAULT) -> list[dict]:
    """Return a card's rates as the plan reads them."""
    numbers = ("seconds_per_row", "busy_per_row")
    chosen = [rate for rate in read(RATES) if rate["card"] == card]
    return [rate | {name: float(rate[name]) for name in numbers} | {"device": card} for rate in chosen]


def read(path: Path = RESULTS) -> list[dict]:
    if not path.exists():
        return []
    with path.open() as file:
        return list(csv.DictReader(file))


def write(path: Path, columns: tuple[str, ...], new: list[dict], cards: list[str]) -> None:
    """Replace the rows of these cards."""
    kept = [row for row in read(path) if row["card"] not in cards]
    with path.open("w") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept + new)


def table(rows: list[dict]) -> str:
    """Build the table of the page: GPU-hours and the time on GPUS cards, for each table and card."""
    by: Rows = {(row["card"], row["table"]): row for row in rows}
    cards = [card for card in reversed(cuda.CARDS) if (card, ALL) in by]
    titles = " | ".join(title(card) for card in cards)
    lines = [f"| table | largest job | fits on | {titles} |", "|---|--:|---|" + "--:|" * len(cards)]
    for name, label in TABLES.items():
        first = by[DEFAULT, name]
        peak = f"{float(first['peak_bytes']) / 1e9:.1f} GB"
        cells = " | ".join(cell(by[card, name]) for card in cards)
        lines.append(f"| {label} | {peak} | {smallest(float(first['needed_bytes']))} | {cells} |")
    return "\n".join(lines)


def title(card: str) -> str:
    return f"{cuda.CARDS[card].name.removeprefix('NVIDIA ')} ({cuda.CARDS[card].total_memory / 1e9:.0f} GB)"


def smallest(needed: float) -> str:
    """Name the cards that have this memory, the smallest first."""
    fitting = sorted((one for one, card in cuda.CARDS.items() if card.total_memory >= needed), key=SIZES.get)
    return "all" if len(fitting) == len(cuda.CARDS) else ", ".join(f"`{card}`" for card in fitting)


def cell(row: dict) -> str:
    """Write GPU-hours and wall time, or that the table does not fit."""
    if str(row["fits"]) != "True":
        return "does not fit"
    hours = float(row["gpu_hours"])
    wall = max(hours / GPUS, float(row["longest_hours"]))
    return f"{number(hours)} GPU-hours, {number(float(f'{wall:.2g}'))} h"


def stages(rows: list[dict], card: str = DEFAULT) -> str:
    """Build the table of a card's GPU-hours by stage."""
    by = {row["table"]: row for row in rows if row["card"] == card}
    lines = [f"| table | {' | '.join(STAGES.values())} |", "|---" + "|--:" * len(STAGES) + "|"]
    for name, title in TABLES.items():
        lines.append(f"| {title} | {' | '.join(number(float(by[name][stage])) for stage in STAGES)} |")
    return "\n".join(lines)


def page(text: str) -> str:
    """Fill the tables of the page from the results."""
    made = {"cards": table(read()), "stages": stages(read())}
    return MARKED.sub(lambda found: f"{found[1]}{made[found[2]]}\n{found[3]}", text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("cards", nargs="*", choices=[[], *cuda.CARDS])
    options = parser.parse_args()
    if options.folder:
        folder, chosen = options.folder.absolute(), options.cards
        write(RESULTS, COLUMNS, [row for card in chosen for row in measure(folder, card)], chosen)
        write(RATES, OF_RATE, [one for card in chosen for one in rehearsed(folder / card / "results", card)], chosen)
    PAGE.write_text(page(PAGE.read_text()))
