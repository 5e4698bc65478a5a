"""The results of `make rehearse`: one line per job, and results/rehearsal.json.

Jobs that request a GPU have run on a fake one (hra_workflow/rehearsal), at their real size, on synthetic data.
"""

from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

from hra_workflow import methods, tasks
from hra_workflow.core import files, grid, rates
from hra_workflow.cost import gpu_hours
from hra_workflow.preflight import findings, outcomes, probe
from hra_workflow.preflight.findings import Finding
from hra_workflow.tasks.expected_runs import error_files, expected_runs, with_errors

FILE = "rehearsal.json"
GB = 1e9
BATCH_BYTES = 1e6  # the last batch, whose rows have different lengths, is kept until the next one
OF_PREFLIGHT = "training/measurement.py"  # the probe's clock waits for the GPU
LOGGING = "transformers/trainer"  # the Trainer waits for the loss that it logs
COPY = "copy to the device"
NOT_OWN = "a line of a library"
SHOWN = 3  # maximum number of lines in one finding


def finish(config: dict, wanted: Collection[str]) -> None:
    """Print and save the results of the jobs of the `wanted` tasks, and delete their files, except logs.

    Raises JobError if there is a problem to fix.
    """
    loaded = tasks.load(config)
    jobs = [files.read_json(path) for path in sorted(Path(config["pathvars"]["scratch"]).rglob("*.rehearsal.json"))]
    jobs = [job | workload(loaded, job) for job in jobs]
    shown = [job for job in jobs if job["gpu"] or job["error"]]
    lines = [replace(line, of=workload(loaded, job)) for job in shown for line in of_job(job, loaded)]
    for task in [task for task in loaded.values() if task.name in wanted]:
        lines += [replace(line, of=probe.workload(task)) for line in missing(config, task)]
    results = Path(config["pathvars"]["results"]).parent
    kept = [job for job in files.read_if_valid(results / FILE).get("jobs", []) if owner(loaded, job) not in wanted]
    files.write_json(results / FILE, {"jobs": kept + jobs})
    findings.save(results, probe.REHEARSAL, lines, [rate for job in jobs if (rate := of_plan(config, loaded, job))])
    findings.conclude("make rehearse", results / FILE, lines, config["pathvars"])


def of_job(job: dict, loaded: dict[str, tasks.Task]) -> list[Finding]:
    """Describe a rehearsed job: one line per problem, or its needs."""
    run = run_of(job)
    check, task = f"{job['rule']} {run}".strip(), loaded.get(job["wildcards"].get("task"))
    if job["error"]:
        return [Finding(check, False, job["error"] + (f" (at {job['raised']})" if job["raised"] else ""))]
    problems = [*memory(job, run, task), *waits(job, task), *float64(job)]
    return [Finding(check, False, one) for one in problems] or [Finding(check, True, f"{needs(job)}; {listed(job)}")]


def needs(job: dict) -> str:
    return f"{job['peak_bytes'] / GB:.3g} of {job['card_bytes'] / GB:.3g} GB{parts(job['parts'])}"


def memory(job: dict, run: str, task: tasks.Task | None) -> Iterator[str]:
    """Yield a finding if a job needs more memory than the card has, or keeps more with every step."""
    peak, card = job["peak_bytes"], job["card_bytes"]
    shared = grid.runs_per_gpu(task.settings["resources"], run) if task and trains(job) else 1
    if peak > card:
        yield f"needs {needs(job)}. {remedy(job)}"
    elif shared * peak > card:
        yield f"{shared} runs of {needs(job)}: set `runs_per_gpu` to {int(card // peak)} or less"
    after = [step["live_bytes"] for step in job["steps"]]
    kept = job["steps"][-1]["kept"] if job["steps"] else {}
    if kept:
        largest = sorted(kept, key=kept.get, reverse=True)
        made = [f"{size(kept[lines])} made at {lines or NOT_OWN}" for lines in largest[:SHOWN]]
        made += [f"and at {len(kept) - SHOWN} more places"] if len(kept) > SHOWN else []
        yield f"every step leaves {size(sum(kept.values()))} that are not freed: {', '.join(made)}"
    elif len(after) > 2 and (growth := after[-1] - after[-2]) > BATCH_BYTES:
        yield f"a step leaves {size(growth)} that are not freed"


def size(count: int) -> str:
    return f"{count / 1e6:,.0f} MB" if count >= 1e6 else f"{count / 1e3:.1f} KB"


def trains(job: dict) -> bool:
    return job["rule"].startswith("train")


