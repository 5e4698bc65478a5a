"""The Snakefile: the full grid plans fast and without torch, wrong configs stop it with one message."""

import resource

import pytest
import yaml

from common import checks
from common import config as grid
from common.job import JobError
from support import ROOT


def test_the_full_grid_plans_without_torch_in_seconds(fresh, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, *_):\n"
        "        assert name.split('.')[0] not in ('torch', 'transformers', 'peft'), name + ' imported by a dry-run'\n"
        "sys.meta_path.insert(0, Refuse())\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    output = fresh.snakemake("-n", "-q", "rules", "--", "results/table_glue.csv")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "train_glue            455" in output  # 8 datasets × 11 variants × 5 seeds, and Figure 3's 15
    # Processor time, since the tests share the machine; about 4 s when it is idle.
    assert after.ru_utime - before.ru_utime < 10


def test_the_readme_commands_work_as_typed(fresh):
    command = ("--profile", "slurm", "-n", "-q", "rules")
    assert "total" in fresh.snakemake(*command, "--", "results/table_glue.csv")
    output = fresh.snakemake(
        *command, "--", *(f"results/table_{name}.csv" for name in ("math", "retention", "compute"))
    )
    # 15 variants × 3 seeds and Table 6's LoRA; two benchmarks in 4 shards each; Table 3's three runs.
    for rule, jobs in (("train_math", 46), ("generate_math", 368), ("evaluate_math", 92), ("evaluate_harness", 3)):
        assert f"{rule} {jobs}" in " ".join(output.split())


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


@pytest.fixture
def config() -> dict:
    """The config as the Snakefile sees it."""
    from snakemake.utils import update_config

    merged: dict = {}
    for file in ("glue/datasets.yaml", "glue/presets.yaml", "math/datasets.yaml", "math/presets.yaml", "config.yaml"):
        update_config(merged, yaml.safe_load((ROOT / "config" / file).read_text()))
    return merged


@pytest.mark.parametrize("overlays", [(), ("demo.yaml",), ("demo.yaml", "demo_real.yaml")])
def test_the_shipped_configs_are_valid(config, overlays):
    from snakemake.utils import update_config

    for file in overlays:
        update_config(config, yaml.safe_load((ROOT / "config" / file).read_text()))
    checks.check(config)


@pytest.mark.parametrize("task", ["glue", "math"])
def test_every_variant_has_hyperparameters_for_every_dataset(config, task):
    for run in grid.runs(config, task):
        name = f"{run['method']}/{run['variant']}"
        assert grid.hyperparameters(config, task, run["dataset"], name)["epochs"] > 0


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


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("tasks.glue.sedes", [1], r"tasks.glue: 'sedes' is not one of \['version', 'model'"),
        ("methods.hra.variants.r8.peft.rank", 8, r"methods.hra.variants.r8.peft: .*'rank' was unexpected"),
        ("methods.hra.variants.r8.lambda", "1e-5", r"lambda: '1e-5' is not of type 'number'.*write 1.0e-5"),
        ("methods.hra.kind", "hrra", r"methods.hra.kind: 'hrra' is not one of \['hra', 'lora'"),
        ("methods.hra.variants.r8.peft.r", 7, r"peft.r is 7; the paired start .* even r"),
        ("methods.lora.variants.r8.lambda", 0.1, r"lambda is for kind hra, this is lora"),
        ("methods.full.variants.all.targets", "paper", r"kind full inserts no adapter"),
        ("methods.hra.variants.r8.targets", "attention", r"unknown list 'attention'; known: paper"),
        ("methods.hra.variants.r8.preset", {"glue": "tabel5"}, r"unknown preset 'tabel5'; known: table5-lambda0"),
        ("tasks.glue.model", "bert", r"tasks.glue.model: unknown model 'bert'; known: deberta-v3-base"),
        ("tasks.glue.resources.gpu", 3, r"batch_size 32 is not a multiple of gpu × gradient_accumulation = 3"),
        ("tasks.glue.grid.0.runs", ["hra/r9"], r"unknown variant 'r9'; known: r8"),
        ("tasks.glue.grid.0.datasets", ["wnli"], r"unknown dataset 'wnli'; known: mnli"),
        ("tasks.glue.grid.0.seeds", ["one"], r"seeds.0: 'one' is not of type 'integer'"),
        ("datasets.glue.cola.score", "f1", r"cola: score: unknown metric 'f1'"),
        ("datasets.glue.stsb.metrics", ["accuracy", "pearson_spearman_mean"], r"accuracy does not go with labels None"),
        ("datasets.glue.cola.source.revision", "v1", r"revision: 'v1' does not match .*a commit; main only where"),
        ("datasets.glue.cola.benchmarks", {"validation": "dev"}, r"unknown split 'dev'; known: train, validation"),
        ("tasks.math.prompt.template", "Q: A:", r"prompt.template: 'Q: A:' does not match .*with \{question\}"),
        (
            "tasks.math.generation.max_new_tokens",
            {"gsm8k": 512},
            r"max_new_tokens: unknown benchmark 'math'; known: gsm8k",
        ),
        ("tasks.math.generation.backend", "tgi", r"backend: 'tgi' is not one of"),
        ("tasks.math.retention.seeds", [7], r"base/pretrained on metamathqa-40k, seed 7, is not in the grid"),
        ("tasks.math.retention.base", "hra/r9", r"retention.base: unknown run 'hra/r9'; known: base/pretrained"),
        ("tasks.math.compute.runs", ["hra/r9"], r"unknown run of the grid 'hra/r9'"),
        ("tasks.math.grid.0.datasets", ["gsm8k"], r"unknown dataset 'gsm8k'; known: metamathqa-40k, metamathqa-395k"),
        ("tasks.math.figures.lambda", ["GSM8K"], r"figures.lambda: unknown column 'GSM8K'; known: GSM8K \(official\)"),
        ("datasets.math.metamathqa-40k.benchmarks", {"gsm8k": "gsm8k/dev"}, r"unknown split 'dev'; known: train, test"),
        ("datasets.math.gsm8k.answer", "hash", r"answer: 'hash' is not one of"),
        ("tasks.math.sedes", [1], r"tasks.math: 'sedes' is not one of \['version', 'model'"),
    ],
)
def test_a_wrong_config_is_one_clear_message(config, path, value, message):
    put(config, path, value)
    with pytest.raises(JobError, match=message) as problem:
        checks.check(config)
    assert len(str(problem.value).splitlines()) == 1


def test_snakemake_shows_that_message_and_stops(fresh):
    (fresh.folder / "wrong.yaml").write_text("tasks: {glue: {sedes: [1]}}\n")
    output = fresh.snakemake("-n", "--configfile", "wrong.yaml", ok=False)
    assert "config: tasks.glue: 'sedes' is not one of ['version', 'model'" in output
    assert "Traceback" not in output
