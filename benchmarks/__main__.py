"""Speed and memory of HRA against PEFT's HRA, LoRA and the frozen model.

    python -m benchmarks          the headline: one 4096 x 4096 layer, 512 tokens, r = 8, in about two minutes
    python -m benchmarks all      everything, to benchmarks/results/ (an hour on two cores); or any of the groups
                                  deberta-base, llama, small-llama, unet, linear, conv2d, merge, drift, peak, blocks
    python -m benchmarks plot     only the figure, from the files in that folder
    python -m benchmarks --device cuda     whole models on a GPU, also with OFT and BOFT: see benchmarks/gpu.py
    --peft FOLDER                 next to the installed PEFT, HRA of the PEFT whose sources are in FOLDER (`next`)
    next --peft FOLDER            the cases on which that PEFT is compared, to next.csv, in about ten minutes
    tables                        write the tables of the READMEs and docs/ from the files in that folder
    --cpu-time                    CPU seconds of one thread, for a machine that also runs other work

The kinds are timed in turn, in a changing order, so that other load affects all of them equally: a time is the median
of 7 to 200 rounds, a ratio the median of the rounds' ratios. A memory peak is measured in a separate process. A result
replaces earlier ones of the same processor.
"""

import csv
import ctypes
import itertools
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

import peft
import torch

from benchmarks import blocks, cases, drift
from benchmarks.cases import Case, Step
from benchmarks.other_peft import OtherPackages

RESULTS = Path(__file__).parent / "results"
ROUNDS, MOST_ROUNDS, SECONDS = 7, 200, 20  # per case: minimum, maximum, and seconds for quick steps
GROUPS = ["deberta-base", "llama", "small-llama", "unet", "linear", "conv2d", "merge", "drift", "peak", "blocks"]
CPU_TIME = "--cpu-time" in sys.argv
COLUMNS = ("frozen", "lora", "peft", "next", "hra")
RATIOS = ("hra/frozen", "hra/lora", "next/lora", "peft/hra")
clock = time.process_time if CPU_TIME else time.perf_counter


def machine() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    amx = ", AMX" if any("amx_bf16" in line for line in lines) else ""  # much faster in bfloat16
    model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())
    threads = "1 thread, CPU time" if CPU_TIME else f"{torch.get_num_threads()} threads"
    versions = f"torch {torch.__version__.partition('+')[0]}, PEFT {peft.__version__}"
    other = ""
    if cases.next_peft:
        other = f", next PEFT {cases.next_peft.module('peft').__version__} ({Path(cases.next_peft.folder).name})"
    return f"{model}{amx}, {threads}, {versions}{other}"


def processor(row: dict) -> str:
    return row["machine"].partition(",")[0]


def keep_heap() -> None:
    """Keep freed memory in the process, so that no kind waits for pages that the previous one has returned (glibc)."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(-3, 32 * 2**20)  # M_MMAP_THRESHOLD, its maximum
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


def measure(steps: dict[str, Step], most: float = SECONDS) -> dict[str, list[float]]:
    """Measure the seconds per kind and round, over rounds in changing order, for up to `most` seconds if quick.

    PEFT's HRA, which can take sixty times as long as the others, is only timed in the first rounds.
    """
    times: dict[str, list[float]] = {kind: [] for kind in steps}
    quick, order = [kind for kind in steps if kind != "peft"], random.Random(0)
    rounds, done = ROUNDS, -1  # the first round warms up
    while done < rounds:
        kinds = order.sample(quick, len(quick))
        if "peft" in steps and done < ROUNDS:
            times["peft"].append(timed(steps["peft"]))
            steps[kinds[0]]()  # its (n, n) matrices have replaced the other kinds' data in the caches
        for kind in kinds:
            times[kind].append(timed(steps[kind]))
        done += 1
        if done == ROUNDS:
            rounds = max(ROUNDS, min(MOST_ROUNDS, int(most / sum(times[kind][-1] for kind in quick))))
    return {kind: spent[1:] for kind, spent in times.items()}


def timed(step: Step) -> float:
    start = clock()
    step()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock() - start


def ratio(over: list[float], under: list[float]) -> float:
    """Compute the median of the ratios over common rounds, in which changes of the machine's speed affect both."""
    return statistics.median(one / other for one, other in zip(over, under, strict=False))


def row(case: Case, what: str, values: dict[str, list[float]], unit: str) -> dict:
    """Build one row of the results: the medians of the kinds' rounds, and their ratios."""
    compared, pairs = values, RATIOS
    if what == "peak":  # the additional time of the adapters
        compared = {kind: [peak - values["frozen"][0] for peak in peaks] for kind, peaks in values.items()}
        pairs = RATIOS[1:]
    if what == "drift":
        pairs = ()
    ratios = {
        pair: round(ratio(compared[over], compared[under]), 1 if over == "peft" else 3)
        for pair in pairs
        for over, under in [pair.split("/")]
        if over in values and under in values
    }
    return {
        "what": what,
        "case": case.group,
        "size": case.size,
        "r": case.r,
        "dtype": str(case.dtype).removeprefix("torch."),
        "unit": unit,
        **{kind: f"{statistics.median(values[kind]):.4g}" if kind in values else "" for kind in COLUMNS},
        **dict.fromkeys(RATIOS, ""),
        **ratios,
        "machine": machine(),
    }


