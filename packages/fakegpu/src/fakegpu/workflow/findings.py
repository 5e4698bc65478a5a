"""The results of `hra-workflow rehearse`: a line per job, results/rehearsal.json, entries of results/preflight.json.

Jobs that request a GPU have run on a fake one, at their real size, on synthetic data.
"""

from collections.abc import Collection, Iterator
from pathlib import Path

from fakegpu import report
from fakegpu.report import of_step
from hra_workflow import methods, tasks
from hra_workflow.core import files, grid
from hra_workflow.cost import estimates
from hra_workflow.preflight import outcomes, probe
from hra_workflow.preflight.outcomes import Finding
from hra_workflow.tasks.expected_runs import error_files, with_errors
from hra_workflow.tasks.images import ImageTask

NAME, COMMAND = "rehearsal", "hra-workflow rehearse"
FILE = f"{NAME}.json"
TOKENS = 16  # of an answer; complete answers would take hours
# The probe's clock waits for the GPU, and the Trainer for the loss that it logs.
KNOWN = ("training/callbacks.py", "transformers/trainer")
COPY = "copy to the device"
# Kinds, besides other types of PEFT, whose folder of PEFT has waits: checks of linear systems, scores on the host.
WAITING = ("adalora", "boft", "oft")
OF_MEMORY = ("task", "run", "workload", "rule", "wildcards", "peak_bytes", "card_bytes")


def finish(config: dict, wanted: Collection[str]) -> None:
    """Print and save the results of the jobs of the `wanted` tasks, and delete their files, except logs.

    Raises JobError if there is a problem to fix.
    """
    loaded = tasks.load(config)
    jobs = [files.read_json(path) for path in sorted(Path(config["pathvars"]["scratch"]).rglob("*.out.json"))]
    jobs = [job | workload(loaded, job) for job in jobs]
    shown = [job for job in jobs if job["gpu"] or job["error"]]
    lines = [line for job in shown for line in of_job(job, loaded)]
    lines += [line for task in loaded.values() if task.name in wanted for line in missing(config, task)]
    results = Path(config["pathvars"]["results"]).parent
    kept = [job for job in files.read_if_valid(results / FILE).get("jobs", []) if owner(loaded, job) not in wanted]
    files.write_json(results / FILE, {"jobs": kept + jobs})
    peaks = [{"by": COMMAND} | {name: job[name] for name in OF_MEMORY} for job in jobs if job["gpu"] and "task" in job]
    of_jobs = [{"by": COMMAND} | rate for job in jobs if (rate := of_plan(config, loaded, job))]
    outcomes.save(results, rates=of_jobs, memory=peaks)
    outcomes.conclude(COMMAND, lines, config["pathvars"])


def of_job(job: dict, loaded: dict[str, tasks.Task]) -> list[Finding]:
    """Describe a rehearsed job: one line per problem, or its needs."""
    run = run_of(job)
    check, task = f"{job['rule']} {run}".strip(), loaded.get(job["wildcards"].get("task"))
    if job["error"]:
        return [Finding(check, False, job["error"] + (f" (at {job['raised']})" if job["raised"] else ""))]
    problems = [*memory(job, run, task), *waits(job, task), *float64(job)]
    return [Finding(check, False, one) for one in problems] or [
        Finding(check, True, f"{report.needs(job)}; {listed(job)}")
    ]


def memory(job: dict, run: str, task: tasks.Task | None) -> Iterator[str]:
    """Yield a finding if a job needs more memory than the card has, or keeps more with every step."""
    peak, card = job["peak_bytes"], job["card_bytes"]
    shared = grid.runs_per_gpu(task.settings["resources"], run) if task and trains(job) else 1
    if peak > card:
        yield f"needs {report.needs(job)}. {report.remedy(job)}"
    elif shared * peak > card:
        yield f"{shared} runs of {report.needs(job)}: set `runs_per_gpu` to {int(card // peak)} or less"
    if left := report.leak(job):
        yield left


def trains(job: dict) -> bool:
    return job["rule"].startswith("train")


def waits(job: dict, task: tasks.Task | None) -> Iterator[str]:
    """Yield the waits for the GPU that every step has, except the known ones of its task and method."""
    if not task or not trains(job):
        return
    micro_batches = job["rows_per_step"] // job["rows_per_device"] if job["rows_per_device"] else 1
    known = known_waits(task, micro_batches, job["processes"])
    kind = grid.kind_of(task.config["methods"][job["wildcards"]["method"]])
    of_method = f"{kind}/" if kind in WAITING or kind not in methods.METHODS else ()
    files: dict[str, list[dict]] = {}
    for wait in of_step(job["steps"], KNOWN):
        if not wait["lines"].startswith(of_method):
            files.setdefault(wait["lines"].partition(":")[0], []).append(wait)
    for file, seen in files.items():
        more = sum(wait["count"] for wait in seen) - known.get(file, 0)
        if more > 0:
            expected = f", {known[file]} expected" if file in known else ""
            copies = all(wait["what"] == COPY for wait in seen)
            what_to_do = "Copy with `non_blocking=True`" if copies else "Leave the values on the GPU until the log"
            yield f"every step waits for the GPU: {report.named(seen)}{expected}. {what_to_do}"


