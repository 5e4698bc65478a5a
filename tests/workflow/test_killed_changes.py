"""A changed config whose first command ends early is not forgotten: the next command's tables are those of the change.

The scripts are dummies whose outputs name all that they were made from: rule, identity and contents of the inputs. So
a table that a file of the old config is below differs from that of an undisturbed run.
"""

import json
import shutil
import subprocess
from itertools import chain
from pathlib import Path

import pytest
import yaml

import rule_jobs
import test_chain
import test_control_chain
import test_subject_chain
from hra_workflow.config.overlays import merged
from project import Project

STAND_IN = """
import hashlib, json, os, signal, time
from pathlib import Path

content = [snakemake.rule, snakemake.params.get("identity"), dict(snakemake.wildcards.items())]
content += [Path(path).read_text() for path in snakemake.input if Path(path).is_file()]
made = f"{snakemake.rule} {hashlib.sha256(json.dumps(content).encode()).hexdigest()}"
fault = json.loads(Path("fault.json").read_text()) if Path("fault.json").exists() else {"rules": []}
ended = fault["end"] if snakemake.rule in fault["rules"] else None
if ended:
    Path("begun", snakemake.rule).touch()
    deadline = time.monotonic() + 120
    while {path.name for path in Path("begun").iterdir()} < set(fault["rules"]):  # all have begun
        assert time.monotonic() < deadline
        time.sleep(0.05)
    starter = json.loads(os.environ["HRA_STARTED_BY"])["pid"]
    if ended == "the job is killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if ended == "the job raises an error":
        raise ValueError
    if ended == "the disk is full":
        for path in filter(lambda path: Path(path).suffix, snakemake.output):
            Path(path).write_text(made[:5])
        raise OSError(28, "No space left on device")
    os.kill(starter, signal.SIGKILL if ended == "Snakemake is killed" else signal.SIGINT)
    raise KeyboardInterrupt
for path in map(Path, snakemake.output):
    if path.suffix:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(made)
    else:
        path.mkdir(parents=True, exist_ok=True)
"""
ENDS = ["the job is killed", "the job raises an error", "the disk is full", "Snakemake is killed", "Ctrl-C"]
FILES = "table_glue table_math table_subject table_control sheets/subject_clown sheets/control_scenes"
TARGETS = [f"results/{name}.{'png' if '/' in name else 'csv'}" for name in FILES.split()]
COMMAND = ("--cores", "32", "--nolock", "--rerun-incomplete", "--configfile", "config.yaml")
# The runs of `other` use no class images, so those and the images of a run can be generated at the same time.
OTHER = {
    "datasets": {"subject": {"other": test_subject_chain.TINY["datasets"]["subject"]["clown"]}},
    "presets": {"subject": {"tiny": {"datasets": {"other": {"prior_weight": 0.0}}}}},
    "tasks": {"subject": {"grid": [{"runs": ["hra/r8"], "datasets": ["clown", "other"], "seeds": [0]}]}},
}
FEW = {"tasks": {"math": {"grid": [{"runs": ["hra/r8"], "datasets": ["made"], "seeds": [0]}]}}}
FEW["tasks"]["math"]["compute"] = {"runs": ["hra/r8"]}
FIRST = [test_chain.TINY, test_chain.TINY_MATH, test_subject_chain.TINY, test_control_chain.TINY, OTHER, FEW]
GENERATED = {
    "tasks": {
        "math": {"generation": {"max_new_tokens": {"test": 6}}},
        "subject": {name: {"inference_steps": 3} for name in ("class_images", "generation")},
        "control": {"generation": {"inference_steps": 3}},
    }
}
# What a change repeats first. Each plan has the stages after it, too.
CHANGES = {
    "data": {"datasets": {name: {"made": {"source": {"seed": 7}}} for name in ("glue", "math")}}
    | {"tasks": {"subject": {"resolution": 32}, "control": {"resolution": 32}}},
    "hints and training": {
        "presets": {"glue": {"tiny": {"all": {"learning_rate": 0.02}}}, "math": {"tiny": {"all": {"epochs": 2}}}},
        "datasets": {"control": {"scenes": {"hint": "canny"}}},
        "tasks": {"subject": {"training_prompt": "one {subject}"}},
    },
    "generation": GENERATED,
    "evaluation": {
        "datasets": {
            "glue": {"made": {"metrics": ["accuracy", "matthews_correlation"]}},
            "math": {"made": {"score": "lenient"}},
            "control": {"scenes": {"evaluators": ["canny"]}},
        },
        "tasks": {
            "subject": {"evaluation": {"best_by": ["blocked"]}},
            "control": {"columns": test_control_chain.TINY["tasks"]["control"]["columns"][:1]},
        },
    },
}


