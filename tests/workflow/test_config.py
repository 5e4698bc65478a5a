"""The shipped configs are valid and say what the paper and the official scripts do."""

import json

import pytest

from hra_workflow import tasks
from hra_workflow.config import overlays, validation
from hra_workflow.core import grid, sharding
from hra_workflow.tasks.math import extra_tables
from hra_workflow.tasks.subject.items import items
from support import ROOT, paper_config, put


@pytest.mark.parametrize("demo", [None, *sorted(path.stem for path in (ROOT / "config/demo").glob("*.yaml"))])
def test_the_shipped_configs_are_valid(config, demo):
    own = [overlays.read(ROOT / f"config/demo/{name}.yaml") for name in sorted({"config", demo})] if demo else []
    config = overlays.merged(config, *own)
    overlays.finish_merge(config, own)
    validation.check(config)


def test_the_quick_demo_is_a_part_of_the_demo(config):
    """So `hra-workflow demo all` runs what `make demo` has left out, and nothing again."""
    shown, found = {"grid", "columns", "averages", "figures"}, []
    for file in ("config", "quick"):
        config = overlays.merged(config, overlays.read(ROOT / f"config/demo/{file}.yaml"))
        runs = {task: {tuple(run.values()) for run in grid.runs(config, task)} for task in ("glue", "control")}
        rest = {key: config[key] for key in ("models", "methods", "datasets", "presets")}
        rest |= {task: {key: one for key, one in config["tasks"][task].items() if key not in shown} for task in runs}
        found.append((runs, rest))
    (whole, rest), (quick, quick_rest) = found
    assert quick_rest == rest and all(quick[task] < whole[task] for task in whole)


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


def test_every_subject_is_asked_for_its_own_prompts(config):
    subject = tasks.load(config)["subject"]
    dog, teapot = subject.prompts("dog"), subject.prompts("teapot")
    assert len(dog) == len(teapot) == 25 and "a qwe dog wearing a red hat" in dog
    assert "a qwe teapot floating in an ocean of milk" in teapot and dog[0] == "a qwe dog in the jungle"
    assert subject.prompts("bear_plushie", identifier=False)[-1] == "a cube shaped stuffed animal"
    wrong = 0
    for name in grid.datasets(config, "subject"):
        own, official = (subject.prompts(name, official=way) for way in (False, True))
        wrong += sum(first != second for first, second in zip(own, official, strict=True))
    assert wrong == 210  # of 750, in the official evaluation
    config["tasks"]["subject"]["evaluation"]["prompts"] = "official"
    subject, prompt = tasks.load(config)["subject"], "a qwe teapot wearing a red hat"
    assert prompt in subject.scoring_settings("teapot")["prompts"]
    assert prompt not in subject.prompts("teapot")  # what is generated


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
    kept = ["ARC", "HellaSwag", "MMLU", "Winogrande"]
    assert list(extra_tables.harness_benchmarks(tasks.load(config)["math"])) == kept
    entries["HumanEval"]["unsafe_code"] = True
    assert extra_tables.harness_benchmarks(tasks.load(config)["math"]) == entries
    rules = "".join((ROOT / "rules" / name).read_text() for name in ("inputs.smk", "tasks/math.smk"))
    assert rules.count('extra_tables.harness_benchmarks(TASKS["math"])') == 2  # download and evaluation


def test_training_data_without_the_mark_and_a_base_model_with_several_seeds_are_warnings(config):
    """`strict` expects MetaMath's format; GSM8K's and MATH's own solutions end differently."""

    def warned(text: str) -> bool:
        return any(text in one for one in tasks.load(config)["math"].warnings())

    unmarked = "metamathqa-40k (gsm8k) never teaches “The answer is: ”, so its `strict` stays near 0"
    assert not warned(unmarked) and not warned("answers do not depend")
    put(config, "datasets.math.metamathqa-40k.answer", "gsm8k")
    assert warned(unmarked)
    put(config, "datasets.math.metamathqa-40k.metrics", ["lenient"])
    put(config, "tasks.math.grid.0.seeds", [0, 1, 2])
    assert not warned(unmarked) and warned("base/pretrained is in the grid with 3 seeds")


# Snakemake's catalog: the cases of .test/, which CI runs and reports, and the parameters that it shows

CASES = sorted((ROOT / ".test").glob("config_*/config.yaml"))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.parent.name)
def test_a_case_is_small_and_valid(path):
    *_, (_, own) = read = overlays.with_extended([path], overlays.read)
    config = overlays.merged(paper_config(), *(content for _, content in read))
    chosen = overlays.finish_merge(config, [content for _, content in read])
    validation.check(config)
    assert chosen and set(chosen) == own["tasks"].keys()
    assert sum(len(tasks.load(config)[name].runs()) for name in chosen) <= 4
    place = path.parent.name.removeprefix("config_")
    assert all(folder.startswith((place, "resources")) for folder in own["pathvars"].values())


def test_ci_runs_every_case_and_the_catalog_can_show_the_parameters():
    cases = [path.parent.name.removeprefix("config_") for path in CASES]
    assert cases and f"for case in {' '.join(cases)}; do" in (ROOT / ".ci/cases").read_text()
    shown = json.loads((ROOT / "workflow/schemas/config.schema.json").read_text())["properties"]
    assert {"container", "tasks"} <= shown.keys() and all(one["description"] for one in shown.values())
