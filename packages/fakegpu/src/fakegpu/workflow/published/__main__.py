"""Rehearse published experiments, and compare the rehearsed seconds and memory with the measured ones.

    python -m fakegpu.workflow.published FOLDER [--half calibration]

measured.csv has the measurements with their sources, files of PEFT's results: milliseconds are the sum of `train time`
divided by the last `step` of `metrics`, reserved_bytes is `accelerator_memory_max`. The constants of the rehearsal's
clock (timing.py) are those with the best fit on the first half; they are printed next to the ones in use. The other
half was examined once. The command writes results/published.csv and images/published.png of the package from both
halves. FOLDER keeps the rehearsals: 5 minutes on two cores.
"""

import argparse
import csv
import os
from pathlib import Path

# Set before torch and pyarrow are imported: a process with threads cannot be forked safely.
os.environ |= {"OMP_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}

HERE, PACKAGE = Path(__file__).parent, Path(__file__).parents[4]
RESULTS, PLOT = PACKAGE / "results/published.csv", PACKAGE / "images/published.png"
HALVES = ("calibration", "held-out")
RESERVED = 1.03  # bytes that torch's allocator reserves per allocated byte, on the first half


def measured() -> list[dict]:
    with open(HERE / "measured.csv", newline="") as file:
        return list(csv.DictReader(file))


def compared(row: dict, observed: dict) -> dict:
    """Return a row of the results: the published and rehearsed milliseconds and bytes, or the reason for none."""
    from fakegpu import cuda
    from fakegpu.workflow.published import efficiencies
    from fakegpu.workflow.published.experiments import BENCHMARKS, TIMED

    result = {name: row[name] for name in ("benchmark", "experiment", "half", "milliseconds", "reserved_bytes")}
    result |= {"rehearsed_milliseconds": "", "rehearsed_bytes": "", "kernels": "", "left_out": observed["error"] or ""}
    if not observed["error"]:
        allocated = max(step["peak_bytes"] for step in observed["steps"]) + BENCHMARKS[row["benchmark"]].kept_bytes
        step = observed["steps"][TIMED]
        seconds = efficiencies.seconds(step["kernels"], cuda.CARDS[row["card"]].speed, efficiencies.CHOSEN)
        result |= {"rehearsed_milliseconds": round(seconds * 1e3, 1), "kernels": step["operations"]}
        result |= {"rehearsed_bytes": round(RESERVED * allocated)}
    return result


def errors(results: list[dict]) -> dict[tuple[str, str], dict]:
    """Return the errors of time and memory by half and benchmark (`both`: all benchmarks)."""
    from fakegpu.workflow.published.efficiencies import error

    found = {}
    rehearsed = [row for row in results if not row["left_out"]]
    for half in HALVES:
        for benchmark in (*dict.fromkeys(row["benchmark"] for row in rehearsed), "both"):
            rows = [one for one in rehearsed if one["half"] == half and benchmark in (one["benchmark"], "both")]
            pairs = (("rehearsed_milliseconds", "milliseconds"), ("rehearsed_bytes", "reserved_bytes"))
            found[half, benchmark] = {
                name: error(*([float(row[column]) for row in rows] for column in columns))
                for name, columns in zip(("time", "memory"), pairs, strict=True)
                if len(rows) > 1
            }
    return found


def fit(facts: list[dict], observed: dict) -> None:
    from fakegpu.workflow.published import efficiencies
    from fakegpu.workflow.published.experiments import TIMED

    pairs = [(row, observed[row["benchmark"], row["experiment"]]) for row in facts if row["half"] == HALVES[0]]
    found = efficiencies.fitted(
        [
            {
                "kernels": seen["steps"][TIMED]["kernels"],
                "card": row["card"],
                "published": float(row["milliseconds"]) / 1e3,
            }
            for row, seen in pairs
            if not seen["error"]
        ]
    )
    print(f"{'constant':10s} {'fits best':>10s} {'in use':>10s}")
    for name, best, used in zip(found._fields, found, efficiencies.CHOSEN, strict=True):
        print(f"{name:10s} {best:10.3g} {used:10.3g}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m fakegpu.workflow.published", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--half", choices=HALVES, help="only one, without writing results")
    arguments = parser.parse_args()

    from fakegpu.workflow.published import rehearse, scatter

    facts = [row for row in measured() if arguments.half in (None, row["half"])]
    observed = rehearse.rehearse(facts, arguments.folder)
    if any(row["half"] == HALVES[0] for row in facts):
        fit(facts, observed)
    results = [compared(row, observed[row["benchmark"], row["experiment"]]) for row in facts]
    for (half, benchmark), found in errors(results).items():
        for name, one in found.items():
            print(
                f"{half:12s} {benchmark:11s} {name:7s} {one.count:3d} experiments, bias {one.bias:+.1%}, "
                f"rms {one.rms:.1%}, Spearman {one.spearman:.3f}"
            )
    if not arguments.half:
        with open(RESULTS, "w", newline="") as file:
            writer = csv.DictWriter(file, results[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(results)
        scatter.draw(results, errors(results)[HALVES[1], "both"]["time"], PLOT)


if __name__ == "__main__":
    main()
