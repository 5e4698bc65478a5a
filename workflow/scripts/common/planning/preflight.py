"""`make preflight`: what would make a real run fail, found in minutes and before a GPU-hour is spent.

Part `login` is a dry run of the requested tables. At its end, the sources of their downloads, disk and scheduler are
checked. Every finding is a line, and all are written to results/preflight.json.
"""

import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from common.core import files, job
from common.core.errors import JobError
from common.data import reachability
from common.planning import disk, downloads, plan, site
from common.planning.site import Finding

HARNESS = "download_harness"  # its sources are those of lm-evaluation-harness


def login(workflow, config: dict) -> None:
    """Print the plan and the findings of this machine; called at the end of the dry run."""
    if not workflow.dag:  # the dry run has failed and has said so
        return
    plan.show(workflow, config)
    planned = {one.name: one for some in plan.of_dag(workflow.dag, config).values() for one in some}
    # What runs on the login node in every profile; `is_local` is true of every job without an executor.
    here = workflow._localrules | {rule.name for rule in workflow.rules if rule.norun}
    remote = [one for one in workflow.dag.needrun_jobs() if one.rule.name not in here]
    found = [
        *sources(config, planned.values()),
        *site.disk(needed_bytes(config, planned.values()), len(planned)),
        *site.scheduler(site.requests(remote), workflow.resource_settings.nodes),
    ]
    save(config, "login", found)
    show(found)


def sources(config: dict, planned: Iterable) -> Iterator[Finding]:
    """Ask the source of every missing download for its first bytes."""
    for one in downloads.of(planned):
        entry, name = downloads.entry(config, one)
        check = f"source {name}"
        if not one.needed:
            yield Finding(check, True, "already downloaded")
        elif "source" not in entry:
            yield Finding(check, True, "not checked: lm-evaluation-harness chooses its addresses itself")
        else:
            print(f"  …     asking {check}", file=sys.stderr)
            yield reached(check, entry["source"], config)


def reached(check: str, source: dict, config: dict) -> Finding:
    found = reachability.ask(source, config["mirror"], config["local_root"])
    if found.problem:
        return Finding(check, False, found.problem)
    if source["kind"] == "archive":
        return Finding(check, True, "unpacked from an archive, which is a source of its own")
    if source["kind"] == "init":
        return Finding(check, True, "generated here")
    size = f", {found.size / 1e9:.3g} GB" if found.size else ""
    return Finding(check, True, f"{found.files} file{'s' * (found.files != 1)} reachable{size}")


def needed_bytes(config: dict, planned: Iterable) -> dict[str, float]:
    """Return the estimated bytes that the missing jobs will add to each folder."""
    found = disk.estimate(config, [one for one in planned if one.needed])
    wanted = {name: sum(part.values()) for name, part in found.folders.items()} | {"scratch": found.training}
    return {config["pathvars"][name]: wanted.get(name, 0.0) for name in ("resources", "results", "scratch")}


# The report


def path(config: dict) -> Path:
    return Path(config["pathvars"]["results"], "preflight.json")


def load(config: dict) -> dict:
    """Return the last report; an empty one if there is none."""
    try:
        return files.read_json(path(config))
    except (FileNotFoundError, JobError):
        return {"findings": [], "rates": []}


def save(config: dict, part: str, found: list[Finding]) -> None:
    """Replace the findings of one part in the report."""
    report = load(config)
    kept = [one for one in report["findings"] if one["part"] != part]
    new = [{"part": part} | asdict(one) for one in found]
    time_ = time.strftime(job.TIME, time.gmtime())
    files.write_json(path(config), report | {"time": time_, "findings": kept + new})


def show(found: Iterable[Finding]) -> None:
    print("\n".join(map(str, found)))
