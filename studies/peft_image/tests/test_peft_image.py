"""PEFT's image benchmark: our config against details of theirs, their published rows, the real numbers of parameters.

Theirs are from huggingface/peft, method_comparison/image-gen: data.py, run.py and utils.py, and `run_info` of the
published results/hra--flux2-klein-default.json.
"""

import csv

import numpy
import pytest
import yaml

from hra_workflow import tasks
from hra_workflow.core import grid
from hra_workflow.report import run_statistics
from support import ROOT, SHARED, merged

STUDY = ROOT / "studies/peft_image"
FILE = STUDY / "config.yaml"
THEIRS = SHARED / "reference/peft_benchmark_image.csv"
WEIGHTS = 3_875_544_576  # "num_trainable_params" of full fine-tuning
RUNS = {
    "hra/flux2-klein-default": 9_830_400, "lora/flux2-klein-default": 38_338_560,
    "oft/flux2-klein-default": 4_761_600, "dora/flux2-klein-rank64": 77_568_000,
}  # fmt: skip


@pytest.fixture(scope="module")
def config() -> dict:
    return merged(yaml.safe_load(FILE.read_text()))[0]


@pytest.fixture(scope="module")
def subject(config):
    return tasks.load(config)["subject"]


TRAINED = {  # "max_steps", "batch_size", "optimizer_kwargs", "lr_scheduler", "grad_norm_clip", "use_gc", "dtype"
    "max_steps": 750, "batch_size": 2, "learning_rate": 1e-4, "weight_decay": 1e-4, "schedule": "constant",
    "warmup_steps": 0, "max_grad_norm": 1.0, "gradient_checkpointing": True, "precision": "float32",
    "base_precision": "bf16", "prior_weight": 0, "keep_epochs": "last",
    "crop": "center",  # T.Resize(resolution, BILINEAR) and T.CenterCrop(resolution)
}  # fmt: skip
LAYERS = [10, 20, 30]  # "text_encoder_out_layers"


def test_what_is_trained_is_as_there(config, subject):
    # numpy.random.seed(0) and shuffle into train_size, valid_size 2 and test_size 4
    numpy.random.seed(0)
    numpy.random.shuffle(indices := numpy.arange(20))
    splits = config["datasets"]["subject"]["cat-plushy"]["splits"]
    assert [*splits["valid"], *splits["test"]] == [*indices[14:]]
    prompts = subject.training_prompts("cat-plushy")
    texts = prompts["instance"]  # "instance_prompts"
    assert texts[1] == "sks cat playing on the Steam Deck"
    assert texts[19] == "sleepy sks cat lying in bed covered by a blue blanket"
    assert [number for number, text in enumerate(texts) if text is None] == sorted(indices[14:])
    assert prompts["text_layers"] == LAYERS
    for run in RUNS:
        assert TRAINED.items() <= subject.hyperparameters("cat-plushy", run).items()
    assert {run["seed"] for run in subject.runs()} == {0}


def test_what_is_evaluated_is_as_there(config, subject):
    """The test captions three times ("num_repeats"), each image with the one that its caption describes."""
    assert subject.prompts("cat-plushy")[0] == "a box with four donuts in front of sks cat"
    sampling = {"images": 3, "inference_steps": 20, "guidance": 3.5, "text_layers": LAYERS}
    assert sampling.items() <= subject.sampling().items()
    scored = subject.scoring_settings("cat-plushy")
    assert [(one["kind"], one["model"]) for one in scored["evaluators"]] == [("dino", "dinov2-base")]
    assert scored["references"] == [3, 0, 15, 12]


@pytest.mark.skipif(not THEIRS.exists(), reason=f"{THEIRS} is not on this machine")
def test_published_rows_are_theirs(config):
    ours = run_statistics.read_csv(STUDY / "results/peft_image.csv")
    assert ours.columns.tolist() == run_statistics.PUBLISHED
    with THEIRS.open(newline="") as stream:
        theirs = list(csv.DictReader(stream))
    scales = {"DINOv2 similarity": ("dino_similarity", 1, 5.1e-5), "Training": ("train_s", 1, 5.1e-5)}
    scales |= {"Peak memory": ("memory_max_bytes", 1e-9, 0.051)}
    wanted = [
        (
            number,
            row["experiment"].replace("/", "--"),
            name,
            int(row["trainable_params"]),
            float(row[key]) * scale,
            most,
        )
        for number, row in enumerate(theirs, 1)
        for name, (key, scale, most) in scales.items()
        if row[key] != "nan"
    ]
    experiments = ours["source"].str.extract(r"huggingface/peft 5d602fd .*/results/(.*)\.json")[0]
    found = zip(ours["row"].astype(int), experiments, ours["column"], ours["params_M"], ours["value"], strict=True)
    for (*names, count, value), (*theirs_too, parameters, stated, most) in zip(found, wanted, strict=True):
        assert (
            names == theirs_too
            and count == f"{parameters / 1e6:.3f}"
            and float(value) == pytest.approx(stated, abs=most)
        )
    shown = {run_statistics.scale_free(column["name"]) for column in config["tasks"]["subject"]["columns"]}
    assert set(ours["column"]) == shown  # the names by which a table finds published values
    assert {*grid.run_names(config, "subject")} - {*ours["run"]} == {"hra/flux2-klein-default"}  # PEFT's layer differs


def test_trained_parameters_are_theirs(config):
    import torch
    from diffusers import Flux2Transformer2DModel

    from fakegpu.workflow import pipeline_sizes
    from hra_workflow.models import adapters

    _, _, klein = pipeline_sizes.PIPELINES["flux2-klein-base-4b"][1]["transformer"]

    with torch.device("meta"):
        assert list(grid.run_names(config, "subject")) == list(RUNS)
        for run, expected in RUNS.items():
            model = Flux2Transformer2DModel(**klein).requires_grad_(False)
            assert sum(parameter.numel() for parameter in model.parameters()) == WEIGHTS
            adapted = adapters.insert(model, grid.method(config, "subject", *run.split("/")), [])
            assert adapters.count(adapted, [])["adapter_parameters"] == expected, run


def test_the_page_has_the_published_rows_and_the_measured_ratios(check_rows, check_blocks):
    check_rows(STUDY, "DINOv2 similarity")
    check_blocks(STUDY, ("double-stream block", "single-stream block"))
