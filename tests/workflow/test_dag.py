"""The Snakefile: the full grid plans fast and without torch, wrong configs stop it with one message."""

import copy
import re
import subprocess
from collections import Counter

import pytest
import yaml

from hra_workflow import tasks
from hra_workflow.config import validation
from hra_workflow.core import grid, sharding
from hra_workflow.core.errors import JobError
from hra_workflow.tasks.subject.items import items
from support import ROOT, paper_config


def test_the_full_grid_plans_without_torch(fresh, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, *_):\n"
        "        assert name.split('.')[0] not in ('torch', 'transformers', 'peft'), name + ' imported by a dry-run'\n"
        "sys.meta_path.insert(0, Refuse())\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    # A process of its own, not a fork of one that has imported Snakemake.
    output = fresh.snakemake("-n", "-q", "rules", "--", "results/table_glue.csv", before=("env",))
    assert "train_glue 455 " in " ".join(output.split())  # 8 datasets × 11 variants × 5 seeds, and Figure 3's 15


@pytest.mark.slow
def test_the_readme_commands_work_as_typed(fresh):
    command = ("--profile", "slurm", "-n", "-q", "rules")
    assert "total" in fresh.snakemake(*command, "--", "results/table_glue.csv")
    output = fresh.snakemake(
        *command, "--", *(f"results/table_{name}.csv" for name in ("math", "retention", "compute"))
    )
    # 14 variants × 3 seeds, the base model and Table 6's LoRA; two benchmarks per run; Table 3's three runs.
    for rule, jobs in (("train_math", 44), ("generate_math", 44), ("evaluate_math", 88), ("evaluate_harness", 3)):
        assert f"{rule} {jobs}" in " ".join(output.split())


@pytest.mark.slow
def test_a_report_covers_the_tables_that_exist_and_trains_nothing(finished, fresh):
    # The finished project has math's retention table, but not its main one, and no figures.
    assert set(finished.plan("results/report.html")) == {"cost", "figures", "report"}
    # Without a table, it covers what `all` makes.
    planned = fresh.plan("results/report.html")
    assert {"train_glue", "table", "report"} <= set(planned) and not {"train_math", "train_subject"} & set(planned)


def test_common_rules_stay_small():
    assert len((ROOT / "rules/common.smk").read_text().splitlines()) < 150


def test_conda_environment_pins_what_the_constraints_pin():
    constraints = dict(line.split("==") for line in (ROOT / "envs/constraints.txt").read_text().split())
    pins = {name.lower().replace("_", "-"): version for name, version in constraints.items()}
    listed = yaml.safe_load((ROOT / "envs/hra.yaml").read_text())["dependencies"][-1]["pip"]
    for entry in listed:
        if "==" in entry:
            name, version = entry.split("==")
            assert pins[name.lower().partition("[")[0]] == version, entry


def test_the_container_installs_the_conda_environment():
    """Run the recipe's line that reads envs/hra.yaml."""
    (line,) = re.findall(r"^ +(sed .*) > requirements.txt$", (ROOT / "envs/hra.def").read_text(), re.MULTILINE)
    listed = yaml.safe_load((ROOT / "envs/hra.yaml").read_text())["dependencies"][-1]["pip"]
    assert subprocess.check_output(line, shell=True, cwd=ROOT, text=True).splitlines() == listed


def test_all_makes_the_tasks_whose_grid_the_config_file_states(fresh):
    (fresh.folder / "off.yaml").write_text("tasks: {math: null, control: null}\n")
    planned = fresh.plan("all", config="small.yaml", extra=("--configfile", "small.yaml", "off.yaml"))
    assert len(planned["train_glue"]) == 8
    assert {rule for rule in planned if rule.startswith("train_")} == {"train_glue"}


@pytest.fixture
def config() -> dict:
    """Load the config as the Snakefile does."""
    return paper_config()


@pytest.mark.parametrize("overlays", [(), ("config",), ("config", "quick"), ("config", "real_data")])
def test_the_shipped_configs_are_valid(config, overlays):
    from snakemake.utils import update_config

    for file in overlays:
        update_config(config, yaml.safe_load((ROOT / f"config/demo/{file}.yaml").read_text()))
    validation.check(config)


