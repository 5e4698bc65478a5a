"""What runs again: every key of the config has a class (`reruns`), and repeats what its class says.

Every leaf of the demo's config is changed to another legal value, in a project that dummy scripts have finished.
"""

import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase

import pytest

from config_keys import CLASSES, Leaf, changed, leaves
from config_pages import json_schema
from demo_changes import RERUN_EXCEPTIONS, another, demo_config
from project import Project

STAGES = {  # the first that a rule matches
    "data": "download_* hints",
    "training": "augment train_* choose *_class_images",
    "evaluation": "generate_* gather_* evaluate_*",
    "table": "*",
}
CONFIG = demo_config()
CHANGED = [leaf for leaf in leaves(json_schema(), CONFIG) if another(CONFIG, leaf) is not None]


def expected(leaf: Leaf) -> str | None:
    """Return what another value of a leaf repeats in the runs that use it."""
    return next((one for pattern, one in RERUN_EXCEPTIONS.items() if fnmatchcase(str(leaf), pattern)), leaf.reruns)


def named(leaf: Leaf) -> bool:
    """Return whether the tasks name the entry that a leaf belongs to."""
    places = {"models": 1, "methods": 1, "datasets": 2, "presets": 2}
    return leaf.path[0] not in places or f'"{leaf.path[places[leaf.path[0]]]}' in json.dumps(CONFIG["tasks"])


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

    def repeated(self, planned: dict[str, set[str]]) -> str:
        """Return the class of planned jobs, apart from first downloads."""
        stages = {"nothing"}
        for rule, jobs in planned.items():
            if stage_of(rule) != "data" or (jobs or {""}) & (self.first.get(rule) or {""}):
                stages.add(stage_of(rule))
        return max(stages, key=CLASSES.index)


def stage_of(rule: str) -> str:
    return next(name for name, rules in STAGES.items() if any(fnmatchcase(rule, one) for one in rules.split()))


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Demo:
    return Demo(Project.fresh(tmp_path_factory.mktemp("reruns") / "project"))


def test_every_key_has_a_class():
    without = [leaf.key for leaf in leaves(json_schema()) if leaf.reruns not in CLASSES]
    assert not without, f"keys: give these keys, or one above, `reruns`, of {CLASSES}: {without}"


@pytest.mark.slow
@pytest.mark.parametrize("reruns", ["nothing", "table", "evaluation", "training"])
def test_all_keys_of_a_class_together_repeat_no_more_than_it_says(demo, reruns):
    planned = demo.planned([leaf for leaf in CHANGED if expected(leaf) == reruns])
    assert demo.repeated(planned) == reruns, planned
    assert reruns == "table" or {rule for rule in demo.first if stage_of(rule) == reruns} <= planned.keys()


@pytest.mark.slow
def test_settings_of_training_repeat_nothing_of_what_trains_nothing(demo):
    keys = ("presets.*", "tasks.*.defaults.weight_decay", "tasks.subject.defaults.precision", "tasks.*.resources.gpu")
    planned = demo.planned([leaf for leaf in CHANGED if any(fnmatchcase(str(leaf), key) for key in keys)])
    assert {f"train_{task}" for task in CONFIG["tasks"]} <= planned.keys()
    assert not [job for jobs in planned.values() for job in jobs if "method=base" in job or "method=real" in job]


@pytest.mark.slow
def test_settings_of_evaluators_generate_nothing_again(demo):
    planned = demo.planned([leaf for leaf in CHANGED if fnmatchcase(str(leaf), "tasks.*.evaluation.*")])
    assert {"evaluate_subject", "evaluate_control"} <= planned.keys()
    assert not [rule for rule in planned if rule.startswith(("generate_", "gather_"))]


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_a_key_repeats_what_its_class_says(demo):
    """And no more; nothing, where no run uses the leaf."""
    loud = [leaf for leaf in CHANGED if expected(leaf) != "nothing" and named(leaf)]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda leaf: demo.repeated(demo.planned([leaf])), loud))
    wrong = [f"{leaf}: {one}" for leaf, one in zip(loud, found, strict=True) if one not in ("nothing", expected(leaf))]
    used = {leaf.key for leaf, one in zip(loud, found, strict=True) if one != "nothing"}
    assert not wrong + sorted({leaf.key for leaf in loud} - used), "changes more than its class, or nothing"
