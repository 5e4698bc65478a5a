"""What runs again: every key of the config has a class (`reruns`), and repeats what its class says.

Every leaf of the demo's config is changed to another legal value, in a project that dummy scripts have finished. What
no run uses and what changes no result is changed all at once and plans nothing; all keys of a class together plan no
more than it says. What a single key plans shows in a dry run with one changed leaf per task, since tasks share no jobs:
`make test-full` tries every leaf.
"""

import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase

import pytest

from config_keys import CLASSES, Leaf, changed, leaves
from config_pages import json_schema
from demo_changes import RERUN_EXCEPTIONS, another, demo_config
from hra_workflow import methods
from hra_workflow.core import grid
from project import Project

TASKS = ("glue", "math", "subject", "control")
STAGES = {  # the first that a rule matches
    "data": "download_* hints",
    "training": "augment train_* choose *_class_images",
    "evaluation": "generate_* gather_* evaluate_*",
    "table": "*",
}
OWN_RULES = {"math": "table_* download_harness", "subject": "*_class_images", "control": "hints"}
CONFIG = demo_config()


def tasks_of_model(name: str) -> set[str]:
    """Return the tasks that use a model, for their runs or as an evaluator."""

    def used(settings: dict) -> list[str]:
        evaluators = settings.get("evaluation", {}).get("evaluators", ())
        return [settings["model"], *(one.get("model") for one in evaluators)]

    return {task for task in TASKS if name in used(CONFIG["tasks"][task])}


def tasks_of(leaf: Leaf) -> set[str]:
    """Return the tasks whose runs use a leaf; none if it is of a variant, model, dataset or preset that no run uses."""
    first, second, third, fourth = (*leaf.path, None, None, None)[:4]
    if first == "models":
        trained = {task for task in TASKS if CONFIG["tasks"][task]["model"] == second and fourth in (None, "paper")}
        return trained if third in ("head", "targets") else tasks_of_model(second)
    if first == "methods":
        name = f"{second}/{fourth or '*'}"
        return {task for task in TASKS if any(fnmatchcase(run, name) for run in grid.run_names(CONFIG, task))}
    if first == "datasets":
        return {second} if third in datasets_of(second) else set()
    if first in ("presets", "tasks"):
        return {second} if in_use(leaf, second, third, fourth) else set()
    return set(TASKS)


def datasets_of(task: str) -> set[str]:
    """Return the datasets that the runs of a task are trained and evaluated on."""
    names = grid.datasets(CONFIG, task)
    tested = [path for name in names for path in CONFIG["datasets"][task][name].get("benchmarks", {}).values()]
    return {*names, *(path.split("/")[0] for path in tested)}


def in_use(leaf: Leaf, task: str, third: str, fourth: str | None) -> bool:
    """Return whether a run uses a leaf of its task or of the presets: a preset overrides some, others are of no run."""
    if leaf.key.endswith("defaults.precision"):
        return True  # the augmentation reads it
    if (leaf.path[0] == "presets" or third == "defaults") and leaf.path[-1] != "source":
        runs = [(run["dataset"], f"{run['method']}/{run['variant']}") for run in grid.runs(CONFIG, task)]
        runs = [(dataset, run) for dataset, run in runs if methods.get(CONFIG, run.split("/")[0]).trains]
        section = {"presets": CONFIG["presets"], "tasks": CONFIG["tasks"], "methods": CONFIG["methods"]}
        own = changed(section, {leaf.path: "changed"})
        return any(grid.hyperparameters(own, task, *run) != grid.hyperparameters(section, task, *run) for run in runs)
    if third == "prompts" and task == "subject":
        return fourth in {CONFIG["datasets"][task][name]["prompts"] for name in grid.datasets(CONFIG, task)}
    if third == "held_out":
        return CONFIG["tasks"][task].get("selection") == grid.HELD_OUT or bool(CONFIG["tasks"][task]["tune"])
    if leaf.key.endswith("max_new_tokens.*"):
        return any(leaf.path[-1] in CONFIG["datasets"][task][one]["benchmarks"] for one in grid.datasets(CONFIG, task))
    if (third, fourth) == ("figures", "lambda"):
        return len({one["lambda"] for one in methods.lambdas(CONFIG, task).values()}) > 1
    return True


def expected(leaf: Leaf) -> str | None:
    """Return what another value of a leaf repeats in the runs that use it."""
    return next((one for pattern, (one, _) in RERUN_EXCEPTIONS.items() if fnmatchcase(str(leaf), pattern)), leaf.reruns)


LEAVES = list(leaves(json_schema(), CONFIG))
USED = {leaf.path: tasks_of(leaf) for leaf in LEAVES}
CHANGED = [leaf for leaf in LEAVES if another(CONFIG, leaf) is not None]
QUIET = [leaf for leaf in CHANGED if expected(leaf) == "nothing" or not USED[leaf.path]]
LOUD = [leaf for leaf in CHANGED if leaf not in QUIET]