def peak(case: Case) -> dict[str, list[float]]:
    """Measure the peak memory of a step in MiB, each kind in its own process."""
    other = ["--peft", str(cases.next_peft.folder)] if cases.next_peft else []
    command = [sys.executable, "-m", "benchmarks", *other, "--peak-of", case.name]
    # Return freed memory to the system immediately, so that only memory in use is counted.
    env = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
    return {
        kind: [json.loads(subprocess.run([*command, kind], env=env, capture_output=True, check=True, text=True).stdout)]
        for kind in cases.with_next(case.kinds)
    }


def report_peak(name: str, kind: str) -> None:
    case = next(case for case in cases.PEAKS if case.name == name)
    step = case.steps((kind,))[kind]
    step()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        step()
        print(torch.cuda.max_memory_allocated() / 2**20)
        return
    Path("/proc/self/clear_refs").write_text("5")  # Linux: reset the peak
    step()
    status = Path("/proc/self/status").read_text()
    print(int(status.partition("VmHWM:")[2].split()[0]) / 1024)


def show(result: dict) -> None:
    ratios = " ".join(f"{key} {result[key]}" for key in RATIOS if result[key] != "")
    values = " ".join(f"{kind} {result[kind]}" for kind in COLUMNS if result[kind])
    name = f"{result['what']} {result['case']} {result['size']} r{result['r']} {result['dtype']}"
    print(f"{name}: {values} {result['unit']}   {ratios}", flush=True)


def headline() -> None:
    keep_heap()
    case = cases.HEADLINE
    print(f"{machine()}\nOne layer, forward and backward: {case.size}, r = {case.r}, {case.dtype}")
    values = measure(case.steps())
    labels = {"frozen": "frozen layer", "lora": "LoRA (PEFT)", "peft": "HRA (PEFT)"}
    labels |= {"next": "HRA (next PEFT)", "hra": "HRA (hra)"}
    for kind, seconds in values.items():
        frozen, lora = ratio(seconds, values["frozen"]), ratio(seconds, values["lora"])
        ms = statistics.median(seconds) * 1e3
        print(f"  {labels[kind]:15} {ms:8.1f} ms   {frozen:6.2f} x frozen   {lora:6.2f} x LoRA")
    print(f"hra is {ratio(values['peft'], values['hra']):.1f} times as fast as PEFT's HRA")


def save(name: str, results: list[dict]) -> None:
    """Write results to a table, and keep those of other processors in it."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.csv"
    others = []
    if path.exists():
        with open(path) as file:
            others = [row for row in csv.DictReader(file) if processor(row) != processor(results[0])]
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, results[0], restval="")
        writer.writeheader()
        writer.writerows(sorted(others + results, key=processor))


def run(groups: list[str]) -> None:
    for group in groups:
        if group in ("small-llama", "unet", "linear", "conv2d", "merge", "blocks", "next"):
            keep_heap()
        chosen, merges = [case for case in cases.STEPS + blocks.STEPS if case.group.startswith(group)], []
        measured = cases.PEAKS if group == "peak" else []
        if group == "next":
            chosen, merges = cases.NEXT, cases.NEXT_MERGES
        elif group == "merge":
            merges = cases.MERGES
        kinds = cases.with_next(("lora", "peft", "hra"))
        most = SECONDS if group != "next" else SECONDS / 2
        steps = (row(c, "inference" if c.inference else "step", measure(c.steps(), most), "s") for c in chosen)
        merged = (row(c, "merge+unmerge", measure(c.merges(kinds), most), "s") for c in merges)
        peaks = (row(c, "peak", peak(c), "MiB") for c in measured)
        drifted = (
            row(case, "drift", values, unit)
            for case in drift.cases()
            if group == "drift"
            for unit, values in drift.measure(case)
        )
        results = []
        for result in itertools.chain(steps, merged, peaks, drifted):
            results.append(result)
            show(result)
            save(group, results)  # after each case, so that finished results are kept


def main(arguments: list[str]) -> None:
    # Full models first: PEFT's HRA needs 10 GB for them, before the other cases grow the heap.
    if {"-h", "--help"} & set(arguments):
        print((__doc__ or "").strip())
        return
    if CPU_TIME:
        arguments.remove("--cpu-time")
        torch.set_num_threads(1)
    if "--peft" in arguments:
        at = arguments.index("--peft")
        try:
            cases.next_peft = OtherPackages(*arguments[at + 1 : at + 2])
        except (TypeError, ValueError) as error:
            sys.exit(f"benchmarks: --peft FOLDER: {error}")
        del arguments[at : at + 2]
    if arguments[:1] == ["--peak-of"]:
        report_peak(*arguments[1:])
        return
    if arguments[:1] == ["--device"] and len(arguments) == 2:
        from benchmarks import gpu

        gpu.run(arguments[1], RESULTS)
    elif not arguments:
        headline()
    elif unknown := set(arguments) - {*GROUPS, "next", "all", "plot", "tables"}:
        sys.exit(f"benchmarks: expected some of {GROUPS}, next, all, plot or tables, found {sorted(unknown)}")
    elif "tables" in arguments:
        from benchmarks import tables

        tables.write(RESULTS)
    elif "next" in arguments and not cases.next_peft:
        sys.exit("benchmarks: next: expected `--peft FOLDER`, the sources of the PEFT to compare, found none")
    else:
        run([group for group in (*GROUPS, "next") if group in arguments or ("all" in arguments and group != "next")])
        from benchmarks.plot import plot

        plot(RESULTS)


if __name__ == "__main__":
    main(sys.argv[1:])
