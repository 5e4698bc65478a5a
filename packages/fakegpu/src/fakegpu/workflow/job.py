"""Run one job of the workflow on a fake GPU: `python -m fakegpu.workflow.job SCRIPT JOB.json OUT.json --card h100`.

The workflow calls it as HRA_RUN_JOBS_WITH. It adds to the job what fakegpu has to know of it.
"""

import argparse
import importlib.util
import json
import sys
from pathlib import Path

from fakegpu import cuda, run
from hra_workflow.core import gpus, logs, rates


def main(script: Path, job: dict, out: Path, card: cuda.Card, kernels: bool = False) -> int:
    """Write what was observed of a job; return the exit status of `python -m fakegpu`."""
    found: dict = {}

    def observed(job: dict) -> None:
        seen, problem = run.observe(script, job | {run.KEY: settings(script, job)}, card, kernels)
        found.update(seen)
        if problem:
            raise problem

    logs.run_guarded(observed, job)
    if not found:
        return 1  # no device
    requested = gpus.requested(job)
    of_job = {"rule": job["rule"], "wildcards": job["wildcards"], "gpu": requested, "rate": rates.last(job["log"])}
    return run.save(found | of_job, out)


def settings(script: Path, job: dict) -> dict:
    """Return what fakegpu has to know of a job of the workflow."""
    hyperparameters = job["params"].get("hyperparameters") or {}
    library, workflow = (str(Path(importlib.util.find_spec(name).origin).parent) for name in ("hra", "hra_workflow"))
    answers = ["fakegpu.answers:rewarded_answers"] if "reward" in hyperparameters else []
    rows = None
    if "batch_size" in hyperparameters:
        rows = hyperparameters["batch_size"] // max(1, job["resources"].get("gpu", 1))
    return {
        "own": [str(script.parent), workflow, library],
        "processes": gpus.processes(job),
        "rows_per_step": rows,
        "rows_per_device": rows and rows // hyperparameters.get("gradient_accumulation", 1),
        "period": rates.period(hyperparameters),
        "clock": "hra_workflow.core.rates:clock",
        "killed": "Interrupted: " if hyperparameters.get("kill_at_step") else None,
        "float64": [library],  # HRA computes the factors of its chain in float64
        "prepare": ["fakegpu.workflow.job:prepare", *answers],
    }


def prepare(*_) -> None:
    """Make HRA treat fake tensors as plain ones, not as quantised or sharded, and a lone process agree with itself."""
    from torch._subclasses.fake_tensor import FakeTensor

    import hra.base_layer
    import hra.chain
    import hra.layers  # before the change: the published hours were counted with its own check, 1 % fewer operations
    import hra.merging
    import hra.quantized
    from hra_workflow.training.callbacks import CheckpointOnSignal

    is_plain = hra.quantized.is_plain
    for module in (hra.base_layer, hra.merging, hra.quantized):
        module.is_plain = lambda weight: isinstance(weight, FakeTensor) or is_plain(weight)
    hra.chain.Chain.stackable = lambda self, name: self.us.get(name)
    CheckpointOnSignal.agreed = staticmethod(lambda request, _: request)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m fakegpu.workflow.job")
    for name in ("script", "job", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--card", default="h100", choices=cuda.CARDS)
    given = parser.parse_args()
    sys.exit(main(given.script, json.loads(given.job.read_text()), given.out, cuda.CARDS[given.card]))
