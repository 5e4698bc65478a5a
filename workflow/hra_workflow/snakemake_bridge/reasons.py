"""The reasons why jobs run again, for each rule: `train_glue: 5 jobs, learning_rate 0.02 → 0.001`.

Snakemake records the params of every finished job; the params of `recorded` and `recorded_in_order` (reruns.py) contain
their names. So the differences can be found without reading results.
"""

import ast
import contextlib
import json
import logging
from collections import Counter
from collections.abc import Container, Iterable

from snakemake.logging import logger
from snakemake_interface_logger_plugins.common import LogEvent

from hra_workflow.core import fingerprints
from hra_workflow.core.wording import listed, of_jobs
from hra_workflow.cost import planned_jobs
from hra_workflow.snakemake_bridge import reruns

MOST = 3  # number of causes that are printed for each rule
ARROW = "→"
LONG = 40  # characters; longer lists are printed as their length
LONGEST = 20_000  # characters of a param that is parsed, in 0.1 s: the list of all runs of a large table is longer


def again(dag, failed: Container[str] = ()) -> list[str]:
    """Return a line for each rule with jobs that are planned again, in the order of the workflow.

    failed: the names of the jobs that failed when they last ran, which Snakemake records like finished ones.

    Call it only in a dry run: Snakemake caches the params that it compares, so a job after a checkpoint would record
    old ones.
    """
    found: dict[str, list[list[str]]] = {}
    for level in dag.toposorted():
        for job in sorted(filter(dag.needrun, level), key=lambda job: job.rule.name):
            if why := causes(dag, job, failed):
                found.setdefault(job.rule.name, []).append(why)
    return [f"{rule}: {of_jobs(len(jobs))}, {counted(jobs)}" for rule, jobs in found.items()]


def counted(jobs: list[list[str]]) -> str:
    """Return the most frequent causes of a rule's jobs, with the number of jobs if not all have the cause."""
    counts = Counter(cause for causes in jobs for cause in causes)
    named = [f"{cause} ({count:,})" if count < len(jobs) else cause for cause, count in counts.most_common(MOST)]
    return ", ".join(named) + f" and {len(counts) - MOST:,} more" * (len(counts) > MOST)


def causes(dag, job, failed: Container[str] = ()) -> list[str]:
    """Return the reasons why a job runs again; [] if it has not been done before.

    Snakemake compares no params of a job that follows another planned job, so they are compared here.
    """
    reason, records = dag.reason(job), dag.workflow.persistence
    if not job.output or (reason.missing_output and not records.has_metadata(job)):
        return []
    change = records.params_changed(job)
    found, is_lost = changes(change), any(text.startswith(f"[{reruns.LOST!r}") for text in change.only_new)
    if reason.updated_input_run:  # the list of a table's runs differs whenever one run does
        found = [text for text in found if ARROW in text]
    facts = {
        "deleted input files": is_lost,
        "other settings": reason.params_changed and not found and not is_lost,
        "other input files": reason.input_changed,
        "newer input files": reason.updated_input - reason.updated_input_run,
        "other code": reason.code_changed,
        "other software environment": reason.software_stack_changed,
        "forced": reason.forced,
    }
    found += [text for text, holds in facts.items() if holds]
    if not found and reason.missing_output and planned_jobs.name_of(job.rule.name, job.wildcards_dict) in failed:
        return []
    before = sorted({one.rule.name for one in dag.dependencies[job] if dag.needrun(one)})
    return found or [f"after {listed(before)}" if reason.updated_input_run else "missing output"]


def changes(params) -> list[str]:
    """List the settings that differ between Snakemake's params before and now."""
    before, now = (fingerprints.flatten(named(some)) for some in (params.only_old, params.only_new))
    differing = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    pairs = {name: (short(before.get(name)), short(now.get(name))) for name in differing}
    return [f"{name} {old} {ARROW} {new}" if old != new else f"other {name}" for name, (old, new) in pairs.items()]


def short(value) -> str:
    text = fingerprints.format_value(value)
    return f"… ({len(value)} values)" if isinstance(value, list) and len(text) > LONG else text


def named(params: Iterable[str]) -> dict:
    """Join params, each a dictionary in Python's notation; params of other workflows' rules may have any form."""
    found = {}
    for text in sorted(text for text in params if len(text) < LONGEST):
        with contextlib.suppress(ValueError, SyntaxError, TypeError):
            found |= json.loads(json.dumps(ast.literal_eval(text)))
    return found


def shorten(workflow) -> None:
    """Make Snakemake print only the settings that differ in a job's reason, instead of all params before and now."""
    known: dict = {}

    def shortened(record: logging.LogRecord) -> bool:
        dag = workflow.dag
        if getattr(record, "event", None) == LogEvent.JOB_INFO:
            with contextlib.suppress(KeyError):  # for a job that a checkpoint has just added
                if record.jobid not in known:
                    known.update((dag.jobid(job), job) for job in dag.jobs)
                change = dag.reason(known[record.jobid]).params_changed
                if texts := changes(change):
                    record.reason = record.reason.replace(str(change), ", ".join(texts))
        return True

    logger.addFilter(shortened)
