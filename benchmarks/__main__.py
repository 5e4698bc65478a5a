"""Speed and memory of HRA against PEFT's HRA, LoRA and the frozen model.

    python -m benchmarks          the headline: one 4096 x 4096 layer, 512 tokens, r = 8, in about two minutes
    python -m benchmarks all      everything, to benchmarks/results/ (half an hour on two cores); or any of the groups
                                  deberta-base, llama, small-llama, unet, linear, conv2d, merge, peak
    python -m benchmarks plot     only the figure, from the files there
    python -m benchmarks --device cuda     whole models on a GPU, with OFT and BOFT beside them: see benchmarks/gpu.py
    --cpu-time                    CPU seconds of one thread, for a machine that also runs other work

The kinds are timed in turn, so that other load affects all of them equally; a time is the median of seven or more
rounds. A memory peak is measured in a process of its own.
"""

from __future__ import annotations

import csv
import ctypes
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

from benchmarks import cases
from benchmarks.cases import KINDS, Case, Step

RESULTS = Path(__file__).parent / "results"
ROUNDS = 7
CPU_TIME = "--cpu-time" in sys.argv
clock = time.process_time if CPU_TIME else time.perf_counter


def machine() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    amx = ", AMX" if any("amx_bf16" in line for line in lines) else ""  # much faster in bfloat16
    model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())
    threads = "1 thread, CPU time" if CPU_TIME else f"{torch.get_num_threads()} threads"
    return f"{model}{amx}, {threads}, torch {torch.__version__.partition('+')[0]}"


def keep_heap() -> None:
    """Keep freed memory in the process, so that no kind pays for pages that the previous one returned (glibc)."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(-3, 32 * 2**20)  # M_MMAP_THRESHOLD, its maximum
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


def measure(steps: dict[str, Step]) -> dict[str, float]:
    """Measure the median seconds per kind over interleaved rounds, with more rounds for quick steps."""
    times: dict[str, list[float]] = {kind: [] for kind in steps}
    rounds, done = ROUNDS, -1  # the first round warms up
    while done < rounds:
        for kind, step in steps.items():
            start = clock()
            step()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            times[kind].append(clock() - start)
        done += 1
        if done == 0:
            rounds = max(ROUNDS, min(50, int(2 / sum(spent[0] for spent in times.values()))))
    return {kind: statistics.median(spent[1:]) for kind, spent in times.items()}


def row(case: Case, what: str, values: dict[str, float], unit: str) -> dict:
    """Build one row of the results: the four kinds and their ratios."""
    ratio = {
        f"hra/{other}": round(values["hra"] / values[other], 3)
        for other in ("frozen", "lora")
        if what != "peak" and values.get(other)
    }
    if what == "peak":
        extra = {kind: values[kind] - values["frozen"] for kind in KINDS[1:]}
        ratio["hra/lora"] = round(extra["hra"] / extra["lora"], 3)
        ratio["peft/hra"] = round(extra["peft"] / extra["hra"], 1)
    elif "peft" in values:
        ratio["peft/hra"] = round(values["peft"] / values["hra"], 1)
    return {
        "what": what,
        "case": case.group,
        "size": case.size,
        "r": case.r,
        "dtype": str(case.dtype).removeprefix("torch."),
        "unit": unit,
        **{kind: f"{values[kind]:.4g}" if kind in values else "" for kind in KINDS},
        "hra/frozen": "",
        "hra/lora": "",
        "peft/hra": "",
        **ratio,
        "machine": machine(),
    }


def peak(case: Case) -> dict[str, float]:
    """Measure the peak memory of a step in MiB, each kind in its own process."""
    command = [sys.executable, "-m", "benchmarks", "--peak-of", case.name]
    # Return freed memory to the system immediately, so that only memory in use is counted.
    env = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
    return {
        kind: json.loads(subprocess.run([*command, kind], env=env, capture_output=True, check=True, text=True).stdout)
        for kind in KINDS
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
    ratios = " ".join(f"{key} {result[key]}" for key in ("hra/frozen", "hra/lora", "peft/hra") if result[key] != "")
    values = " ".join(f"{kind} {result[kind]}" for kind in KINDS if result[kind])
    name = f"{result['what']} {result['case']} {result['size']} r{result['r']} {result['dtype']}"
    print(f"{name}: {values} {result['unit']}   {ratios}", flush=True)


def headline() -> None:
    keep_heap()
    case = cases.HEADLINE
    print(f"{machine()}\nOne layer, forward and backward: {case.size}, r = {case.r}, {case.dtype}")
    values = measure(case.steps())
    labels = {"frozen": "frozen layer", "lora": "LoRA (PEFT)", "peft": "HRA (PEFT)", "hra": "HRA (hra)"}
    for kind, label in labels.items():
        print(f"  {label:13} {values[kind] * 1e3:8.1f} ms   {values[kind] / values['frozen']:6.2f} x frozen")
    print(f"hra is {values['peft'] / values['hra']:.1f} times as fast as PEFT's HRA")


def save(name: str, results: list[dict]) -> None:
    RESULTS.mkdir(exist_ok=True)
    with open(RESULTS / f"{name}.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, results[0])
        writer.writeheader()
        writer.writerows(results)


def run(groups: list[str]) -> None:
    for group in groups:
        if group in ("small-llama", "unet", "linear", "conv2d", "merge"):
            keep_heap()
        if group == "merge":
            measured = (row(c, "merge+unmerge", measure(c.merges(("lora", "peft", "hra"))), "s") for c in cases.MERGES)
        elif group == "peak":
            measured = (row(c, "peak", peak(c), "MiB") for c in cases.PEAKS)
        else:
            chosen = (case for case in cases.STEPS if case.group.startswith(group))
            measured = (row(c, "inference" if c.inference else "step", measure(c.steps()), "s") for c in chosen)
        results = []
        for result in measured:
            results.append(result)
            show(result)
            save(group, results)  # after each case, so that finished results are kept


def main(arguments: list[str]) -> None:
    # Full models first: PEFT's HRA needs 10 GB for them, before the other cases grow the heap.
    if {"-h", "--help"} & set(arguments):
        print((__doc__ or "").strip())
        return
    groups = ["deberta-base", "llama", "small-llama", "unet", "linear", "conv2d", "merge", "peak"]
    if CPU_TIME:
        arguments.remove("--cpu-time")
        torch.set_num_threads(1)
    if arguments[:1] == ["--peak-of"]:
        report_peak(*arguments[1:])
        return
    if arguments[:1] == ["--device"] and len(arguments) == 2:
        from benchmarks import gpu

        gpu.run(arguments[1], RESULTS)
    elif not arguments:
        headline()
    elif unknown := set(arguments) - {*groups, "all", "plot"}:
        sys.exit(f"benchmarks: expected some of {groups}, all or plot, got {sorted(unknown)}")
    else:
        run([group for group in groups if group in arguments or "all" in arguments])
        from benchmarks.plot import plot

        plot(RESULTS)


if __name__ == "__main__":
    main(sys.argv[1:])
