"""Scoring of lm-evaluation-harness benchmarks whose answers are programs, as `code_eval` of the package evaluate does.

The harness completes an answer to a program, and the item's tests follow it. Each program runs in a separate sandbox
(isolation.py); pass@k is computed here, outside of the sandboxes.
"""

import math
import re
import statistics

from hra_workflow.core.errors import JobError
from hra_workflow.tasks.math import isolation

SCORER = "code_eval"


def check_task(name: str, task) -> None:
    """Raise JobError unless the harness scores the task with `code_eval`; other tasks expect other programs."""
    metrics = [entry["metric"] for entry in task.config.metric_list or []] if task else []
    used = [value for metric in metrics for value in getattr(metric, "__globals__", {}).values()]
    if not any(getattr(value, "name", None) == SCORER for value in used):
        raise JobError(
            f"benchmark {name}: expected a single task that lm-eval scores with `{SCORER}` (HumanEval, MBPP), found "
            f"another. Remove `unsafe_code` if it executes no programs, or remove the benchmark."
        )


def score(name: str, benchmark: dict, found: dict) -> tuple[dict, list[dict]]:
    """Add the scores to the harness's results, `found` with `predict_only`; also return every program's outcome."""
    metric, _, _ = benchmark["metric"].partition(",")
    k = int(re.search(r"\d+$", metric)[0])
    outcomes, items = [], {}
    for sample in found["samples"][benchmark["task"]]:
        made = [
            {"benchmark": name, "filter": sample["filter"], "item": sample["doc_id"]}
            | {"task_id": sample["doc"].get("task_id"), "sample": index}
            | execute(f"{program}\n{sample['target']}")
            for index, program in enumerate(candidates(name, sample))
        ]
        passed = sum(one["outcome"] == isolation.PASSED for one in made)
        items.setdefault(sample["filter"], []).append(pass_at(k, len(made), passed, name))
        outcomes += made
    scores = {}
    for key, values in items.items():
        error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else "N/A"
        scores |= {f"{metric},{key}": statistics.fmean(values), f"{metric}_stderr,{key}": error}
        scores["sample_len"] = len(values)
    return found | {"results": {benchmark["task"]: scores}}, outcomes


def candidates(name: str, sample: dict) -> list[str]:
    """Return the programs that the harness made of an item's answers."""
    (programs,) = sample["filtered_resps"]
    programs = [programs] if isinstance(programs, str) else programs
    if not all(isinstance(text, str) for text in (sample["target"], *programs)):
        raise JobError(f"benchmark {name}: expected programs and their tests as text. Remove the benchmark.")
    return programs


def execute(program: str) -> dict:
    outcome, reason = isolation.run(program)
    return {"outcome": outcome, "reason": reason, "program": program}


def pass_at(k: int, n: int, passed: int, name: str) -> float:
    """Estimate without bias the probability that at least one of k programs passes; `passed` of n did."""
    if k > n:
        raise JobError(
            f"benchmark {name}: pass@{k} needs {k} answers per item, and the task has {n}. Change the metric."
        )
    return 1 - math.comb(n - passed, k) / math.comb(n, k)
