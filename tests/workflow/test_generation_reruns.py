"""Incremental reruns of the tasks that generate answers and images, by dry run."""

import pytest
import yaml

from project import Project

CHAINS = """
pathvars: {results: own/results, resources: own/resources, scratch: own/scratch, logs: own/logs}
tasks:
  glue: null
  math:
    grid: [{runs: [base/pretrained, lora/r8], datasets: [word-problems], seeds: [0]}]
    generation: {shards: 2}
    compute: {runs: [lora/r8]}
  subject: {grid: [{runs: [base/pretrained, hra/r8], datasets: [jester-ball], seeds: [0]}]}
  control:
    grid: [{runs: [base/pretrained, hra/r8], datasets: [scenes-canny], seeds: [0]}]
    columns: [{name: Canny IoU, dataset: scenes-canny, benchmark: validation, metric: canny_iou}]
"""
DEMO = ("--configfile", "config/demo/config.yaml", "chains.yaml")


@pytest.fixture(scope="module")
def demo(fresh, tmp_path_factory) -> Project:
    """Provide the demo's tasks with answers and images, finished by dummy scripts."""
    project = fresh.copy(tmp_path_factory.mktemp("chains") / "project")
    project.stand_in()
    (project.folder / "chains.yaml").write_text(CHAINS)
    project.snakemake("--cores", "2", *DEMO, "-q", "all")
    return project


@pytest.fixture
def planned(demo):
    """Return a function from changes of the config, as YAML, to the jobs that they plan."""

    def plan(changes: str) -> dict[str, set[str]]:
        (demo.folder / "changed.yaml").write_text(changes)
        tables = [f"own/results/table_{task}.csv" for task in ("math", "subject", "control")]
        made = [str(path.relative_to(demo.folder)) for path in (demo.folder / "own/results/figures").glob("*.png")]
        return demo.plan(*tables, *made, extra=(*DEMO, "changed.yaml"))

    return plan


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        "{}",
        "tasks: {math: {generation: {shards: 3}}, subject: {generation: {shards: 3}, class_images: {shards: 2}}}",
        "tasks: {control: {generation: {shards: 3}}}",
        "pathvars: {scratch: elsewhere}",
        "methods: {lora: {variants: {r16: {peft: {r: 12}, label: unused}}}}",
        "tasks: {subject: {resources: {gpu: 2}}, control: {resources: {gpu: 2}}}",
    ],
)
def test_what_changes_no_result_plans_nothing(planned, changes):
    assert planned(changes) == {}


@pytest.mark.slow
def test_what_trains_nothing_depends_on_no_setting_of_training(planned):
    """The number of processes is one for the language model, but not for diffusion."""
    setting = "{defaults: {weight_decay: 0.5, precision: bf16}, resources: {gpu: 2}}"
    found = planned(f"tasks: {{math: {{resources: {{gpu: 2}}}}, subject: {setting}}}")
    assert found["train_math"] == {"task=math dataset=word-problems method=lora variant=r8 seed=0"}
    assert found["train_subject"] == {"task=subject dataset=jester-ball method=hra variant=r8 seed=0"}
    assert not any("method=base" in job for jobs in found.values() for job in jobs)


@pytest.mark.slow
def test_the_version_of_an_evaluator_plans_its_evaluations(planned, demo):
    config = yaml.safe_load((demo.folder / "config/demo/config.yaml").read_text())
    evaluators = config["tasks"]["control"]["evaluation"]["evaluators"]
    for one in evaluators:
        one["version"] = 2
    found = planned(yaml.safe_dump({"tasks": {"control": {"evaluation": {"evaluators": evaluators}}}}))
    assert len(found["evaluate_control"]) == 2
    tables = {"runs", "compare", "table", "cost", "figures", "figures_lambda", "figures_stability"}
    assert found.keys() <= tables | {"evaluate_control"}
