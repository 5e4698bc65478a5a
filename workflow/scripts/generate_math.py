"""Answer one shard of a benchmark's questions greedily: one JSON line per item in EVAL/shard{i}-of-{n}.jsonl.gz.

All items are divided into batches, longest first, before the batches are assigned to shards: an item has the same batch
and padding for any number of shards, so the merged file is byte-identical.
"""

import gc
import itertools
import shutil
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from pkgutil import resolve_name

from common.core import files, manifests, predictions, provenance, rates
from common.core.errors import JobError
from common.core.job import start
from common.methods import METHODS
from common.models import causal_lm, memory, precision, vllm_process


def main(job: dict) -> None:
    from pyarrow import parquet

    params, wildcards = job["params"], job["wildcards"]
    generation = params["generation"]
    record = files.read_json(job["input"]["record"])
    manifests.check_trained_on(record, job["input"]["model"])
    manifests.check_weights(record, job["input"]["record"], job["input"]["last"])
    model_folder, data_folder = (manifests.folder(job["input"][name]) for name in ("model", "dataset"))
    tokenizer = causal_lm.load_tokenizer(model_folder)
    questions = parquet.read_table(data_folder / f"{params['split']}.parquet")["question"].to_pylist()
    prompts = [params["prompt"].replace("{question}", question) for question in questions]
    ids = [causal_lm.encode(prompt, tokenizer) for prompt in prompts]
    batches = shard(
        [len(row) for row in ids], generation["batch_size"], int(wildcards["shard"]), int(wildcards["n_shards"])
    )
    run = Run(job, model_folder, tokenizer)
    run.check_lengths(ids, itertools.chain(*batches))
    answered = (run.with_vllm if generation["backend"] == "vllm" else run.with_transformers)(ids, batches)
    lines = [
        {"item": item, "prompt": prompts[item], "output": cut(text, generation["stop"]), "finish": finish}
        for item, text, finish in answered
    ]
    predictions.write(job["output"]["shard"], sorted(lines, key=lambda line: line["item"]))
    print(f"{len(lines)} of {len(questions)} items answered")


def shard(lengths: list[int], batch_size: int, index: int, count: int) -> list[list[int]]:
    """Return the batches of shard `index` of `count` as lists of items."""
    order = sorted(range(len(lengths)), key=lambda item: (-lengths[item], item))
    batches = [order[first : first + batch_size] for first in range(0, len(order), batch_size)]
    return batches[index::count]


def cut(text: str, stop: list[str]) -> str:
    """Return the text before the first stop string."""
    ends = [place for place in (text.find(string) for string in stop) if place >= 0]
    return text[: min(ends)] if ends else text