class Demo:
    """The complete demo, finished by dummy scripts. Its config is one file, which Snakemake reads faster."""

    def __init__(self, project: Project):
        self.project = project
        for path in (project.folder / "config").rglob("*.yaml"):
            path.write_text("{}")
        (project.folder / "config.json").write_text(json.dumps(CONFIG))
        self.first = self.planned([])
        project.stand_in()
        project.snakemake("--cores", "2", "--configfile", "config.json", "-q", "all", "--", "all")

    def planned(self, chosen: list[Leaf]) -> dict[str, set[str]]:
        """Return the jobs that are planned when these leaves have another value."""
        config = changed(CONFIG, {leaf.path: another(CONFIG, leaf) for leaf in chosen})
        with tempfile.NamedTemporaryFile("w", suffix=".json", dir=self.project.folder) as file:
            file.write(json.dumps(config))
            file.flush()
            return self.project.plan("all", config=file.name)

    def repeated(self, chosen: list[Leaf]) -> dict[str, str]:
        """Return the class of what these leaves repeat, for every task."""
        return self.classes(self.planned(chosen))

    def classes(self, planned: dict[str, set[str]]) -> dict[str, str]:
        found = {task: {"nothing"} for task in TASKS}
        for rule, jobs in planned.items():
            stage = stage_of(rule)
            for job in jobs or {""}:
                new = stage == "data" and job not in (self.first.get(rule) or {""})  # a first download
                for task in tasks_of_job(rule, dict(one.split("=") for one in job.split())) if not new else ():
                    found[task].add(stage)
        return {task: max(stages, key=CLASSES.index) for task, stages in found.items()}


def stage_of(rule: str) -> str:
    return next(name for name, rules in STAGES.items() if matches(rule, rules))


def matches(name: str, patterns: str) -> bool:
    return any(fnmatchcase(name, one) for one in patterns.split())


def tasks_of_job(rule: str, wildcards: dict[str, str]) -> set[str]:
    if "model" in wildcards:
        return tasks_of_model(wildcards["model"])
    if "task" in wildcards:
        return {wildcards["task"]}
    return {task for task, rules in OWN_RULES.items() if matches(rule, rules)}


def packs(chosen: list[Leaf]) -> list[list[Leaf]]:
    """Divide leaves so that every task uses one of a pack at most."""
    found: list[list[Leaf]] = []
    for leaf in sorted(chosen, key=lambda leaf: -len(USED[leaf.path])):
        free = (pack for pack in found if not any(USED[leaf.path] & USED[one.path] for one in pack))
        if pack := next(free, None):
            pack.append(leaf)
        else:
            found.append([leaf])
    return found


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Demo:
    return Demo(Project.fresh(tmp_path_factory.mktemp("reruns") / "project"))


def test_every_key_has_a_class():
    without = [leaf.key for leaf in leaves(json_schema()) if leaf.reruns not in CLASSES]
    assert not without, f"keys: give these keys, or one above, `reruns`, of {CLASSES}: {without}"


@pytest.mark.slow
def test_what_no_run_uses_and_what_changes_no_result_plans_nothing(demo):
    assert demo.planned([]) == {}
    assert demo.planned(QUIET) == {}


@pytest.mark.slow
@pytest.mark.parametrize("reruns", ["table", "evaluation", "training"])
def test_all_keys_of_a_class_together_repeat_no_more_than_it_says(demo, reruns):
    planned = demo.planned([leaf for leaf in LOUD if expected(leaf) == reruns])
    assert set(demo.classes(planned).values()) == {reruns}
    assert reruns == "table" or {rule for rule in demo.first if stage_of(rule) == reruns} <= planned.keys()


@pytest.mark.slow
def test_settings_of_training_repeat_nothing_of_what_trains_nothing(demo):
    keys = ("presets.*", "tasks.*.defaults.weight_decay", "tasks.subject.defaults.precision", "tasks.*.resources.gpu")
    planned = demo.planned([leaf for leaf in CHANGED if any(fnmatchcase(str(leaf), key) for key in keys)])
    assert {f"train_{task}" for task in TASKS} <= planned.keys()
    assert not [job for jobs in planned.values() for job in jobs if "method=base" in job or "method=real" in job]


@pytest.mark.slow
def test_settings_of_evaluators_generate_nothing_again(demo):
    planned = demo.planned([leaf for leaf in LOUD if fnmatchcase(str(leaf), "tasks.*.evaluation.*")])
    assert {"evaluate_subject", "evaluate_control"} <= planned.keys()
    assert not [rule for rule in planned if rule.startswith(("generate_", "gather_"))]


@pytest.mark.full
def test_a_key_repeats_what_its_class_says(demo):
    wrong, tried = [], packs(LOUD)
    with ThreadPoolExecutor(2) as pool:
        every = list(pool.map(demo.repeated, tried))
    for pack, repeated in zip(tried, every, strict=True):
        for leaf in pack:
            found = {repeated.pop(task) for task in USED[leaf.path]}
            if found != {expected(leaf)}:
                wrong.append(f"{leaf}: expected {expected(leaf)}, planned {', '.join(found)}")
        wrong += [f"{[*map(str, pack)]}: {task} plans {what}" for task, what in repeated.items() if what != "nothing"]
    assert not wrong, "\n".join(wrong)
