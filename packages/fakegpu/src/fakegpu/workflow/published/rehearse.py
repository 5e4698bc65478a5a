"""Rehearsals of published experiments on a fake GPU, each in a fork of one process that has imported everything."""

import contextlib
import importlib
import os
import shutil
import sys
import traceback
from pathlib import Path

from fakegpu import cuda
from fakegpu.workflow import job as rehearsal
from fakegpu.workflow.published import experiments
from hra_workflow.core import files
from hra_workflow.core.errors import JobError

AT_ONCE = 2
LONGEST = 250  # characters at the end of an error, its most informative part
IMPORTED = (
    "accelerate",
    "datasets",
    "transformers.trainer",
    "transformers.models.llama.modeling_llama",
    "diffusers.pipelines.stable_diffusion.safety_checker",
    "hra_workflow.training.hf_trainer",
    "hra_workflow.training.callbacks",
)


def rehearse(facts: list[dict], folder: Path) -> dict[tuple[str, str], dict]:
    """Return the observations of each experiment, or its `error`, by benchmark and name.

    Results that exist in the folder are used.
    """
    torch = cuda.load()
    cuda.load = lambda: torch
    for name in IMPORTED:
        importlib.import_module(name)
    found, running = {}, set()
    for row in facts:
        key = row["benchmark"], row["experiment"]
        benchmark = experiments.BENCHMARKS[row["benchmark"]](folder / row["benchmark"])
        result = benchmark.folder / row["experiment"] / "result.json"
        try:
            found[key] = {"result": result} if result.exists() else {"result": result, "jobs": benchmark.jobs(row)}
        except (ValueError, JobError) as problem:
            found[key] = {"error": str(problem)}
            continue
        if "jobs" not in found[key]:
            continue
        if len(running) == AT_ONCE:
            running.remove(os.wait()[0])
        print("/".join(key), flush=True)
        if child := os.fork():
            running.add(child)
        else:
            os._exit(in_turn(found[key]["jobs"], result, row["card"]))
    while running:
        running.remove(os.wait()[0])
    return {key: files.read_json(one["result"]) if "result" in one else one for key, one in found.items()}


def in_turn(jobs: list[tuple[Path, dict]], result: Path, card: str) -> int:
    """Rehearse the jobs of an experiment, each in a separate process; the last one writes the result."""
    shutil.rmtree(result.parent, ignore_errors=True)
    result.parent.mkdir(parents=True)
    with open(result.with_name("log"), "w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    for script, job in jobs:
        if not (child := os.fork()):
            status = 1
            with contextlib.suppress(BaseException):
                try:
                    status = rehearsal.main(script, job, part(result, job), cuda.CARDS[card], kernels=True)
                except BaseException:
                    traceback.print_exc()
            sys.stdout.flush()
            os._exit(status)
        if status := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
            said = [line for line in result.with_name("log").read_text().splitlines() if "Error" in line]
            files.write_json(result, {"error": said[-1][-LONGEST:] if said else f"it ended with status {status}"})
            return status
    os.replace(part(result, jobs[-1][1]), result)
    for weights in ("initial", "run", "scratch"):
        shutil.rmtree(result.with_name(weights), ignore_errors=True)
    return 0


def part(result: Path, job: dict) -> Path:
    return result.with_name(f"{job['rule']}.json")
