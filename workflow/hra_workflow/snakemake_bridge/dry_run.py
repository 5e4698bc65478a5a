"""The lines of a dry run about jobs: why they run again, and where they would run.

The reasons, for each rule: `train_glue: 5 jobs, learning_rate 0.02 → 0.001`. Snakemake only compares digests
(identities.py); the settings before are those that JSON results record (made_from.py).
"""

import os
from collections import Counter
from importlib.metadata import entry_points

from hra_workflow.core import files, made_from
from hra_workflow.core import gpus as local_gpus
from hra_workflow.core.wording import listed, plural
from hra_workflow.cost import planned_jobs
from hra_workflow.snakemake_bridge import identities, planned

MOST = 3  # number of causes that are printed for each rule
ARROW = "→"
LONG = 40  # characters; longer lists are printed as their length


def again(dag) -> list[str]:
    """Return a line for each rule with jobs that are planned again, in the order of the workflow.

    Call it only in a dry run: Snakemake caches the params that it compares, so a job after a checkpoint would record
    old ones.
    """
    found: dict[str, list[list[str]]] = {}
    for level in dag.toposorted():
        for job in sorted(filter(dag.needrun, level), key=lambda job: job.rule.name):
            if why := causes(dag, job):
                found.setdefault(job.rule.name, []).append(why)
    return [f"{rule}: {plural(len(jobs), 'job')}, {counted(jobs)}" for rule, jobs in found.items()]


def counted(jobs: list[list[str]]) -> str:
    """Return the most frequent causes of a rule's jobs, with the number of jobs if not all have the cause."""
    counts = Counter(cause for causes in jobs for cause in causes)
    named = [f"{cause} ({count:,})" if count < len(jobs) else cause for cause, count in counts.most_common(MOST)]
    return ", ".join(named) + f" and {len(counts) - MOST:,} more" * (len(counts) > MOST)


def causes(dag, job) -> list[str]:
    """Return the reasons why a job runs again; [] if it has not been done before.

    Snakemake compares no params of a job that follows another planned job, so they are compared here.
    """
    reason, records = dag.reason(job), dag.workflow.persistence
    if not job.output or (reason.missing_output and not records.has_metadata(job)):
        return []
    change = records.params_changed(job)
    is_lost = any(text.startswith(f"[{identities.LOST!r}") for text in change.only_new)
    found = changes(job) if change else []
    facts = {
        "deleted input files": is_lost,
        "other settings": reason.params_changed and not found and not is_lost and not reason.updated_input_run,
        "other input files": reason.input_changed,
        "newer input files": reason.updated_input - reason.updated_input_run,
        "other code": reason.code_changed,
        "other software environment": reason.software_stack_changed,
        "forced": reason.forced,
    }
    found += [text for text, holds in facts.items() if holds]
    if not found and reason.missing_output and job.log and planned_jobs.has_failed(str(job.log[0])):
        return []  # Snakemake records it like a finished job
    before = sorted({one.rule.name for one in dag.dependencies[job] if dag.needrun(one)})
    return found or [f"after {listed(before)}" if reason.updated_input_run else "missing output"]


def changes(job) -> list[str]:
    """List the settings of a job that differ from those that its result records."""
    about = job.params.get(made_from.PARAM, {"settings": []})
    now = made_from.as_json({name: identities.canonical(job.params[name]) for name in about["settings"]})
    records = [files.read_if_valid(path) for path in job.output if str(path).endswith(".json")]
    before = next(filter(None, (found.get(made_from.KEY, {}).get("settings") for found in records)), now)
    old, new = (made_from.flatten(some) for some in (before, now))
    differing = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    pairs = {name: (short(old.get(name)), short(new.get(name))) for name in differing}
    return [
        f"{name} {one} {ARROW} {other}" if one != other else f"other {name}" for name, (one, other) in pairs.items()
    ]


def short(value) -> str:
    text = made_from.format_value(value)
    return f"… ({len(value)} values)" if isinstance(value, list) and len(text) > LONG else text


# Where the remaining jobs would run

# An entry point of this group is a function of Snakemake's jobs. It returns the resources with which its executor
# submits them to Slurm; None if that executor is not in use.
RESOURCES = "hra_workflow.scheduler_resources"
SHOWN = {"slurm_account": "account", "slurm_partition": "partition", "qos": "QOS", "gpu_model": "GPU model"}
SHOWN |= {"gres": "GRES", "lsf_project": "project", "lsf_queue": "queue"}


def where(workflow, jobs: list) -> str:
    """Describe where the `jobs` would run."""
    at_a_time = most_jobs(workflow)
    if at_a_time is None:
        return here(workflow.resource_settings.cores, max(planned.requested(job, "gpu") for job in jobs))
    return f"{scheduler(jobs)}, up to {plural(at_a_time, 'job')} at a time"


def most_jobs(workflow) -> int | None:
    """Return how many jobs a scheduler gets at a time; None if the jobs run on this machine.

    A dry run has its own executor; Snakemake sets `use_threads` for that of the run, unless its jobs run here.
    """
    return workflow.resource_settings.nodes if workflow.execution_settings.use_threads else None


def here(cores: int, requested: int) -> str:
    """Describe this machine, which has to have as many GPUs as a job requests."""
    text = f"this machine, {plural(min(cores, len(os.sched_getaffinity(0))), 'core')}"
    if not requested:
        return text
    found = len(local_gpus.visible())
    if found >= requested:
        return f"{text}, {plural(found, 'GPU')}"
    has, remedy = plural(found, "GPU") if found else "no GPU", "use your scheduler's profile (--profile slurm)"
    return f"{text}; this machine has {has}, a job requests {requested}: {remedy}"


def scheduler(jobs: list) -> str:
    """Describe what the jobs request of a scheduler, and what they leave to Slurm."""
    every = (entry.load()(jobs) for entry in entry_points(group=RESOURCES))
    slurm = next((found for found in every if found is not None), None)
    requests = [job.resources for job in jobs] if slurm is None else slurm
    values = {name: {str(one.get(key)): 0 for one in requests if one.get(key)} for key, name in SHOWN.items()}
    parts = [f"{name} {' and '.join(found)}" for name, found in values.items() if found]
    if unset := [name for name in ("account", "partition") if slurm is not None and not values[name]]:
        variables = ", ".join(f"HRA_SLURM_{name.upper()}" for name in unset)
        parts.append(f"the {' and '.join(unset)} that Slurm chooses by default (set {variables})")
    return ": ".join(filter(None, ["a scheduler" if slurm is None else "Slurm", ", ".join(parts)]))
