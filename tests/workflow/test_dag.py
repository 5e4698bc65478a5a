"""The Snakefile: the paper's grid is planned without torch, and what is one's own is an entry of the config."""

import os
import re

import pytest
import yaml

from hra_workflow.config import overlays
from hra_workflow.core.errors import JobError
from project import jpeg, write_rooms
from support import ROOT, merged
from test_profiles import text_of

REFUSE = """
import sys
SLOW = ('torch', 'transformers', 'peft', 'diffusers', 'scipy', 'matplotlib')
class Refuse:
    def find_spec(self, name, *_):
        assert name.split('.')[0] not in SLOW, name + ' imported by a dry-run'
sys.meta_path.insert(0, Refuse())
"""
# Jobs of the paper's tables. GLUE: 8 datasets × 11 variants × 5 seeds, and Figure 3's 15. Mathematics: 14 variants × 3
# seeds, the base model and Table 6's LoRA; two benchmarks per run; Table 3's three runs. Subjects: 30 training runs per
# variant, except the real images and the base model, which train nothing; 15 classes. Control: 9 variants on 3
# datasets, of which real images and base model train nothing and real images are not generated; one shard each.
PLANNED = (
    "train_glue 455, train_math 44, generate_math 44, evaluate_math 88, evaluate_harness 3, train_subject 300, "
    "generate_subject 270, generate_class_images 15, gather_subject 270, evaluate_subject 300, download_archive 1, "
    "hints 3, train_control 27, generate_control 24, gather_control 24, evaluate_control 27, "
    "table_glue: 1,047 jobs (0 done), including 455 training runs, "
    "including 240 training runs, 285 shards, 300 evaluations, including 21 training runs, 24 shards, 27 evaluations"
)


@pytest.mark.slow
def test_the_readme_s_commands_plan_the_papers_tables_without_torch_and_say_the_cost(fresh, tmp_path, monkeypatch):
    """In a process that has not imported Snakemake before."""
    (tmp_path / "sitecustomize.py").write_text(REFUSE)
    (tmp_path / "config.yaml").write_text(text_of("slurm", "slurm"))  # with the executor that every installation has
    targets = [f"results/table_{name}.csv" for name in ["glue", "math", "retention", "compute", "subject", "control"]]
    options = ("--profile", str(tmp_path), "-n", "-q", "rules", "--", *targets)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    planned = fresh.snakemake(*options, before=("env",))
    words = " ".join(planned.split())
    assert not [jobs for jobs in PLANNED.split(", ") if f" {jobs}" not in words], words
    lines = [line.strip() for line in planned.partition("does not reflect the order of execution.\n")[2].splitlines()]
    of_glue = lines[lines.index("table_glue: 1,047 jobs (0 done), including 455 training runs") + 1 :]
    hours = r"hours:    0 GPU-hours used, about \d+ GPU-hours remaining \(estimated from the config\)"
    assert re.fullmatch(hours, of_glue[0])
    assert re.fullmatch(r"stages:   train \d+ hours", of_glue[1])
    assert any(re.match(r"all 6 tables: \d,\d+ jobs", line) for line in lines)
    assert any(line.startswith("download: ") for line in lines)
    assert any(line.startswith("licence:  ") and "metamathqa-40k" in line and "MIT" in line for line in lines)


def test_all_makes_the_tasks_whose_grid_the_config_file_states(fresh):
    (fresh.folder / "off.yaml").write_text("tasks: {math: null, control: null}\n")
    planned = fresh.plan("all", config="small.yaml", extra=("--configfile", "small.yaml", "off.yaml"))
    assert len(planned["train_glue"]) == 8
    assert {rule for rule in planned if rule.startswith("train_")} == {"train_glue"}


EVALUATORS = """
from hra_workflow.evaluators.protocol import Evaluator, Needs
class Sharpness(Evaluator):
    metrics = ('_mean', '_worst')
class Depth(Evaluator):
    needs = Needs(annotation=('depth',))
"""
EVALUATED = """
datasets: {{control: {{coco: {{evaluators: [mine]}}}}}}
tasks:
  control:
    grid: [{{runs: [hra/r8], datasets: [coco], seeds: [0]}}]
    evaluation: {{evaluators: [{{name: mine, kind: "my_evaluators:{}"}}]}}
    columns: [{{name: Sharpness, dataset: coco, benchmark: validation, metric: {}}}]
    figures: {{parameters: [Sharpness], lambda: []}}
"""


@pytest.mark.slow
def test_a_control_signal_of_ones_own_is_an_entry(fresh, tmp_path):
    """Test the custom control signal of docs/your-own.md, in a config with its images."""
    (entry,) = re.findall(r"```yaml\n# hint\n(.*?)```", (ROOT / "docs/your-own.md").read_text(), re.DOTALL)
    names = ("train", "validation")
    splits = {name: {"prompts": f"{name}.jsonl", "image": f"rooms.zip:{name}/{{key}}.jpg"} for name in names}
    rooms = {"source": {"kind": "local", "path": str(tmp_path)}, "splits": splits}
    grid = [{"runs": ["real/images", "base/pretrained", "hra/r8"], "datasets": ["rooms"], "seeds": [0]}]
    config = {"datasets": {"control": {"rooms": rooms}}, "tasks": {"control": {"grid": grid}}}
    (fresh.folder / "mine.yaml").write_text(yaml.safe_dump(overlays.merged(config, yaml.safe_load(entry))))
    write_rooms(tmp_path)
    (tmp_path / "depth").mkdir()
    (tmp_path / "depth/7.png").write_bytes(jpeg(0))
    planned = fresh.plan("results/table_control.csv", "control_sheets", config="mine.yaml")
    assert planned["hints"] == {"dataset=rooms"}
    runs = ("real variant=images", "base variant=pretrained", "hra variant=r8")
    assert planned["train_control"] == {f"task=control dataset=rooms method={run} seed=0" for run in runs}
    assert len(planned["generate_control"]) == 2


@pytest.mark.parametrize(
    ("name", "metric", "message"),
    [
        ("Sharpness", "mine_best", "unknown metric 'mine_best'; known: mine_mean, mine_worst"),
        ("Depth", "mine", r"coco: evaluators: mine \(my_evaluators:Depth\) needs an annotation of kind depth"),
        ("Blur", "mine", "evaluator kind: expected 'Blur' in module my_evaluators, found Depth, Evaluator"),
    ],
)
def test_an_evaluator_of_ones_own_is_checked(tmp_path, monkeypatch, name, metric, message):
    (tmp_path / "my_evaluators.py").write_text(EVALUATORS)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(JobError, match=message):
        merged(yaml.safe_load(EVALUATED.format(name, metric)))


def test_a_dot_in_a_name_stands_for_itself(fresh):
    """Check that variants r2x5 and r2.5 are planned separately."""
    (fresh.folder / "dots.yaml").write_text(
        "methods: {hra: {variants: {r2.5: &v {targets: paper, peft: {r: 8}}, r2x5: *v}}}\n"
        "tasks: {glue: {grid: [{runs: [hra/r2.5], datasets: [cola], seeds: [0]}]}}\n"
    )
    planned = fresh.plan("results/glue/cola/hra/r2.5/seed0/train.json", config="dots.yaml")
    assert planned["train_glue"] == {"task=glue dataset=cola method=hra variant=r2.5 seed=0"}