def known_waits(task: tasks.Task, micro_batches: int, processes: int) -> dict[str, int]:
    """Return how often an optimizer step must wait for the GPU, except to log, by the file that waits."""
    if isinstance(task, ImageTask):  # for the loss, which ends a diverged run, and for its mean over the processes
        return {"training/diffusion_trainer.py": micro_batches + 2 * (processes > 1)}
    # DeBERTa computes a number for relative positions on the host in every forward pass.
    return {"deberta_v2/modeling_deberta_v2.py": micro_batches} if task.architecture == "classifier" else {}


def float64(job: dict) -> Iterator[str]:
    """Yield the operations in float64 that are not of `hra`."""
    if job["float64"]:
        shown = report.named(job["float64"][: report.SHOWN]) + (", …" if len(job["float64"]) > report.SHOWN else "")
        yield f"computes in float64, at a fraction of the speed of float32: {shown}"


def run_of(job: dict) -> str:
    """Return `method/variant` of a job; empty for a job that runs share."""
    return "/".join(job["wildcards"][name] for name in ("method", "variant") if name in job["wildcards"])


def workload(loaded: dict[str, tasks.Task], job: dict) -> dict[str, str | None]:
    """Return what a job's rate and memory are valid for; {} for a job that tasks share, such as an augmentation."""
    name = owner(loaded, job)
    return probe.workload(loaded[name], run_of(job)) if name else {}


def owner(loaded: dict[str, tasks.Task], job: dict) -> str | None:
    """Return the name of a rehearsed job's task."""
    task = estimates.task_of(loaded, job["rule"], job["wildcards"])
    return task and task.name


def of_plan(config: dict, loaded: dict[str, tasks.Task], job: dict) -> dict | None:
    """Return the estimated rate of a job for `hra-workflow plan`; None if it has none.

    Seconds are per row and summed over the GPUs; `busy_per_row`: the seconds in which its kernels run.
    """
    task = loaded.get(owner(loaded, job))
    if job["error"] or not task:
        return None
    stage = job["rule"].partition("_")[0]
    if "seconds_per_step" in job:
        rows, seconds, busy = job["rows_per_step"], job["seconds_per_step"], job["busy_per_step"]
    elif job["rate"]:
        rows, seconds = job["rate"]["rows"], job["rate"]["seconds"]
        busy = seconds
    else:
        return None
    if stage == "generate":  # fewer tokens than an answer has, if it is a text
        rows *= TOKENS / config["datasets"][task.name].get(job["wildcards"].get("dataset"), {}).get("tokens", TOKENS)
    method = config["methods"].get(job["wildcards"].get("method"))
    return workload(loaded, job) | {
        "stage": stage,
        "kind": method and grid.kind_of(method),
        "seconds_per_row": seconds / rows,
        "busy_per_row": busy / rows,
        "device": job["card"],
    }


def listed(job: dict) -> str:
    """List the lines at which a step waits for the GPU, outside of logging."""
    if len(job["steps"]) < 2:
        return "no training steps"
    seen = of_step(job["steps"], KNOWN)
    return f"a step waits for the GPU: {report.named(seen)}" if seen else "no step waits for the GPU"


def missing(config: dict, task: tasks.Task) -> Iterator[Finding]:
    """Yield the runs that were not trained or evaluated, with their errors."""
    runs = list(with_errors(task.runs(), error_files(task)))
    for run in runs:
        if not Path(grid.paths(config)["run"].format(task=task.name, **run), "train.json").exists():
            log = outcomes.log_of(config, "train", task, run)
            check = f"{task.name} {run['method']}/{run['variant']}, training"
            yield Finding(check, False, outcomes.failure(run["errors"], log, "raise `gradient_accumulation`"))
    for run in runs[-1:]:  # the only evaluated run
        for path in probe.metrics(config, task, run):
            if not Path(path).exists():
                benchmark = Path(path).parent.name
                log = outcomes.log_of(config, "evaluate", task, run, f"/{benchmark}")
                check = f"{task.name} {run['method']}/{run['variant']}, evaluation"
                yield Finding(check, False, outcomes.failure(run["benchmarks"][benchmark], log, "lower `batch_size`"))
    yield from outcomes.left_out(config, task)