class Run:
    """Generates answers with a run's model through two backends: (item, text, "stop" or "length") per item."""

    def __init__(self, job: dict, model_folder: Path, tokenizer):
        self.params, self.tokenizer, self.model_folder = job["params"], tokenizer, model_folder
        self.weights = Path(job["input"]["last"])
        self.generation = self.params["generation"]
        self.method = METHODS[self.params["method"]["kind"]]
        self.precision = self.params["precision"]
        self.device = provenance.pick_device(job["resources"].get("gpu", 0), self.params.get("device"))

    def model(self, merge: bool, device: str | None = None):
        return causal_lm.load_run(
            self.model_folder,
            self.params["method"],
            self.weights,
            self.precision,
            device or self.device,
            self.params.get("quantization"),
            merge,
        )

    def with_transformers(self, ids: list[list[int]], batches: list[list[int]]) -> Iterable[tuple[int, str, str]]:
        from tqdm import tqdm

        model = self.model(self.generation["serve"] == "merged")
        if self.generation["serve"] == "lora" and self.method.trains:
            model = self.as_lora(model)
        started, count = time.monotonic(), sum(map(len, batches))
        with tqdm(total=count, desc="generate", unit="item", disable=None) as progress:
            for batch in batches:
                yield from memory.split_on_oom(lambda some: list(self.answer(model, ids, some)), batch, "items")
                progress.update(len(batch))
        rates.report(count, time.monotonic() - started, self.device)

    def check_lengths(self, ids: list[list[int]], items: Iterable[int]) -> None:
        """Raise JobError if a question and `max_new_tokens` do not fit into the model's context."""
        limit = causal_lm.context(self.model_folder) - self.generation["max_new_tokens"]
        if long := [item for item in items if len(ids[item]) > limit]:
            raise JobError(
                f"item {long[0]}: the question takes {len(ids[long[0]])} tokens, and max_new_tokens = "
                f"{self.generation['max_new_tokens']} leaves {limit} of the model's context. Lower max_new_tokens."
            )

    def answer(self, model, ids: list[list[int]], batch: list[int]) -> Iterable[tuple[int, str, str]]:
        import torch

        self.tokenizer.padding_side = "left"
        padded = self.tokenizer.pad({"input_ids": [ids[item] for item in batch]}, return_tensors="pt").to(self.device)
        stop = {"stop_strings": self.generation["stop"], "tokenizer": self.tokenizer} if self.generation["stop"] else {}
        with torch.inference_mode():
            sequences = model.generate(
                **padded,
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
                max_new_tokens=self.generation["max_new_tokens"],
                pad_token_id=self.tokenizer.pad_token_id,
                eos_token_id=self.tokenizer.eos_token_id,
                **stop,
            )
        for item, new in zip(batch, sequences[:, padded["input_ids"].shape[1] :].tolist(), strict=True):
            ended = self.tokenizer.eos_token_id in new
            new = new[: new.index(self.tokenizer.eos_token_id)] if ended else new
            text = self.tokenizer.decode(new, skip_special_tokens=True)
            ended = ended or any(string in text for string in self.generation["stop"])
            yield item, text, "stop" if ended else "length"

    def as_lora(self, model):
        """Convert the run to an equivalent stock LoRA adapter on the same base model (hra.to_lora: exact)."""
        from peft import PeftModel

        with tempfile.TemporaryDirectory() as folder:
            self.export_lora(model, Path(folder))
            return PeftModel.from_pretrained(model.unload(), folder).eval()

    def export_lora(self, model, folder: Path) -> None:
        resolve_name(self.method.export_lora)(model, folder)

    def with_vllm(self, ids: list[list[int]], batches: list[list[int]]) -> Iterable[tuple[int, str, str]]:
        """Generate all items of the shard at once, since vLLM does its own batching."""
        vllm_process.python()  # an error now rather than after the export, which takes minutes
        items = list(itertools.chain(*batches))
        sampling = {"max_tokens": self.generation["max_new_tokens"], "stop": self.generation["stop"] or None}
        folder = Path(self.params["scratch"]) / "vllm"
        shutil.rmtree(folder, ignore_errors=True)  # of a killed attempt
        folder.mkdir(parents=True)
        try:
            base, adapter = self.exported(folder / "model")
            gc.collect()  # PEFT's models refer to themselves
            answers = vllm_process.generate(
                base,
                self.model_folder,
                adapter,
                precision.NAMES[self.precision],
                [ids[item] for item in items],
                sampling,
                folder,
            )
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        for item, (text, finish) in zip(items, answers, strict=True):
            yield item, text, finish

    def exported(self, folder: Path) -> tuple[Path, Path | None]:
        """Return the folders of a model and of a LoRA adapter, or None, that vLLM can load; writes to `folder`."""
        if not self.method.trains:
            return self.model_folder, None
        if self.generation["serve"] == "lora":
            self.export_lora(self.model(merge=False, device="cpu"), folder)
            return self.model_folder, folder
        self.model(merge=True, device="cpu").save_pretrained(folder)
        return folder, None


if __name__ == "__main__":
    start(main, __file__, globals().get("snakemake"))
