"""The shipped configs are valid and say what the paper and the official scripts do."""

import copy
from collections import Counter

import pytest
import yaml

from hra_workflow import tasks
from hra_workflow.config import overlays, validation
from hra_workflow.core import grid, sharding
from hra_workflow.data import finished_downloads
from hra_workflow.tasks.math import extra_tables
from hra_workflow.tasks.subject.items import items
from support import ROOT, put


@pytest.mark.parametrize("demo", [None, *sorted(path.stem for path in (ROOT / "config/demo").glob("*.yaml"))])
def test_the_shipped_configs_are_valid(config, demo):
    own = [overlays.read(ROOT / f"config/demo/{name}.yaml") for name in sorted({"config", demo})] if demo else []
    config = overlays.merged(config, *own)
    overlays.finish_merge(config, own)
    validation.check(config)


def test_a_job_of_the_demo_takes_one_core_and_little_memory(config):
    """On two cores one job with two threads would wait until both are free, and keep one idle meanwhile."""
    config = overlays.merged(config, overlays.read(ROOT / "config/demo/config.yaml"))

    def resources(of: dict):
        for key, value in of.items():
            if key == "resources" and "runtime" in value:
                yield value
            elif isinstance(value, dict):
                yield from resources(value)

    asked = [one for task in config["tasks"].values() if task["grid"] for one in resources(task)]
    assert len(asked) > 4 and all(one.get("threads", 1) == 1 and one.get("mem_mb", 0) <= 6000 for one in asked)


def test_the_quick_demo_is_a_part_of_the_demo(config):
    """So `hra-workflow demo all` runs what `make demo` has left out, and nothing again."""
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


def test_the_bf16_preset_of_control_differs_in_the_precision_only(config):
    task = tasks.load(config)["control"]
    keys = [(run["dataset"], f"{run['method']}/{run['variant']}") for run in task.runs()]
    plain = {key: task.hyperparameters(*key) for key in keys}
    config["tasks"]["control"]["preset"] = "code-bf16"
    for key, values in plain.items():
        assert values["precision"] == "float32"
        assert task.hyperparameters(*key) == values | {"precision": "bf16"}


def test_each_control_dataset_has_its_own_evaluators(config):
    control = tasks.load(config)["control"]
    names = {name: control.entry(name)["metrics"] for name in grid.datasets(config, "control")}
    assert names["coco"] == ["canny_iou", "canny_f1", "fid"]
    assert names["celeba-hq"][:2] == ["landmarks_error", "landmarks_error_all"]
    assert control.evaluator_models("ade20k") == ["segformer-b4-mmseg", "segformer-b4-nvlabs", "inception"]
    sheet = control.sheet_runs("coco")
    assert [f"{run['method']}/{run['variant']}" for run in sheet] == ["base/pretrained", "lora/r4", "hra/r8"]


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


def test_epochs_end_where_the_official_ones_do(config):
    of_run = tasks.load(config)["subject"].generated_steps
    assert of_run("dog", "hra/r8") == [*range(200, 2001, 200), 2005]
    assert of_run("dog", "full/all") == [2005] and of_run("dog", "base/pretrained") == [0]


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
    assert list(extra_tables.harness_benchmarks(tasks.load(config)["math"])) == [
        "ARC",
        "HellaSwag",
        "MMLU",
        "Winogrande",
    ]
    entries["HumanEval"]["unsafe_code"] = True
    assert extra_tables.harness_benchmarks(tasks.load(config)["math"]) == entries
    rules = "".join((ROOT / "rules" / name).read_text() for name in ("inputs.smk", "tasks/math.smk"))
    assert rules.count('extra_tables.harness_benchmarks(TASKS["math"])') == 2  # download and evaluation


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


def test_what_of_the_paper_s_grid_is_not_pinned(config):
    """Every other file has a commit or a published hash, and all subjects come from one archive."""
    entries = config["models"] | {name: entry for task in config["datasets"].values() for name, entry in task.items()}
    sources = {name: entry["source"] for name, entry in entries.items()}
    branches = [name for name, source in sources.items() if source.get("revision") == "main"]
    assert branches == ["segformer-b4-nvlabs"]
    hashes = {
        (name, file): found
        for name, source in sources.items()
        if source["kind"] in ("url", "archive")
        for file, found in finished_downloads.hashes(source).items()
    }
    assert {key for key, found in hashes.items() if found is None} == {
        ("ade20k", "ade20k.zip"),
        ("celeba-hq", "celeba-hq.zip"),
        ("coco-blip", "train.jsonl"),
        ("coco-blip", "validation.jsonl"),
    }
    assert [key[0] for key, found in hashes.items() if found and len(found) < 64] == ["segformer-b4-mmseg"]
    subjects = [entry["source"] for entry in config["datasets"]["subject"].values()]
    assert len({source["url"] for source in subjects}) == 1 and sum(len(one["files"]) for one in subjects) == 158
