"""A published experiment as jobs of this workflow: its adapter, the benchmark's preset, and rows of given lengths.

The settings are those of studies/peft_metamathqa and studies/peft_image.
"""

import json
import sys
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path

import yaml

from fakegpu.workflow import model_sizes
from hra_workflow import methods
from hra_workflow.core import grid
from hra_workflow.core.made_from import ROUNDING
from hra_workflow.data import synthetic
from hra_workflow.methods import peft_types
from hra_workflow.preflight import probe

ROOT = Path(__file__).parents[6]
SCRIPTS = ROOT / "workflow/scripts"
STEPS = 3  # the first step includes the start, the second has usual rows, the last the longest ones
TIMED = 1
UNSTATED = {"peft_type", "peft_version", "inference_mode", "task_type", *peft_types.TARGETS, *peft_types.OF_MODEL}
# Experiments of which this code, or its precision, differs from the measured one.
OTHER_CODE = {"hra": "HRA's layers are this package's", "boft": "BOFT's factors are multiplied otherwise here"}
OTHER_CODE["full"] = "full fine-tuning is in float32 here, in bf16 there"

# PEFT adds the penalty in a forward pass that models without a task type, as in its experiment, do not have.
ADALORA = replace(methods.METHODS["adalora"], penalty=None)


class Benchmark:
    """A benchmark of PEFT's method_comparison. `folder`: the folder of its jobs' files.

    outputs: the files of its training other than the record and the last weights. kept_bytes: bytes that only the
    published loop keeps on the GPU: on the first half, the published average at the end of a step exceeds the rehearsed
    one by this.
    """

    task: str
    config: str
    architecture: str
    head: list | None
    outputs: tuple[str, ...] = ()
    kept_bytes: float

    def __init__(self, folder: Path):
        self.folder = folder
        self.settings = entry(self.config)["tasks"][self.task]
        (preset,) = entry(self.config)["presets"][self.task].values()
        defaults = entry(f"config/{self.task}/task.yaml")["tasks"][self.task]["defaults"]
        short = {"max_steps": STEPS, "shuffle": False, "group_by_length": False, "warmup_steps": 0}
        self.hyperparameters = defaults | preset["all"] | short

    def dataset(self) -> str:
        raise NotImplementedError

    def params(self) -> dict:
        raise NotImplementedError

    def inputs(self) -> dict:
        return {}

    def model(self) -> str:
        return self.made("model", self.settings["model"], model_sizes.source(self.settings["model"]))

    def made(self, kind: str, name: str, source: dict, **params) -> str:
        """Make the files of a model or a dataset, once; return their manifest."""
        manifest = self.folder / kind / f"{name}.manifest.json"
        if not manifest.exists():
            script("download").main(
                {
                    "rule": f"download_{kind}",
                    "input": {},
                    "output": {"manifest": str(manifest)},
                    "params": {"name": name, "source": source, "local_root": ".", "network": False} | params,
                    "resources": {},
                    "wildcards": {},
                    "log": "",
                }
            )
        return str(manifest)

    def jobs(self, row: dict) -> list[tuple[Path, dict]]:
        """Return the scripts and jobs of an experiment; raise ValueError if it cannot be rehearsed."""
        kind, folder = row["peft_type"].lower(), self.folder / row["experiment"]
        if reason := OTHER_CODE.get(kind) or peft_types.UNSUPPORTED.get(kind):
            raise ValueError(reason)
        if not methods.of_type(kind).runs(self.task):
            raise ValueError(f"{kind} trains with callbacks of transformers' Trainer only")
        method, model = self.method(kind, json.loads(row["peft_config"])), self.model()
        given = {
            "method": method,
            "head": self.head,
            "architecture": self.architecture,
            "precision": "float32",
            "seed": "0",
        }
        augment = {
            "rule": "augment",
            "input": {"model": model},
            "output": {"manifest": str(folder / "initial/manifest.json")},
            "params": given | {"scratch": str(folder / "scratch")},
        }
        fixed = {name: self.hyperparameters.get(name) for name in ROUNDING}
        train = {
            "rule": f"train_{self.task}",
            "input": {
                "model": model,
                "dataset": self.dataset(),
                "augmented": augment["output"]["manifest"],
                "chosen": [],
            }
            | self.inputs(),
            "output": {
                name: str(folder / "run" / path)
                for name, path in {"record": "train.json", "last": "last/adapter_model.safetensors"}.items()
            }
            | {name: str(folder / "run" / name) for name in self.outputs},
            "params": {
                "method": method,
                "head": self.head,
                "hyperparameters": {k: value for k, value in self.hyperparameters.items() if k not in ROUNDING},
                "processes": 1,
                "task_version": 1,
                "preset": "published",
                "model_name": self.settings["model"],
                "device": None,
                "augmented": given,
                "trackers": {"report_to": []},
                "scratch": str(folder / "scratch"),
            }
            | fixed
            | self.params(),
        }
        wildcards = {"task": self.task, "dataset": "published", "method": kind, "variant": "published", "seed": "0"}
        common = {"wildcards": wildcards, "threads": 1, "resources": {"gpu": 1, "save_seconds": 10**6}}
        return [
            (SCRIPTS / f"{job['rule']}.py", common | job | {"log": str(folder / f"{job['rule']}.log")})
            for job in (augment, train)
        ]

    def method(self, kind: str, stated: dict) -> dict:
        """Return an adapter_config.json of PEFT as a method, like grid.method."""
        known = {*peft_types.config_class(kind).__dataclass_fields__} - UNSTATED
        variant = {"peft": probe.quick({name: value for name, value in stated.items() if name in known})}
        config = {
            "methods": {kind: {"kind": "peft", "type": kind, "version": 1, "variants": {"published": variant}}},
            "models": {self.settings["model"]: {"targets": {"published": stated.get("target_modules")}}},
            "tasks": {self.task: self.settings},
        }
        variant |= {"targets": "published"}
        if kind == "adalora":  # the rehearsed steps reallocate ranks, as 86 % of the published ones
            del config["methods"][kind]["type"]
            config["methods"][kind]["kind"] = f"{__name__}:ADALORA"
            variant |= {"peft": variant["peft"] | {"tinit": 0}, "budget": {"initial": 0, "final": 0}}
        return grid.method(config, self.task, kind, "published")