@pytest.fixture(scope="module")
def finished(fresh, tmp_path_factory) -> Project:
    """Provide a project with the results of the first config."""
    project = fresh.copy(tmp_path_factory.mktemp("killed") / "first")
    project.stand_in(STAND_IN)
    (project.folder / "begun").mkdir()
    write(project, merged(*FIRST))
    project.snakemake(*COMMAND, "-q", "all", "--", *TARGETS)
    return project


def write(project: Project, config: dict) -> None:
    (project.folder / "config.yaml").write_text(yaml.safe_dump(config))


def changed(project: Project, folder: Path, change: dict) -> Project:
    """Return a copy whose config is changed."""
    copied = project.copy(folder)
    write(copied, merged(*FIRST, change))
    return copied


def tables(project: Project) -> dict[str, str]:
    return {path: (project.folder / path).read_text() for path in TARGETS}


def ended_early(project: Project, end: str, rules: list[str]) -> None:
    """Run the command until these rules' jobs have all begun, which then end."""
    fault = project.folder / "fault.json"
    fault.write_text(json.dumps({"end": end, "rules": rules}))
    process = project.start(*COMMAND, "--", *TARGETS, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output = process.communicate(timeout=300)[0]
    assert process.returncode, output
    assert {path.name for path in (project.folder / "begun").iterdir()} == {*rules}, output
    fault.unlink()


@pytest.fixture(scope="module")
def generated(finished, tmp_path_factory) -> tuple[dict[str, str], list[str]]:
    """Return the tables of a changed generation, and all stages with temporary outputs, found from the rules."""
    project = changed(finished, tmp_path_factory.mktemp("generated") / "project", GENERATED)
    stages = [name for name, rule in rule_jobs.names().items() if rule["temporary"] and name != "generate"]
    assert {*stages} <= project.plan(*TARGETS, config="config.yaml").keys(), "GENERATED repeats none of its jobs"
    project.snakemake(*COMMAND, "-q", "all", "--", *TARGETS)
    return tables(project), stages


@pytest.mark.slow
@pytest.mark.parametrize(
    "end", [one if "killed" in one else pytest.param(one, marks=pytest.mark.full) for one in ENDS], ids=[*ENDS]
)
def test_the_next_command_makes_the_tables_of_a_changed_generation(finished, generated, tmp_path, end):
    """All stages end at once."""
    expected, stages = generated
    project = changed(finished, tmp_path / "project", GENERATED)
    ended_early(project, end, stages)
    project.snakemake(*COMMAND, "--", *TARGETS)
    assert tables(project) == expected
    assert project.plan(*TARGETS, config="config.yaml") == {}


@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("change", "task"), [(change, task) for change, of in CHANGES.items() for task in sorted({*chain(*of.values())})]
)
def test_the_next_command_makes_the_tables_after_a_job_of_any_rule_was_killed(finished, tmp_path, change, task):
    only = {part: {task: of[task]} for part, of in CHANGES[change].items() if task in of}
    undisturbed = changed(finished, tmp_path / "undisturbed", only)
    undisturbed.snakemake(*COMMAND, "-q", "all", "--", *TARGETS)
    expected = tables(undisturbed)
    rules = changed(finished, tmp_path / "plan", only).plan(*TARGETS, config="config.yaml")
    assert len(rules) > 2
    wrong = []
    for rule in rules:
        project = changed(finished, tmp_path / rule, only)
        ended_early(project, "the job is killed", [rule])
        project.snakemake(*COMMAND, "--", *TARGETS)
        wrong += [rule] if tables(project) != expected else []
        shutil.rmtree(project.folder)
    assert wrong == []
