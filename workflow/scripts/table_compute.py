"""Write the paper's Table 6, the cost of fine-tuning, from the run table: parameters, time, memory.

There is one row per run and dataset in config order: our mean and std over seeds, and the published value. Time and
memory are comparable only for equal micro-batches and the same gradient checkpointing, which the table lists.
"""

import pandas as pd

from hra_workflow.core import files
from hra_workflow.core.errors import JobError
from hra_workflow.core.job import script
from hra_workflow.report import markdown_text, run_statistics
from table import layout, lines_of, number

QUANTITIES = {  # column -> digits; in the paper's units
    "Parameters": 0,
    "Parameters (%)": 3,
    "Training time (h)": 2,
    "Device hours": 2,
    "Peak memory per device (GB)": 1,
    "Peak memory (GB)": 1,
}
NOTES = [
    "`mean ± std` over n seeds (sample standard deviation; none for n = 1). n = 2/3: two of three seeds were trained.",
    "Parameters: trained parameters, and their percentage of all. Training time: wall time over all attempts. Device "
    "hours: training time × devices.",
    "Peak memory: 1 GB = 1e9 bytes; torch's peak allocation on the first device (on a CPU, the resident set size of "
    "the first process), and the same × devices.",
    "Micro-batch: rows that a device processes at a time, batch size / accumulation steps / devices.",
]
COMPARABLE = {  # columns that must be equal for a comparison of time and memory
    "device": "devices",
    "devices": "numbers of devices",
    "micro_batch": "micro-batches",
    "gradient_checkpointing": "gradient checkpointing",
}
PAPER_NOTE = (
    "The paper used other hardware (`hardware_published`) and does not specify how time and memory were measured, nor "
    "the batch size: compare the order of the methods, not the values."
)


def trainings(runs: pd.DataFrame) -> pd.DataFrame:
    """Reduce the run table to one row per training run; failed runs have no numbers."""
    once = runs.drop_duplicates(run_statistics.RUN).copy()
    names = ["trainable_parameters", "total_parameters", "seconds", "peak_memory_bytes", "processes", "micro_batch"]
    once.loc[once["status"].isin(run_statistics.NO_TRAINING), names] = ""
    once[names] = once[names].apply(pd.to_numeric)
    shared = pd.to_numeric(once["runs_per_gpu"]) > 1
    if shared.any():
        first = "/".join(once.loc[shared, run_statistics.RUN].astype(str).iloc[0])
        raise JobError(f"{first} shared its GPU with other runs, so its time does not compare. Delete its train.json.")
    hours, gigabytes = once["seconds"] / 3600, once["peak_memory_bytes"] / 1e9
    return once.assign(
        **{
            "Parameters": once["trainable_parameters"],
            "Parameters (%)": 100 * once["trainable_parameters"] / once["total_parameters"],
            "Training time (h)": hours,
            "Device hours": hours * once["processes"],
            "Peak memory per device (GB)": gigabytes,
            "Peak memory (GB)": gigabytes * once["processes"],
        }
    )


def build(runs: pd.DataFrame, published: pd.DataFrame, params: dict) -> pd.DataFrame:
    """Build the table as text."""
    made = trainings(runs)
    theirs = published.set_index(["row", "column"])["value"].to_dict()
    hardware = dict(zip(published["row"], published["hardware"], strict=True))
    table = []
    for line in layout(params["rows"], published):
        ours = made[made["run"] == line["run"]]
        for dataset in ours["dataset"].unique() if len(ours) else [""]:
            all_seeds = ours[ours["dataset"] == dataset]
            done = all_seeds[all_seeds["seconds"].notna()]
            row = {name: line[name] for name in ("method", "setting", "run")} | {
                "dataset": dataset,
                "n": f"{len(done)}/{len(all_seeds)}" if line["run"] else "",
                "device": " + ".join(done["device"].unique()),
                "devices": " + ".join(f"{count:.0f}" for count in done["processes"].unique()),
                "micro_batch": " + ".join(f"{size:.0f}" for size in done["micro_batch"].dropna().unique()),
                "gradient_checkpointing": " + ".join(sorted(set(done["gradient_checkpointing"]) - {""})),
                "hardware_published": hardware.get(line["row"], ""),
            }
            for name, digits in QUANTITIES.items():
                paper = theirs.get((line["row"], name), "")
                values = done[name]
                row |= {name: number(values.mean(), digits), f"{name}_std": number(values.std(), digits)}
                row |= {f"{name}_published": paper}
            table.append(row)
    return pd.DataFrame(table)


def markdown(table: pd.DataFrame, published: pd.DataFrame, params: dict) -> str:
    """Write two lines per row: ours, then the paper's."""
    lines = [["Method", "", "Data", *(f"{name} ↓" for name in QUANTITIES), "Micro-batch", "Devices", "n"]]
    for _, row in table.iterrows():
        devices = f"{row['devices']}x {row['device']}" if row["device"] else "–"
        costs = (ours_cell(row, name) for name in QUANTITIES)
        ours = [row["dataset"], *costs, row["micro_batch"] or "–", devices, row["n"]]
        theirs = [number(row[f"{name}_published"] or None, digits) for name, digits in QUANTITIES.items()]
        stated = ["", *theirs, "", row["hardware_published"], ""] if any(theirs) else None
        lines += lines_of(row, params, ours, stated, "paper")
    align = ["left"] * 3 + ["right"] * (len(QUANTITIES) + 1) + ["left", "right"]
    drawn = markdown_text.two_sources(lines, align)
    notes = NOTES + [
        f"**Different {shown}** on {dataset}: {', '.join(found)}. Time and memory are not comparable."
        for dataset, rows in table.groupby("dataset")
        for name, shown in COMPARABLE.items()
        if len(found := sorted({one for text in rows[name] if text for one in text.split(" + ")})) > 1
    ]
    listed = "\n".join(f"- {line}" for line in notes + [PAPER_NOTE] * bool(len(published)))
    return f"# Compute\n\n{drawn}\n## Notes\n\n{listed}\n"


def ours_cell(row: pd.Series, name: str) -> str:
    """Format `2.10 ± 0.05`; a missing value is `–`; a standard deviation of 0, as for parameters, is omitted."""
    spread = row[f"{name}_std"]
    return (row[name] or "–") + (f" ± {spread}" if spread.strip("0.") else "")


@script
def main(job: dict) -> None:
    params = job["params"]
    runs = run_statistics.read_runs(job["input"]["runs"])
    published = run_statistics.read_published(job["input"].get("published"), "hardware")
    table = build(runs, published, params)
    files.write_text(job["output"]["csv"], table.to_csv(index=False, lineterminator="\n"))
    files.write_text(job["output"]["markdown"], markdown(table, published, params))


if __name__ == "__main__":
    main()