def test_the_quick_demo_is_a_part_of_the_demo(config):
    """So `make demo TASK=all` runs what `make demo` has left out, and nothing again."""
    from snakemake.utils import update_config

    whole, quick = ({}, {}), ({}, {})
    for file, (runs, rest) in (("config", whole), ("quick", quick)):
        update_config(config, yaml.safe_load((ROOT / f"config/demo/{file}.yaml").read_text()))
        for task in ("glue", "control"):
            runs[task] = [tuple(run.values()) for run in grid.runs(config, task)]
            shown = {"grid", "columns", "averages", "figures"}
            rest[task] = {key: copy.deepcopy(config["tasks"][task][key]) for key in {*config["tasks"][task]} - shown}
        rest |= {key: copy.deepcopy(config[key]) for key in ("models", "methods", "datasets", "presets")}
    assert quick[1] == whole[1]
    assert all(set(quick[0][task]) < set(whole[0][task]) for task in whole[0])
    seeds = Counter(f"{run['method']}/{run['variant']}" for run in grid.runs(config, "glue"))
    assert seeds == {"head/linear": 1, "full/all": 1, "lora/r8": 2, "hra/r8": 2, "hra/r8-inf": 1}


@pytest.mark.parametrize(
    ("task", "length"), [("glue", "epochs"), ("math", "epochs"), ("subject", "max_steps"), ("control", "epochs")]
)
def test_every_variant_has_hyperparameters_for_every_dataset(config, task, length):
    for run in grid.runs(config, task):
        name = f"{run['method']}/{run['variant']}"
        assert grid.hyperparameters(config, task, run["dataset"], name)[length] > 0


ADALORA = """
task r alpha  orth  init final every length   rate epochs warmup dropout decay
cola 3    32  0.1   800  3500    10     64   8e-4     25    100    0.10  0.00
mnli 3    16  0.1  8000 50000   100    256   5e-4      7   1000    0.15  0.00
mrpc 2    32  0.1   600  1800     1    320   1e-3     30    0.1    0.00  0.01
qnli 2    32  0.1  2000  8000   100    512   5e-4      5    500    0.10  0.01
qqp  2    16  0.1  8000 25000   100    320   8e-4      5   2000    0.15  0.01
rte  2    32  0.3   600  1800     1    320 1.2e-3     50    200    0.20  0.01
sst2 2    16  0.1  6000 22000   100    128   8e-4     24   1000    0.00  0.01
stsb 2    32  0.3   800  2000    10    128 2.2e-3     25    100    0.20  0.10
"""  # QingruZhang/AdaLoRA @f6968aa, NLU/scripts/run_debertav3_*.sh; a batch of 32 and target_rank 1 in all


def test_adalora_is_trained_as_its_authors_scripts_say(config):
    names, *lines = (line.split() for line in ADALORA.strip().splitlines())
    for task, *values in lines:
        script = dict(zip(names[1:], map(float, values), strict=True))
        variant = f"r1-from{script['r']:.0f}"
        peft = grid.method(config, "glue", "adalora", variant, task)["peft"]
        wanted = {"init_r": "r", "lora_alpha": "alpha", "orth_reg_weight": "orth", "tinit": "init", "tfinal": "final"}
        assert peft == {key: script[name] for key, name in (wanted | {"deltaT": "every"}).items()} | {"target_r": 1}
        values = grid.hyperparameters(config, "glue", task, f"adalora/{variant}")
        wanted = {"max_length": "length", "learning_rate": "rate", "epochs": "epochs", "warmup_steps": "warmup"}
        wanted |= {"classifier_dropout": "dropout", "weight_decay": "decay"}
        assert {key: values[key] for key in wanted} == {key: script[name] for key, name in wanted.items()}
        assert (values["batch_size"], values["gradient_accumulation"], values["schedule"]) == (32, 1, "linear")
        # The grid's runs have the same schedule and the ranks of the paper's row; other methods know nothing of it.
        assert grid.method(config, "glue", "adalora", "r8", task)["peft"] == peft | {"init_r": 12, "target_r": 8}
        assert "adalora" not in grid.hyperparameters(config, "glue", task, "lora/r8")
    assert (
        grid.method(config, "glue", "adalora", "r8")["peft"]["deltaT"] == 10
    )  # of the initial adapter, without a dataset


