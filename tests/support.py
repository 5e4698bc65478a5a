"""What tests share: a tiny model, a tiny dataset, and jobs on them as the rules would hand them out."""

import copy
import csv
import os
import random
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

import rule_jobs
from hra_workflow.tasks import work

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"

TINY_MODEL = {
    "kind": "init",
    "generator": "hra_workflow.models.random_weights:transformers_model",
    "model_type": "bert",
    "config": {
        "vocab_size": 300,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
    },
    "seed": 0,
}
TARGETS = ["query", "key", "value", "intermediate.dense", "output.dense"]
DATASET = {
    "source": {"kind": "local", "path": "."},
    "splits": {"train": ["train.csv"], "validation": ["validation.csv"]},
    "read": {"sep": ","},
    "columns": ["sentence"],
    "label": "label",
    "labels": ["negative", "positive"],
    "benchmarks": {"validation": "validation"},
    "metrics": ["accuracy"],
    "score": "accuracy",
}
SETTINGS = {
    "epochs": 2,
    "learning_rate": 5e-3,
    "warmup_steps": 2,
    "max_length": 32,
    "batch_size": 16,
    "eval_batch_size": 16,
    "eval_steps": 3,
    "gradient_accumulation": 1,
    "weight_decay": 0.01,
    "max_grad_norm": 1.0,
    "adam_epsilon": 1e-6,
    "schedule": "linear",
    "precision": "float32",
    "classifier_dropout": 0.1,
}


DIFFUSION_SETTINGS = {
    "learning_rate": 1e-2,
    "warmup_steps": 0,
    "schedule": "constant",
    "gradient_accumulation": 1,
    "weight_decay": 0.01,
    "max_grad_norm": 1.0,
    "adam_epsilon": 1e-8,
    "gradient_checkpointing": False,
    "precision": "float32",
}
SMALL = {  # arguments of PEFT's types without a default, and sizes for layers of 32 inputs
    "c3a": {"block_size": 8},
    "fourierft": {"n_frequency": 20},
    "gralora": {"r": 8},
    "ia3": {"feedforward_modules": []},
    "miss": {"r": 8},
    "randlora": {"r": 4},
    "road": {"group_size": 8},
    "shira": {"r": 2},
    "vblora": {"num_vectors": 8, "vector_length": 8},
    "vera": {"r": 8},
    "waveft": {"n_frequency": 20},
}


def require(there: bool, reason: str) -> None:
    """Skip the test if something it needs is missing; fail if all tests must run (.ci/run)."""
    if not there:
        pytest.fail(reason) if os.environ.get("HRA_TESTS") == "all" else pytest.skip(reason)


def paper_config() -> dict:
    """Return a copy of the paper's merged config, as the Snakefile sees it."""
    return copy.deepcopy(read_config())


def table_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def with_files(*names: str) -> dict:
    """Return the config with files of this repository merged over it."""
    from hra_workflow.config import overlays

    own = [overlays.read(ROOT / name) for name in names]
    config = overlays.merged(paper_config(), *own)
    overlays.finish_merge(config, own)
    return config


def probed_with(task, run: str = "") -> dict:
    """Return what the probes of a task record of its model and settings."""
    return {"task": task.name, "run": run, "workload": work.workload(task, run)}


def merged(*files: dict) -> tuple[dict, list[str]]:
    """Return the checked config as the Snakefile sees it, and the tasks that `all` makes."""
    from snakemake.utils import update_config

    from hra_workflow.config import overlays, validation

    config = paper_config()
    for file in files:
        update_config(config, file)
    chosen = overlays.finish_merge(config, list(files))
    validation.check(config)
    return config, chosen


@cache
def read_config() -> dict:
    import yaml
    from snakemake.utils import update_config

    from hra_workflow import tasks
    from hra_workflow.models import diffusion

    merged: dict = {}
    folders = [ROOT / "config" / name for name in tasks.classes()]
    of_tasks = [file for folder in folders for file in sorted(folder.glob("*.yaml"))]
    for file in [ROOT / "config/config.yaml", ROOT / "config/methods.yaml", *of_tasks]:
        update_config(merged, yaml.safe_load(file.read_text()))
    diffusion.add_targets(merged)
    return merged


def deberta_config(**sizes):
    """Build a config with DeBERTaV3-base's architecture in other sizes."""
    from transformers import AutoConfig

    return AutoConfig.for_model(
        "deberta-v2",
        relative_attention=True,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        pos_att_type=["p2c", "c2p"],
        max_relative_positions=-1,
        position_biased_input=False,
        type_vocab_size=0,
        pooler_hidden_size=sizes["hidden_size"],
        **sizes,
    )