class MetaMathQA(Benchmark):
    task, config, architecture, head = "math", "studies/peft_metamathqa/config.yaml", "causal_lm", None
    kept_bytes = 0.35e9  # mostly the logits of the last batch
    TOKENS = 224  # tokens of a padded row, from the size of these logits

    def dataset(self) -> str:
        rows, batch = self.folder / "rows/train.jsonl", self.hyperparameters["batch_size"]
        lengths = [self.TOKENS] * batch * (STEPS - 1) + [self.hyperparameters["max_length"]] * batch
        if not rows.exists():
            rows.parent.mkdir(parents=True, exist_ok=True)
            rows.write_text("".join(f"{json.dumps(row)}\n" for row in self.rows(lengths)))
        entry = {
            "source": {"kind": "local", "path": str(rows.parent)},
            "splits": {"train": [rows.name]},
            "columns": {"question": "question", "answer": "answer"},
            "rows": {"train": len(lengths)},
            "answer": "metamath",
        }
        return self.made("dataset", "rows", entry["source"], dataset=entry)

    def rows(self, lengths: Iterable[int]):
        """Yield rows of these numbers of tokens."""
        from hra_workflow.models import causal_lm

        tokenizer = causal_lm.load_tokenizer(Path(self.model()).parent / self.settings["model"])
        others = len(tokenizer(f"{synthetic.WORD}. {synthetic.ANSWER}")["input_ids"]) + 1  # and the end-of-text token
        for length in lengths:
            words = " ".join([synthetic.WORD] * (length - others))
            yield {"question": synthetic.WORD, "answer": f"{words}. {synthetic.ANSWER}"}

    def params(self) -> dict:
        from hra_workflow.tasks.math.task import Math

        return {"prompt": {"template": "{question}"}, "learner": Math.learner}


class Image(Benchmark):
    task, config, architecture, head = "subject", "studies/peft_image/config.yaml", "unet", []
    outputs = ("steps",)
    kept_bytes = 0.48e9  # mostly the embeddings of all prompts, and the last step's tensors for the backward pass
    IMAGES = 4

    def dataset(self) -> str:
        size = self.settings["resolution"]
        source = {"kind": "init", "generator": "hra_workflow.data.synthetic:images", "rows": {"train": self.IMAGES}}
        return self.made("dataset", "images", source | {"size": size}, dataset={"resolution": size, "class": "cat"})

    def inputs(self) -> dict:
        return {"class_images": []}

    def params(self) -> dict:
        prompts = {"subject": "sks cat", "instance": ["sks cat"] * self.IMAGES, "class": "cat"}
        return {
            "prompts": prompts | {"text_layers": self.settings["text_layers"]},
            "resolution": self.settings["resolution"],
            "class_images_generated": {},
        }


BENCHMARKS = {"metamathqa": MetaMathQA, "image": Image}


@cache
def entry(path: str) -> dict:
    return yaml.safe_load((ROOT / path).read_text())


def script(name: str):
    sys.path.insert(0, str(SCRIPTS))
    return __import__(name)