@pytest.mark.slow
def test_subjects_are_planned_once_each_not_once_a_prompt(fresh):
    output = fresh.snakemake("--profile", "slurm", "-n", "-q", "rules", "--", "results/table_subject.csv")
    # 30 training runs per variant, except the real images and the base model, which train nothing; 15 classes.
    jobs = {"train_subject": 300, "generate_subject": 270, "generate_class_images": 15, "gather_subject": 270}
    jobs |= {"evaluate_subject": 300, "download_dataset": 30, "download_archive": 1, "augment": 8}
    for rule, count in jobs.items():
        assert f"{rule} {count}" in " ".join(output.split())
    assert "including 240 training runs, 285 shards, 300 evaluations" in output


@pytest.mark.slow
def test_control_is_planned_with_one_job_for_the_images_of_a_run(fresh):
    output = fresh.snakemake("--profile", "slurm", "-n", "-q", "rules", "--", "results/table_control.csv")
    # 9 variants on 3 datasets; real images and base model train nothing, real images are not generated. One
    # shard each, of less than two hours.
    jobs = {"hints": 3, "latents": 3, "augment": 7, "train_control": 27, "generate_control": 24, "gather_control": 24}
    for rule, count in (jobs | {"evaluate_control": 27, "download_dataset": 3, "download_model": 5}).items():
        assert f"{rule} {count}" in " ".join(output.split())
    assert "including 21 training runs, 24 shards, 27 evaluations" in output