def waits(job: dict, task: tasks.Task | None) -> Iterator[str]:
    """Yield the waits for the GPU that every step has, except the known ones of its task and method."""
    if not task or not trains(job):
        return
    micro_batches = job["rows_per_step"] // job["rows_per_device"] if job["rows_per_device"] else 1
    known = task.training.waits(micro_batches, job["processes"])
    of_method = methods.get(task.config, job["wildcards"]["method"]).waits
    files: dict[str, list[dict]] = {}
    for wait in of_step(job["steps"]):
        if not wait["lines"].startswith(of_method):
            files.setdefault(wait["lines"].partition(":")[0], []).append(wait)
    for file, seen in files.items():
        more = sum(wait["count"] for wait in seen) - known.get(file, 0)
        if more > 0:
            expected = f", {known[file]} expected" if file in known else ""
            copies = all(wait["what"] == COPY for wait in seen)
            what_to_do = "Copy with `non_blocking=True`" if copies else "Leave the values on the GPU until the log"
            yield f"every step waits for the GPU: {named(seen)}{expected}. {what_to_do}"


def float64(job: dict) -> Iterator[str]:
    """Yield the operations in float64 that are not of `hra`."""
    if job["float64"]:
        shown = named(job["float64"][:SHOWN]) + (", …" if len(job["float64"]) > SHOWN else "")
        yield f"computes in float64, at a fraction of the speed of float32: {shown}"


def run_of(job: dict) -> str:
    """Return `method/variant` of a job; empty for a job that runs share."""
    return "/".join(job["wildcards"][name] for name in ("method", "variant") if name in job["wildcards"])


def workload(loaded: dict[str, tasks.Task], job: dict) -> dict[str, str | None]:
    """Return what a job's findings are valid for; {} for a job that tasks share, such as an augmentation."""
    name = owner(loaded, job)
    return probe.workload(loaded[name], run_of(job)) if name else {}


def owner(loaded: dict[str, tasks.Task], job: dict) -> str | None:
    """Return the name of a rehearsed job's task."""
    task = gpu_hours.task_of(loaded, job["rule"], job["wildcards"])
    return task and task.name


def of_plan(config: dict, loaded: dict[str, tasks.Task], job: dict) -> dict | None:
    """Return the estimated rate of a job for `make plan`; None if it has none.

    Seconds are per row and summed over the GPUs; `busy_per_row`: the seconds in which its kernels run.
    """
    task = loaded.get(owner(loaded, job))
    if job["error"] or not task:
        return None
    stage = job["rule"].partition("_")[0]
    if len(job["steps"]) > 1:  # the first step includes the start, and another one has the longest text
        steps, rows = job["steps"][len(job["steps"]) > job["period"] :], job["rows_per_step"]
        both = [rates.means([one[name] for one in steps], job["period"]) for name in ("seconds", "busy_seconds")]
        seconds, busy = min(zip(*both, strict=True))
    elif job["rate"]:
        rows, seconds = job["rate"]["rows"], job["rate"]["seconds"]
        busy = seconds
    else:
        return None
    rows *= task.cost.rehearsed(stage, job["wildcards"].get("dataset"))
    method = config["methods"].get(job["wildcards"].get("method"))
    return workload(loaded, job) | {
        "stage": stage,
        "kind": method and grid.kind_of(method),
        "seconds_per_row": seconds / rows,
        "busy_per_row": busy / rows,
        "device": job["card"],
    }


def parts(peak: dict[str, int]) -> str:
    named = ", ".join(f"{name} {size / GB:.3g}" for name, size in peak.items())
    return f" ({named})" if named else ""


def remedy(job: dict) -> str:
    """Describe the config value for the largest number of rows per device and step that fits."""
    rows, activations = job["rows_per_device"], job["parts"].get("activations")
    if not rows or not activations:
        return "Lower `batch_size`"
    fitting = int(rows * (1 - (job["peak_bytes"] - job["card_bytes"]) / activations))
    if fitting < 1:
        return "Not even one row fits: use a larger GPU, or gradient_checkpointing"
    return f"{fitting} of {rows} rows fit at once: raise `gradient_accumulation`"


def listed(job: dict) -> str:
    """List the lines at which a step waits for the GPU, outside of logging."""
    if len(job["steps"]) < 2:
        return "no training steps"
    seen = of_step(job["steps"])
    return f"a step waits for the GPU: {named(seen)}" if seen else "no step waits for the GPU"


def of_step(steps: list[dict]) -> list[dict]:
    """Return the waits that every step has, outside of logging; the first step also has those of the start."""
    counted = [{(wait["what"], wait["lines"]): wait["count"] for wait in step["waits"]} for step in steps[1:]]
    common = {key: min(one.get(key, 0) for one in counted) for key in (counted[0] if counted else ())}
    return [
        {"what": what, "lines": lines, "count": count}
        for (what, lines), count in common.items()
        if count and not lines.startswith((OF_PREFLIGHT, LOGGING))
    ]


def named(counted: list[dict]) -> str:
    return ", ".join(f"{one['count']} {one['what']} at {one['lines'] or NOT_OWN}" for one in counted)


def missing(config: dict, task: tasks.Task) -> Iterator[Finding]:
    """Yield the runs that were not trained or evaluated, with their errors."""
    runs = list(with_errors(expected_runs(task), error_files(task)))
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
