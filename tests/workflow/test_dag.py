"""The Snakefile: the full grid plans fast and without torch, wrong configs stop it with one message."""

import os
import re

import pytest
import yaml

from hra_workflow.config import overlays
from project import jpeg, write_rooms
from support import ROOT
from test_profiles import text_of


def test_the_readme_s_command_plans_the_full_grid_without_torch(fresh, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "SLOW = ('torch', 'transformers', 'peft', 'diffusers', 'scipy', 'matplotlib')\n"
        "class Refuse:\n"
        "    def find_spec(self, name, *_):\n"
        "        assert name.split('.')[0] not in SLOW, name + ' imported by a dry-run'\n"
        "sys.meta_path.insert(0, Refuse())\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    # A process of its own, not a fork of one that has imported Snakemake.
    (tmp_path / "config.yaml").write_text(text_of("slurm", "slurm"))  # with the executor that every installation has
    options = ("--profile", str(tmp_path), "-n", "-q", "rules", "--config", "report_to=[trackio]", "--")
    output = fresh.snakemake(*options, "results/table_glue.csv", before=("env",))
    assert "warning: report_to: trackio is not installed here." in output
    assert "train_glue 455 " in " ".join(output.split())  # 8 datasets × 11 variants × 5 seeds, and Figure 3's 15


# Jobs of the paper's tables. Mathematics: 14 variants × 3 seeds, the base model and Table 6's LoRA; two benchmarks per
# run; Table 3's three runs. Subjects: 30 training runs per variant, except the real images and the base model, which
# train nothing; 15 classes. Control: 9 variants on 3 datasets, of which real images and base model train nothing and
# real images are not generated; one shard each, of less than two hours.
PLANNED = {
    "math retention compute": "train_math 44, generate_math 44, evaluate_math 88, evaluate_harness 3",
    "subject": "train_subject 300, generate_subject 270, generate_class_images 15, gather_subject 270, "
    "evaluate_subject 300, download_dataset 30, download_archive 1, augment 8, "
    "including 240 training runs, 285 shards, 300 evaluations",
    "control": "hints 3, latents 3, augment 7, train_control 27, generate_control 24, gather_control 24, "
    "evaluate_control 27, download_dataset 3, download_model 5, "
    "including 21 training runs, 24 shards, 27 evaluations",
}


@pytest.mark.slow
@pytest.mark.parametrize("tables", PLANNED)
def test_the_papers_tables_are_planned_with_their_jobs(fresh, tables):
    targets = [f"results/table_{name}.csv" for name in tables.split()]
    words = " ".join(fresh.snakemake("--profile", "slurm", "-n", "-q", "rules", "--", *targets).split())
    counts, _, totals = PLANNED[tables].partition(", including ")
    assert totals in words and not [jobs for jobs in counts.split(", ") if f" {jobs} " not in words], words


def test_common_rules_stay_small():
    assert len((ROOT / "rules/common.smk").read_text().splitlines()) < 150


def test_all_makes_the_tasks_whose_grid_the_config_file_states(fresh):
    (fresh.folder / "off.yaml").write_text("tasks: {math: null, control: null}\n")
    planned = fresh.plan("all", config="small.yaml", extra=("--configfile", "small.yaml", "off.yaml"))
    assert len(planned["train_glue"]) == 8
    assert {rule for rule in planned if rule.startswith("train_")} == {"train_glue"}


@pytest.mark.slow
def test_a_control_signal_of_ones_own_is_an_entry(fresh, tmp_path, monkeypatch):
    """Test the custom control signal of docs/your-own.md, in a config with its images."""
    (entry,) = re.findall(r"```yaml\n# hint\n(.*?)```", (ROOT / "docs/your-own.md").read_text(), re.DOTALL)
    names = ("train", "validation")
    splits = {name: {"prompts": f"{name}.jsonl", "image": f"rooms.zip:{name}/{{key}}.jpg"} for name in names}
    rooms = {"source": {"kind": "local", "path": str(tmp_path)}, "splits": splits}
    grid = [{"runs": ["real/images", "base/pretrained", "hra/r8"], "datasets": ["rooms"], "seeds": [0]}]
    config = {"datasets": {"control": {"rooms": rooms}}, "tasks": {"control": {"grid": grid}}}
    (fresh.folder / "mine.yaml").write_text(yaml.safe_dump(overlays.merged(config, yaml.safe_load(entry))))
    (tmp_path / "my_hints.py").write_text("def contrast(image, annotation):\n    return image\n")
    write_rooms(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    planned = fresh.plan("results/table_control.csv", "control_sheets", config="mine.yaml")
    assert planned["hints"] == {"dataset=rooms"}
    runs = ("real variant=images", "base variant=pretrained", "hra variant=r8")
    assert planned["train_control"] == {f"task=control dataset=rooms method={run} seed=0" for run in runs}
    assert len(planned["generate_control"]) == 2


@pytest.mark.slow
def test_a_custom_evaluator_is_an_entry(fresh, tmp_path, monkeypatch):
    """Check that its metrics are columns of the table, without torch in the dry run."""
    (tmp_path / "my_evaluators.py").write_text(
        "from hra_workflow.evaluators.protocol import Evaluator, Needs\n"
        "class Sharpness(Evaluator):\n"
        "    metrics = ('_mean', '_worst')\n"
        "class Depth(Evaluator):\n"
        "    needs = Needs(annotation=('depth',))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    entry = """
datasets: {{control: {{coco: {{evaluators: [mine]}}}}}}
tasks:
  control:
    grid: [{{runs: [hra/r8], datasets: [coco], seeds: [0]}}]
    evaluation: {{evaluators: [{{name: mine, kind: "my_evaluators:{}"}}]}}
    columns: [{{name: Sharpness, dataset: coco, benchmark: validation, metric: {}}}]
    figures: {{parameters: [Sharpness], lambda: []}}
"""
    (fresh.folder / "mine.yaml").write_text(entry.format("Sharpness", "mine_worst"))
    planned = fresh.plan("results/table_control.csv", config="mine.yaml")
    assert planned["evaluate_control"] == {
        "task=control dataset=coco method=hra variant=r8 seed=0 benchmark=validation"
    }
    for name, metric, message in (
        ("Sharpness", "mine_best", "unknown metric 'mine_best'; known: mine_mean, mine_worst"),
        ("Depth", "mine", "coco: evaluators: mine (my_evaluators:Depth) needs an annotation of kind depth"),
        (
            "Blur",
            "mine",
            "evaluator kind: expected 'Blur' in module my_evaluators, found Depth, Evaluator",
        ),
    ):
        (fresh.folder / "wrong.yaml").write_text(entry.format(name, metric))
        output = fresh.snakemake("-n", "--configfile", "wrong.yaml", "--", "results/table_control.csv", ok=False)
        assert message in output
        assert "Traceback" not in output and "common.smk" not in output and "is extended" not in output


@pytest.mark.slow
def test_a_subject_of_ones_own_is_three_lines(fresh, tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_bytes(jpeg(number))
    (fresh.folder / "mine.yaml").write_text(
        "datasets: {subject: {my-mug: {\n"
        f"  source: {{kind: local, path: {tmp_path}}},\n"
        "  class: coffee mug,\n"
        "  prompts: object}}}\n"
        "tasks: {subject: {grid: [{runs: [hra/r8], datasets: [my-mug], seeds: [0]}]}}\n"
    )
    planned = fresh.plan("results/table_subject.csv", config="mine.yaml")
    assert planned["train_subject"] == {"task=subject dataset=my-mug method=hra variant=r8 seed=0"}
    assert planned["gather_class_images"] == {"noun=coffee-mug"}


@pytest.mark.slow
def test_a_dot_in_a_name_stands_for_itself(fresh):
    """Check that variants r2x5 and r2.5 are planned separately, and an unknown name is not a target."""
    (fresh.folder / "dots.yaml").write_text(
        "methods: {hra: {variants: {r2.5: &v {targets: paper, peft: {r: 8}}, r2x5: *v}}}\n"
        "tasks: {glue: {grid: [{runs: [hra/r2.5], datasets: [cola], seeds: [0]}]}}\n"
    )
    target = "results/glue/cola/hra/{}/seed0/train.json"
    planned = fresh.plan(target.format("r2.5"), config="dots.yaml")
    assert planned["train_glue"] == {"task=glue dataset=cola method=hra variant=r2.5 seed=0"}
    command = ("-n", "--cores", "1", "--configfile", "dots.yaml", "--", target.format("r2y5"))
    assert "MissingRuleException" in fresh.snakemake(*command, ok=False)