@pytest.mark.slow
def test_a_control_signal_of_ones_own_is_an_entry(fresh, tmp_path, monkeypatch):
    """Test the custom control signal of docs/your-own.md."""
    (entry,) = re.findall(r"```yaml\n# hint\n(.*?)```", (ROOT / "docs/your-own.md").read_text(), re.DOTALL)
    (fresh.folder / "mine.yaml").write_text(entry.replace("path: rooms", f"path: {tmp_path}"))
    (tmp_path / "my_hints.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    planned = fresh.plan("results/table_control.csv", "control_sheets", config="mine.yaml")
    assert planned["hints"] == {"dataset=rooms"}
    assert planned["train_control"] == {
        f"task=control dataset=rooms method={run} seed=0" for run in ("base variant=pretrained", "hra variant=r8")
    }
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
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
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


def test_the_bf16_preset_of_control_differs_in_the_precision_only(config):
    task = tasks.load(config)["control"]
    keys = [(run["dataset"], f"{run['method']}/{run['variant']}") for run in task.runs()]
    plain = {key: task.hyperparameters(*key) for key in keys}
    config["tasks"]["control"]["preset"] = "code-bf16"
    for key, values in plain.items():
        assert values["precision"] == "float32" and task.hyperparameters(*key) == values | {"precision": "bf16"}


def test_hints_of_version_1_keep_the_params_that_they_were_made_with(config):
    """More params would compute all of them again, and train everything again."""
    config["tasks"]["control"]["version"] = 1
    made = tasks.load(config)["control"].hints("coco")
    assert made.keys() == {"hint", "splits", "rows", "resolution"}
    config["tasks"]["control"]["version"] = 2
    assert tasks.load(config)["control"].hints("coco") == made | {"task_version": 2}


def test_each_control_dataset_has_its_own_evaluators(config):
    names = {name: tasks.load(config)["control"].dataset(name)["metrics"] for name in grid.datasets(config, "control")}
    assert names["coco"] == ["canny_iou", "canny_f1", "fid"]
    assert names["celeba-hq"][:2] == ["landmarks_error", "landmarks_error_all"]
    assert tasks.load(config)["control"].evaluator_models("ade20k") == [
        "segformer-b4-mmseg",
        "segformer-b4-nvlabs",
        "inception",
    ]
    sheet = tasks.load(config)["control"].sheet_runs("coco")
    assert [f"{run['method']}/{run['variant']}" for run in sheet] == ["base/pretrained", "lora/r4", "hra/r8"]


def test_every_subject_is_asked_for_its_own_prompts(config):
    dog, teapot = (tasks.load(config)["subject"].prompts(name) for name in ("dog", "teapot"))
    assert len(dog) == len(teapot) == 25 and "a qwe dog wearing a red hat" in dog
    assert "a qwe teapot floating in an ocean of milk" in teapot and dog[0] == "a qwe dog in the jungle"
    assert tasks.load(config)["subject"].prompts("bear_plushie", identifier=False)[-1] == "a cube shaped stuffed animal"
    wrong = 0
    for name in grid.datasets(config, "subject"):
        own, official = (tasks.load(config)["subject"].prompts(name, official=way) for way in (False, True))
        wrong += sum(first != second for first, second in zip(own, official, strict=True))
    assert wrong == 210  # of 750, in the official evaluation
    config["tasks"]["subject"]["evaluation"]["prompts"] = "official"
    assert "a qwe teapot wearing a red hat" in tasks.load(config)["subject"].evaluation("teapot")["prompts"]
    assert "a qwe teapot wearing a red hat" not in tasks.load(config)["subject"].prompts("teapot")  # what is generated


def test_epochs_end_where_the_official_ones_do(config):
    assert tasks.load(config)["subject"].sampled("dog", "hra/r8") == [
        200,
        400,
        600,
        800,
        1000,
        1200,
        1400,
        1600,
        1800,
        2000,
        2005,
    ]
    assert tasks.load(config)["subject"].sampled("dog", "full/all") == [2005]
    assert tasks.load(config)["subject"].sampled("dog", "base/pretrained") == [0]


@pytest.mark.slow
def test_a_subject_of_ones_own_is_three_lines(fresh, tmp_path):
    (tmp_path / "1.jpg").touch()
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


def test_batches_are_dealt_whole_and_every_image_once():
    images = items([5, 9], 3, 4)
    batches = sharding.batches(images, 5)
    assert [len(batch) for batch in batches] == [5, 5, 2, 5, 5, 2]  # none spans two steps
    for count in (1, 2, 3, 7):
        shards = [sharding.part(batches, index, count) for index in range(count)]
        assert [item for shard in shards for batch in shard for item in batch] == images
    seeds = {sharding.seed("image", 0, prompt, index) for prompt in ("a", "b") for index in range(4)}
    assert len(seeds) == 8 and max(seeds) < 2**63


def test_generated_programs_run_only_where_the_config_allows_it(config):
    entries = config["tasks"]["math"]["retention"]["benchmarks"]
    assert list(tasks.load(config)["math"].retention_benchmarks()) == ["ARC", "HellaSwag", "MMLU", "Winogrande"]
    entries["HumanEval"]["unsafe_code"] = True
    assert tasks.load(config)["math"].retention_benchmarks() == entries
    rules = (ROOT / "rules/tasks/math.smk").read_text()
    assert rules.count('benchmarks=lambda wc: TASKS["math"].retention_benchmarks()') == 2


@pytest.mark.slow
def test_training_data_without_the_mark_is_warned_of(config, fresh):
    """Check the warning: `strict` expects MetaMath's format; GSM8K's and MATH's own solutions end differently."""
    assert tasks.load(config)["math"].without_answer_marker() == []
    put(config, "datasets.math.metamathqa-40k.answer", "gsm8k")
    assert tasks.load(config)["math"].without_answer_marker() == ["metamathqa-40k"]
    put(config, "datasets.math.metamathqa-40k.metrics", ["lenient"])
    assert tasks.load(config)["math"].without_answer_marker() == []
    (fresh.folder / "unmarked.yaml").write_text("datasets: {math: {metamathqa-40k: {answer: boxed}}}\n")
    output = fresh.snakemake("-n", "-q", "rules", "--configfile", "unmarked.yaml", "--", "results/table_math.csv")
    assert "warning:  metamathqa-40k (boxed) never teaches “The answer is: ”, so its `strict` stays near 0" in output


def test_layers_of_hyperparameters(config):
    config["presets"]["glue"]["layers"] = {
        "source": "test",
        "all": {"epochs": 1, "learning_rate": 0.1, "max_length": 8},
        "methods": {"hra": {"learning_rate": 0.2, "max_length": 9}, "hra/r8": {"max_length": 10}},
        "datasets": {"cola": {"epochs": 2}},
    }
    config["tasks"]["glue"]["preset"] = "layers"
    values = grid.hyperparameters(config, "glue", "cola", "hra/r8")
    assert (values["epochs"], values["learning_rate"], values["max_length"]) == (2, 0.2, 10)
    assert values["weight_decay"] == 0.01  # the task's default


def put(config: dict, path: str, value) -> None:
    *parents, last = path.split(".")
    for key in parents:
        config = config[int(key)] if isinstance(config, list) else config[key]
    config[last] = value


NAMED = ["models", "methods", "methods.hra.variants", "tasks.math.retention.benchmarks"]
NAMED += [f"datasets.{task}" for task in ("glue", "math", "subject", "control")]
NAMED += ["datasets.glue.cola.splits", "datasets.glue.cola.benchmarks", "datasets.math.metamathqa-40k.benchmarks"]


@pytest.mark.parametrize("place", NAMED)
def test_names_that_would_leave_their_folder_or_match_others_are_refused(config, place):
    entries = config
    for key in place.split("."):
        entries = entries[key]
    some = next(iter(entries.values()))
    for name in ("../../x", "a/b", ".x", "-x", "r2+gs", "a b", "a|b", "a\n", "", "ä"):
        entries[name] = some
        with pytest.raises(
            JobError, match=rf"config: {place}: {re.escape(repr(name))} .*letters, digits, _, and after"
        ):
            validation.check(config)
        del entries[name]
    entries["r2.5_x-y"] = some
    config["tasks"]["math"]["generation"]["max_new_tokens"]["r2.5_x-y"] = 8
    validation.check(config)


@pytest.mark.parametrize("folder", ["", "results/", "{task}", "<results>", "a\n"])
def test_folders_that_rules_could_not_match_are_refused(config, folder):
    config["pathvars"]["results"] = folder
    with pytest.raises(JobError, match=r"config: pathvars.results: .*a folder, without braces"):
        validation.check(config)


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


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("tasks.glue.sedes", [1], r"tasks.glue: 'sedes' is not one of \['version', 'model'"),
        ("methods.hra.variants.r8.peft.rank", 8, r"methods.hra.variants.r8.peft: .*'rank' was unexpected"),
        ("methods.hra.variants.r8.lambda", "1e-5", r"lambda: '1e-5' is not of type 'number'.*write 1.0e-5"),
        ("methods.hra.kind", "hrra", r"methods.hra.kind: 'hrra' is not one of \['hra', 'lora'"),
        ("methods.hra.variants.r8.peft.r", 7, r"peft.r is 7; the paired initialisation .* even r"),
        ("methods.lora.variants.r8.lambda", 0.1, r"lambda is for kind hra, this is lora"),
        (
            "methods.oft.variants.b16.peft.r",
            4,
            r"variants.b16: expected one of peft.r and .*, found r and oft_block_size",
        ),
        ("methods.oft.variants.b16.peft", {}, r"variants.b16: expected one of peft.r and .*, found neither"),
        ("methods.boft.variants.m4r8.peft.boft_block_num", 12, r"4 butterfly factors need .* multiple of 8; found 12"),
        ("methods.boft.variants.m2b8.peft.boft_block_size", 3, r"2 butterfly factors need an even .*; found 3"),
        ("methods.full.variants.all.targets", "paper", r"kind full inserts no adapter"),
        ("methods.hra.variants.r8.targets", "attention", r"unknown list 'attention'; known: paper"),
        ("tasks.glue.preset.hra", "tabel5", r"unknown preset 'tabel5'; known: table5-lambda0"),
        ("tasks.glue.preset.hraa", "code-head", r"unknown method or variant 'hraa'; known: default, real"),
        ("tasks.glue.model", "bert", r"tasks.glue.model: unknown model 'bert'; known: deberta-v3-base"),
        ("tasks.glue.resources.runs_per_gpu", 7, r"7 is greater than the maximum of 6 \(training only"),
        ("tasks.control.resources.runs_per_gpu", 2, r"expected gpu: 1 with runs_per_gpu: 2, found gpu: 8"),
        ("tasks.control.resources.max_gpu.bofft", 2, r"max_gpu: unknown method or variant 'bofft'; known: default"),
        ("tasks.control.resources.max_gpu.oft", 3, r"oft/r4 .*batch_size 16 is not a multiple of gpu × .* = 3"),
        ("tasks.control.latents.resources.max_gpu", {}, r"latents.resources: max_gpu is of training only. Remove it"),
        ("tasks.math.resources.runs_per_gpu", 2, r"expected runs_per_gpu: 1, since table_compute reports times"),
        ("tasks.math.generation.resources.runs_per_gpu", 2, r"runs_per_gpu is of training only. Remove it"),
        ("tasks.glue.resources.gpu", 3, r"batch_size 32 is not a multiple of gpu × gradient_accumulation = 3"),
        ("tasks.glue.grid.0.runs", ["hra/r9"], r"unknown variant 'r9'; known: r8"),
        ("tasks.glue.grid.0.datasets", ["wnli"], r"unknown dataset 'wnli'; known: mnli"),
        ("tasks.glue.grid.0.seeds", ["one"], r"seeds.0: 'one' is not of type 'integer'"),
        ("tasks.glue.resources.save_seconds", 0.4, r"save_seconds: 0.4 is not of type 'integer'.*10 or more"),
        ("tasks.glue.resources.save_seconds", 9, r"save_seconds: 9 is less than the minimum of 10.*10 or more"),
        ("tasks.glue.resources.save_minutes", 15, r"'save_minutes' was unexpected.*known keys: .*save_seconds"),
        ("datasets.glue.cola.score", "f1", r"cola: score: unknown metric 'f1'"),
        ("datasets.glue.stsb.metrics", ["accuracy", "pearson_spearman_mean"], r"accuracy does not go with labels None"),
        ("datasets.glue.cola.source.revision", "v1", r"revision: 'v1' does not match .*a commit; main only if"),
        ("datasets.glue.cola.benchmarks", {"validation": "dev"}, r"unknown split 'dev'; known: train, validation"),
        ("tasks.math.prompt.template", "Q: A:", r"prompt.template: 'Q: A:' does not match .*with \{question\}"),
        (
            "tasks.math.generation.max_new_tokens",
            {"gsm8k": 512},
            r"max_new_tokens: unknown benchmark 'math'; known: gsm8k",
        ),
        ("tasks.math.generation.backend", "tgi", r"backend: 'tgi' is not one of"),
        ("tasks.subject.generation.shards", "all", r"shards: 'all' does not match .*auto: one per two hours"),
        ("tasks.control.generation.shards", 0, r"generation.shards: 0 is less than .*jobs per run"),
        ("tasks.math.retention.dataset", "meta", r"retention.dataset: unknown dataset 'meta'; known: metamathqa-40k"),
        ("tasks.math.retention.base", "hra/r9", r"retention.base: unknown run 'hra/r9'; known: base/pretrained"),
        (
            "tasks.math.retention.benchmarks",
            {"HumanEval": {"task": "humaneval", "shots": 0, "metric": "pass@1", "unsafe_code": False}},
            r"retention.benchmarks: all have `unsafe_code: false`",
        ),
        (
            "tasks.math.retention.benchmarks.HumanEval",
            {"task": "humaneval", "shots": 0, "metric": "exact_match", "unsafe_code": True},
            r"HumanEval.metric: 'exact_match' does not match .* \(pass@k or pass_at_k, the only metrics",
        ),
        ("tasks.math.general_text.source", "gsm8k/test", r"unknown dataset with a column text 'gsm8k'; known: wik"),
        ("tasks.math.general_text.source", "wikitext-2/train", r"text.source: unknown split 'train'; known: test"),
        ("tasks.math.rewind", [0.5, 1], r"rewind.1: 1 is .* \(a strength between 0, the base model, and 1"),
        ("tasks.glue.drift", None, r"'drift' is not one of"),
        ("datasets.math.wikitext-2.answer", "gsm8k", r"wikitext-2: general text has no answer. Remove it"),
        ("datasets.math.gsm8k.columns", {"question": "q"}, r"expected question and answer, or text alone"),
        ("datasets.math.metamathqa-40k.benchmarks", {"general_text": "gsm8k/test"}, r"Choose another name"),
        (
            "tasks.subject.drift",
            {"prompts": 5, "images": 1, "evaluators": [{"name": "edges", "kind": "canny"}]},
            r"drift.evaluators: edges: kind canny needs source images, this task has references",
        ),
        (
            "tasks.control.drift",
            {"prompts": 5, "images": 1, "evaluators": [{"name": "dino", "kind": "dino", "model": "dino"}]},
            r"drift.evaluators: dino: unknown model 'dino'; known: deberta",
        ),
        ("tasks.control.drift", {"prompts": 5, "evaluators": []}, r"tasks.control.drift"),
        ("tasks.math.compute.runs", ["hra/r9"], r"math.compute.runs: unknown run 'hra/r9'; known: "),
        ("tasks.math.grid.0.datasets", ["gsm8k"], r"unknown dataset 'gsm8k'; known: metamathqa-40k, metamathqa-395k"),
        ("tasks.math.figures.lambda", ["GSM8K"], r"figures.lambda: unknown column 'GSM8K'; known: GSM8K \(official\)"),
        ("datasets.math.metamathqa-40k.benchmarks", {"gsm8k": "gsm8k/dev"}, r"unknown split 'dev'; known: train, test"),
        ("datasets.math.gsm8k.answer", "hash", r"answer: 'hash' is not one of"),
        ("tasks.subject.prompts.object", ["a dog"], r"prompts.object.0: 'a dog' does not match .*with \{subject\}"),
        ("datasets.subject.dog.prompts", "lively", r"dog.prompts: unknown list 'lively'; known: object, live"),
        (
            "datasets.subject.vase.class",
            "stuffed_animal",
            r"'stuffed_animal' and 'stuffed animal' would share a folder",
        ),
        ("tasks.subject.evaluation.best_by", ["fid"], r"best_by: unknown metric 'fid'; known: dino, clip_i"),
        (
            "tasks.subject.evaluation.evaluators.0.model",
            "dino",
            r"evaluators: dino: unknown model 'dino'; known: deberta",
        ),
        ("tasks.subject.evaluation.evaluators", [{"name": "f", "kind": "dino"}], r"f: kind dino needs a model"),
        (
            "tasks.subject.evaluation.evaluators",
            [{"name": "f", "kind": "hra_workflow.demo.prompt_fidelity:PromptFidelity", "crop": "a:b"}],
            r"f: .* no crop",
        ),
        (
            "tasks.subject.evaluation.evaluators",
            [{"name": "f", "kind": "fid", "model": "inception"}],
            r"f: kind fid needs source images, this task has references",
        ),
        (
            "tasks.subject.evaluation.evaluators",
            [{"name": "f", "kind": "dinosaur", "model": "inception"}],
            r"'dinosaur': expected one of dino, clip, .*, or a custom class as module:Class",
        ),
        ("tasks.subject.grid.0.datasets", ["dogs"], r"unknown dataset 'dogs'; known: backpack"),
        ("tasks.subject.columns.0.metric", "dinov2", r"columns: DINO: unknown metric 'dinov2'; known: dino"),
        ("tasks.subject.defaults.prior_weight", -1, r"prior_weight: -1 is less than the minimum of 0"),
        ("tasks.control.grid.0.datasets", ["ade"], r"control.grid: unknown dataset 'ade'; known: ade20k"),
        (
            "datasets.control.coco.evaluators",
            ["ssim"],
            r"coco: evaluators: unknown evaluator 'ssim'; known: canny, mmseg",
        ),
        (
            "datasets.control.coco.evaluators",
            ["landmarks"],
            r"landmarks \(face-alignment\) needs an annotation of kind points",
        ),
        (
            "datasets.control.coco.hint",
            "cany",
            r"coco.hint: 'cany' does not match .*canny, segmentation, landmarks, or a",
        ),
        ("datasets.control.coco.hint", "my-hints:depth", r"or a custom function as module:function"),
        ("datasets.control.coco.splits.train.image", "a.zip:b.jpg", r"train.image: 'a.zip:b.jpg' does not match"),
        ("datasets.control.coco.splits", {"train": {"prompts": "a", "image": "*"}}, r"'validation' is a required"),
        ("tasks.control.evaluation.evaluators.0.model", "inception", r"canny: kind canny has no model"),
        ("tasks.control.sheets.runs", ["hra/r9"], r"sheets.runs: unknown run 'hra/r9'; known: real/images"),
        ("tasks.control.defaults.prompt_dropout", 2, r"prompt_dropout: 2 is greater than the maximum of 1"),
        ("tasks.control.generation.eta", -1, r"generation.eta: -1 is less than the minimum of 0"),
        (
            "tasks.subject.grid.0.runs",
            ["adalora/r8"],
            r"tasks.subject.grid\[0\]: adalora/r8: expected a kind that subject can run \(hra, lora, .*found adalora",
        ),
        ("tasks.control.grid.0.runs", ["adalora/r8"], r"adalora/r8: expected a kind that control can run .* adalora"),
        ("tasks.glue.grid.0.runs", ["controlnet/full"], r"a kind that glue can run .*, head, peft\), found controlnet"),
        ("tasks.glue.grid.0.runs", ["base/pretrained"], r"a kind that glue can run .*, head, peft\), found pretrained"),
        ("tasks.math.grid.2.runs", ["bitfit/all"], r"a kind that math can run .*, pretrained, peft\), found bitfit"),
        (
            "presets.glue.full.methods",
            {"hraa": {"epochs": 1}},
            r"presets.glue.full.methods: .*'hraa'\. .* nearest is 'hra'$",
        ),
        ("presets.math.full.methods", {"hra/r23": {"epochs": 1}}, r"found 'hra/r23'\. .* nearest is 'hra/r32'$"),
        (
            "presets.glue.full.datasets",
            {"my-rtee": {"epochs": 1}},
            r"full.datasets: .*'my-rtee'\. .* nearest is 'rte'$",
        ),
        (
            "presets.math.boft-paper.all.gradient_accumulation",
            4,
            r"expected equal micro-batches .*, found lora/r16 16, oft/b16 16, hra/r32 8. "
            r"Make all of them 8 in presets.math: gradient_accumulation: 8 in boft-paper$",
        ),
        (
            "tasks.subject.defaults.gradient_checkpointing",
            "auto",
            r"tasks.subject: \S+ on \S+, preset \S+: gradient_checkpointing: expected true or false, found auto",
        ),
        ("tasks.math.sedes", [1], r"tasks.math: 'sedes' is not one of \['version', 'model'"),
    ],
)
def test_a_wrong_config_is_one_clear_message(config, path, value, message):
    put(config, path, value)
    with pytest.raises(JobError, match=message) as problem:
        validation.check(config)
    assert len(str(problem.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("backend", "serve", "run"),
    [("transformers", "merged", "hra"), ("vllm", "merged", "base"), ("vllm", "lora", "base")],
)
def test_four_bits_are_neither_merged_into_nor_served_by_vllm(config, backend, serve, run):
    put(config, "tasks.math.defaults.quantization", "nf4")
    validation.check(config)
    config["tasks"]["math"]["generation"] |= {"backend": backend, "serve": serve}
    with pytest.raises(JobError, match=rf"tasks\.math: {run}/\S+ is on a 4-bit base model, .* Use `serve: adapter`"):
        validation.check(config)


@pytest.mark.parametrize(
    ("backend", "serve", "message"),
    [
        ("transformers", {"hra": "lora", "lora/r32": "lora", "default": "adapter"}, None),
        ("vllm", {"hra": "lora", "lora": "lora", "default": "merged"}, None),
        ("vllm", "merged", None),
        (
            "vllm",
            "adapter",
            r"lora/r32: vLLM cannot serve its adapter as trained .*`serve: lora`, .*\(kinds hra, lora\)",
        ),
        ("vllm", {"hra": "adapter", "default": "merged"}, r"hra/r8: vLLM cannot serve its adapter as trained"),
        ("transformers", "lora", r"oft/b16: expected a kind with an equivalent LoRA \(hra, lora\) .*, found oft"),
        ("transformers", {"hra": "lora"}, r"lora/r32: generation.serve has no value .* lora or default"),
        ("transformers", {"hra/r9": "lora", "default": "merged"}, r"serve: unknown method or variant 'hra/r9'"),
        ("transformers", "none", r"generation.serve: 'none' is not .*adapter \(as trained\)"),
    ],
)
def test_an_adapter_is_served_as_stated_or_the_config_is_refused(config, backend, serve, message):
    config["tasks"]["math"]["generation"] |= {"backend": backend, "serve": serve}
    if message:
        with pytest.raises(JobError, match=message):
            validation.check(config)
        return
    validation.check(config)
    found = tasks.load(config)["math"].generation("hra/r32")
    assert found["serve"] == (serve if isinstance(serve, str) else serve["hra"])


def test_snakemake_shows_that_message_and_stops(fresh):
    (fresh.folder / "wrong.yaml").write_text("tasks: {glue: {sedes: [1]}}\n")
    output = fresh.snakemake("-n", "--configfile", "wrong.yaml", ok=False)
    assert "config: tasks.glue: 'sedes' is not one of ['version', 'model'" in output
    assert "Traceback" not in output
