"""Validation of `tasks.{task}.tune`."""

import math
from collections.abc import Callable

from hra_workflow.core import grid, tuning
from hra_workflow.core.errors import expect, one_of
from hra_workflow.tasks import tuned_runs
from hra_workflow.tasks.base import Task


def check(task: Task, check_run: Callable[[Task, str, str], None]) -> None:
    """Raise JobError for the first error in a task's `tune`. check_run: checks `method/variant` on a dataset."""
    tune, place = task.settings.get("tune"), f"config: tasks.{task.name}.tune"
    if not tune:
        return
    expect(
        "held_out" in task.settings,
        f"{place}: expected `held_out: {{share: 0.1}}` in tasks.{task.name}, the rows on which trials are evaluated",
    )
    for run in tune.get("runs", []):
        one_of(f"{place}.runs", "run of the grid", run, grid.run_names(task.config, task.name))
    tuned = [run for run in grid.run_names(task.config, task.name) if tuned_runs.is_tuned(task, run)]
    expect(tuned, f"{place}: no run of the grid trains anything, so there is no learning rate to tune. Remove it")
    expect(
        tuning.SEED not in [run["seed"] for run in task.runs()],
        f"{place}: the trials have the seed {tuning.SEED}, and tasks.{task.name}.grid has it too. A final run with the "
        "trials' seed would be a run that was selected. Use another seed in the grid",
    )
    for name in tune.get("methods", {}):
        one_of(f"{place}.methods", "method or variant", name, grid.run_keys(task.config)[1:])
        expect(
            any(name in (run, run.split("/")[0]) for run in tuned),
            f"{place}.methods: {name} has no learning rate to tune: no such run of the grid trains anything. Remove it",
        )
    for run in tuned:
        found, budget = math.prod(len(values) for values in tuning.search(tune, run).values()), tune["trials"]
        expect(
            found == budget,
            f"{place}: {run} has {found} combinations of values for trials: {budget}. Every method gets the same "
            f"number of trials: state {budget} combinations",
        )
        for dataset in grid.datasets(task.config, task.name):
            for trial in tuning.trials(tune, run):
                check_run(task, dataset, trial)
