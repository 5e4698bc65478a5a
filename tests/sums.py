"""A tiny LLaMA with random weights, sums to learn, and jobs on them as the rules would hand them out."""

import json
import random
from pathlib import Path
from typing import ClassVar

import rule_jobs
from support import method

TINY_LLAMA = {
    "kind": "init",
    "generator": "hra_workflow.models.random_weights:transformers_model",
    "causal_lm": True,
    "model_type": "llama",
    "config": {
        "vocab_size": 300,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 128,
    },
    "seed": 0,
}
MATH_SETTINGS = {
    "epochs": 2,
    "learning_rate": 1e-2,
    "warmup_steps": 2,
    "max_length": 48,
    "batch_size": 8,
    "gradient_accumulation": 1,
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "adam_epsilon": 1e-8,
    "schedule": "cosine",
    "precision": "float32",
    "base_precision": "float32",
    "gradient_checkpointing": False,
    "group_by_length": True,
}

SUMS = {
    "source": {"kind": "local", "path": "."},
    "splits": {"train": ["train.jsonl"], "test": ["test.jsonl"]},
    "columns": {"question": "query", "answer": "response"},
    "answer": "metamath",
    "rows": {"train": 64, "test": 23},
}
LLAMA_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def write_sums(folder: Path) -> None:
    """Sums of two digits: questions of several lengths."""
    folder.mkdir()
    for split, rows in (("train", 64), ("test", 23)):
        generator = random.Random(split)
        lines = []
        for _ in range(rows):
            a, b = generator.randrange(10), generator.randrange(10)
            words = " please" * generator.randrange(4)
            lines.append(json.dumps({"query": f"{a}+{b}{words}?", "response": f"{a + b}\nThe answer is: {a + b}"}))
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")


class MathRun(rule_jobs.Run):
    """The chain of a language model: augment, train, generate (a shard), gather, evaluate."""

    task, data, SETTINGS = "math", "sums", MATH_SETTINGS
    GIVEN: ClassVar = {
        "head": None,
        "architecture": "causal_lm",
        "split": "test",
        "prompt": {"template": "{question}\n"},
        "quantization": None,
        "learner": "hra_workflow.training.learner:Learner",
    }
    GENERATION: ClassVar = {"batch_size": 4, "stop": [], "serve": "adapter"}

    @property
    def train(self) -> dict:
        return self.job(
            "train_math",
            self.tiny | {"augmented": str(self.folder / "augmented/manifest.json"), "chosen": []},
            {"record": self.folder / "run/train.json"} | self.weights,
        )

    def generate(self, shard: int = 0, of: int = 1, max_new_tokens: int = 8, **generation) -> dict:
        """Return a job that answers two benchmarks: `test`, and `train` with half as many tokens."""
        manifest = self.tiny["dataset"]
        job = self.job(
            "generate_math",
            {"model": self.tiny["model"], "record": str(self.folder / "run/train.json")}
            | self.weights
            | {"datasets": [manifest, manifest]},
            {"shard": self.folder / f"run/answers/shard{shard}-of-{of}.jsonl.gz"},
            generation=self.GENERATION | generation,
            benchmarks={
                "test": {"split": "test", "max_new_tokens": max_new_tokens},
                "train": {"split": "train", "max_new_tokens": max(1, max_new_tokens // 2)},
            },
        )
        job["wildcards"] = self.wildcards | {"shard": str(shard), "n_shards": str(of)}
        return job

    def gather(self, of: int = 1, benchmark: str = "test") -> dict:
        shards = [str(self.folder / f"run/answers/shard{shard}-of-{of}.jsonl.gz") for shard in range(of)]
        job = self.job(
            "gather_math",
            {"record": str(self.folder / "run/train.json"), "shards": shards, "dataset": self.tiny["dataset"]},
            {"outputs": self.folder / f"run/{benchmark}/outputs-{of}.jsonl.gz"},
            benchmark=benchmark,
            split=benchmark,
        )
        return job | {"wildcards": self.wildcards | {"benchmark": benchmark}}


def start_of(run):
    """Return the model at the start of training."""
    from hra_workflow.core import manifests
    from hra_workflow.models import adapters, causal_lm

    base = causal_lm.load_model(manifests.folder(run.tiny["model"]), "float32")
    return adapters.start_training(base, run.method, [], run.folder / "augmented", 10)


def math_method(kind: str, peft: dict | None = None, **changes) -> dict:
    found = method(kind, **({"peft": peft} if peft else {}) | changes)
    return found | {"targets": LLAMA_TARGETS if found["peft"] else None}


def said(lines: list[dict]) -> list[tuple[str, str]]:
    """Return what was answered, and how it ended."""
    return [(line["output"], line["finish"]) for line in lines]


def answers(run, of: int = 1, **generation) -> list[dict]:
    """Generate in `of` shards and return the gathered rows of the benchmark `test`."""
    import gather_outputs
    import generate_math
    from hra_workflow.core import predictions

    for shard in range(of):
        generate_math.main(run.generate(shard, of, **generation))
    gather_outputs.main(run.gather(of))
    return predictions.read(run.gather(of)["output"]["outputs"])
