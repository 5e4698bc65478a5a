"""Jobs that outlive their Snakemake, at any moment and of every kind: no result of the next config is wrong."""

import contextlib
import random
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from functools import cache

import psutil
import pytest
from yaml import safe_dump

import test_chain
import test_control_chain
import test_subject_chain
from hra_workflow.config.overlays import merged
from project import Project
from support import table_rows
from tiny_demo import real_project

SCRIPTS = {  # some with the rule, where it has another name
    "glue": "download=download_dataset augment train_glue evaluate_glue collect_runs=runs",
    "math": "augment generate_math gather_outputs=gather_math evaluate_math compare",
    "subject": "generate_class_images gather_images=gather_subject train_subject generate_subject evaluate_subject",
    "control": "draw_hints=hints generate_control gather_images=gather_control evaluate_control",
}
CASES = [(task, *(one.split("=") * 2)[:2]) for task, scripts in SCRIPTS.items() for one in scripts.split()]
ONE_RUN = {"tasks": {"glue": {"grid": [{"runs": ["hra/r8"], "datasets": ["made"], "seeds": [0]}]}}}
FIRST = {
    "glue": merged(test_chain.TINY, ONE_RUN),
    "math": merged(test_chain.TINY_MATH, {"tasks": {"math": {"generation": {"shards": 1}}}}),
    "subject": test_subject_chain.TINY,
    "control": test_control_chain.TINY,
}
# What the second config specifies instead.
CHANGES = {
    "glue": {"presets": {"glue": {"tiny": {"all": {"learning_rate": 0.02}}}}},
    "math": {"tasks": {"math": {"generation": {"max_new_tokens": {"test": 6}}}}},
    "subject": {"tasks": {"subject": {name: {"inference_steps": 3} for name in ("class_images", "generation")}}},
    "control": {
        "datasets": {"control": {"scenes": {"hint": "canny"}}},
        "tasks": {"control": {"generation": {"inference_steps": 3}}},
    },
}


def command(task: str, config: str) -> tuple[str, ...]:
    # Both: when the Snakemake of the first config continues, it may fail with a named error and delete the run table.
    targets = [f"results/{name}_{task}.csv" for name in ("runs", "table")]
    return ("--cores", "2", "--nolock", "--rerun-incomplete", "--configfile", config, "--", *targets)


def results(project: Project, task: str) -> dict[str, str]:
    """Return the table, and the run table without what no two runs have in common."""
    table = (project.folder / f"results/table_{task}.csv").read_text()
    rows = table_rows(project.folder / f"results/runs_{task}.csv")
    names = ("dataset", "method", "seed", "benchmark", "selection", "metric", "value", "stderr", "n_items", "status")
    return {"table": table, "runs": [[row[name] for name in names] for row in rows]}


@pytest.fixture(scope="module")
def projects(fresh, tmp_path_factory) -> Callable[[str], tuple[Project, Project]]:
    """Return per task a project with the results of the first config, and one with those of the second."""

    @cache
    def of(task: str) -> tuple[Project, Project]:
        folder = tmp_path_factory.mktemp(task)
        first = real_project(fresh, folder / "first", {})
        for name, content in {"first": FIRST[task], "second": merged(FIRST[task], CHANGES[task])}.items():
            (first.folder / f"{name}.yaml").write_text(safe_dump(content))
        first.snakemake(*command(task, "first.yaml"))
        second = first.copy(folder / "second")
        second.snakemake(*command(task, "second.yaml"))
        return first, second

    return of


def is_running(snakemake: psutil.Process, script: str) -> bool:
    """Return whether a process of a script is below a Snakemake."""
    return any(is_script(process, script) for process in snakemake.children(recursive=True))


def is_script(process: psutil.Process, scripts: str) -> bool:
    """Return whether a process runs a script of this name, a regular expression."""
    with contextlib.suppress(psutil.Error):
        return any(re.search(rf"\.({scripts})\.py$", part) for part in process.cmdline())
    return False


@pytest.mark.full
@pytest.mark.parametrize("way", ["killed", "stopped"])
@pytest.mark.parametrize(("task", "script", "rule"), CASES)
def test_an_orphan_changes_nothing(projects, tmp_path, task, script, rule, way):
    """The first config loses its Snakemake within a job, which is suspended while the second config runs to its end.

    A job with a lock is suspended for a while only, since the second config's job waits for it. Or Snakemake is
    suspended, and its job continues. Whatever wakes up then, the second config's results stay, or an error names the
    file to delete.
    """
    first, second = projects(task)
    delay = random.Random(f"{task}/{script}/{way}").uniform(0, 4)
    project = first.copy(tmp_path / "project")
    log = (project.folder / "output.log").open("w")
    output = {"stdout": log, "stderr": subprocess.STDOUT, "start_new_session": True}
    one = project.start("--forcerun", rule, *command(task, "first.yaml"), **output)
    snakemake, deadline = psutil.Process(one.pid), time.monotonic() + 300
    while one.poll() is None and not is_running(snakemake, script):
        assert time.monotonic() < deadline, (project.folder / "output.log").read_text()
        time.sleep(0.05)
    assert one.poll() is None, (project.folder / "output.log").read_text()
    time.sleep(delay)
    held = snakemake.children(recursive=True) if way == "killed" else [snakemake]
    for process in held:
        send(process, signal.SIGSTOP)
    if way == "killed":
        one.kill()
        one.wait()
    print(f"{script}, after {delay:.1f} s, {len(held)} suspended")

    def resume() -> None:
        for process in held:
            send(process, signal.SIGCONT)

    timer = threading.Timer(15, resume)
    if way == "killed" and any(is_script(process, r"train_\w+|download") for process in held):
        timer.start()
    try:
        completed(project, *command(task, "second.yaml"))
    finally:
        timer.cancel()
        resume()
    one.wait(300)
    assert not psutil.wait_procs(held, 120)[1]
    printed = completed(project, *command(task, "second.yaml"))
    assert results(project, task) == results(second, task), printed


def completed(project: Project, *command: str) -> str:
    """Run a command; while a job refuses a file that an orphan has written, delete the file and run again."""
    for _ in range(10):
        printed = project.snakemake(*command, ok=None)
        refused = set(re.findall(r"[Dd]elete ((?:results|resources)/[^\s);]+)", printed)) | set(
            re.findall(r"JobError: (\S+): expected .*? Delete it and run again", printed)
        )
        if not refused:
            break
        for path in refused:
            (project.folder / path).unlink(missing_ok=True)
    return printed


def send(process: psutil.Process, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)