def lightning_callback(patch) -> type:
    """Return the class used as a callback key in published checkpoints; `patch` makes its modules importable."""
    name = "pytorch_lightning.callbacks.model_checkpoint"
    for part in ("pytorch_lightning", "pytorch_lightning.callbacks", name):
        patch.setitem(sys.modules, part, ModuleType(part))
    stored = sys.modules[name].ModelCheckpoint = type("ModelCheckpoint", (), {"__module__": name})
    return stored


def method(kind: str = "hra", **changes) -> dict:
    peft = {
        "hra": {"r": 4},
        "lora": {"r": 4, "lora_alpha": 8},
        "oft": {"oft_block_size": 8},
        "boft": {"boft_block_size": 8, "boft_n_butterfly_factor": 2},
        "adalora": {"init_r": 4, "target_r": 2, "deltaT": 1, "orth_reg_weight": 0.1},
    }.get(kind)
    return {
        "kind": kind,
        "version": 1,
        "peft": peft,
        "targets": TARGETS if peft else None,
        "lambda": 0.0,
        "penalty": "squared",
        "budget": {"initial": 0.1, "final": 0.3} if kind == "adalora" else None,
        "train_head": True,
    } | changes


def write_sentences(folder: Path) -> None:
    """Sentences whose label is whether more words rise than fall: learnable by a byte-level model, but not at once."""
    generator = random.Random(0)
    folder.mkdir()
    for split, rows in (("train", 96), ("validation", 40)):
        lines = ["sentence,label"]
        for _ in range(rows):
            words = generator.choices(["rise", "fall"], k=generator.choice([3, 5]))
            lines.append(f"{' '.join(words)},{int(words.count('rise') > len(words) / 2)}")
        (folder / f"{split}.csv").write_text("\n".join(lines) + "\n")


class Run(rule_jobs.Run):
    """The chain of a classifier: augment, train, evaluate."""

    task, data, SETTINGS, SAVED = "glue", "tiny", SETTINGS, ("last", "best")

    def __init__(self, *arguments, dataset: dict = DATASET, **settings):
        super().__init__(*arguments, **settings)
        self.dataset = {key: dataset[key] for key in ("columns", "labels", "benchmarks", "metrics", "score")}

    def defaults(self) -> dict:
        own = {"architecture": "classifier", "head": None}
        return super().defaults() | own

    @property
    def train(self) -> dict:
        evaluation = {name: self.dataset[name] for name in ("benchmarks", "metrics")}
        return self.job(
            "train_glue",
            self.tiny | {"augmented": str(self.folder / "augmented/manifest.json"), "chosen": []},
            {"record": self.folder / "run/train.json", "scores": self.folder / "run/scores"} | self.weights,
            dataset=self.labelled("columns", "labels", "score"),
            evaluation=evaluation,
        )

    def labelled(self, *keys: str) -> dict:
        """Return the param `dataset`: entries of the config, and the split that is read."""
        return {key: self.dataset[key] for key in keys} | {"split": "validation"}

    @property
    def evaluate(self) -> dict:
        outputs = {"metrics": "metrics.json", "predictions": "predictions.jsonl.gz"}
        job = self.job(
            "evaluate_glue",
            self.tiny
            | {"record": str(self.folder / "run/train.json"), "scores": str(self.folder / "run/scores")}
            | self.weights,
            {name: self.folder / "run/validation" / file for name, file in outputs.items()},
            dataset=self.labelled("columns", "labels", "metrics", "score"),
        )
        job["wildcards"] = self.wildcards | {"benchmark": "validation"}
        return job


def downloaded(root, model: dict, name: str, dataset: dict) -> dict[str, str]:
    """Download a model and a dataset with the download rule's script; return their manifests."""
    import download

    manifests = {kind: str(root / f"{kind}.manifest.json") for kind in ("model", "dataset")}
    data = {"name": name, "dataset": dataset, "source": dataset["source"]}
    for kind, params in (("model", {"name": "tiny", "source": model}), ("dataset", data)):
        download.main(rule_jobs.download(kind, manifests[kind], local_root=str(root / "raw"), **params))
    return manifests


def put(config: dict, path: str, value) -> None:
    *parents, last = path.split(".")
    for key in parents:
        config = config[int(key)] if isinstance(config, list) else config[key]
    config[last] = value
