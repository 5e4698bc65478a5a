"""Generate answers of one shard of all benchmarks of a run greedily, in RUN/answers/shard{i}-of-{n}.jsonl.gz.

The file has one JSON line per item. A job loads the model once. The items of a benchmark are divided into pools,
longest first, and the pools are assigned to shards: for any number of shards, an item is decoded with the same others,
so the merged files are byte-identical.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hra_workflow.core import finished_run, made_from, manifests, predictions, provenance, rates
from hra_workflow.core.errors import JobError
from hra_workflow.core.job import as_list, script
from hra_workflow.models import causal_lm, context, memory, prompts

POOL = 8  # answers at a time × POOL items are decoded independently of other items
LOOK = 8  # steps between two searches for stop strings


@dataclass
class Part:
    """The part of a benchmark that this shard answers: `pools` of items. `ids`: prompts as tokens, by item."""

    benchmark: str
    prompts: list[str]
    ids: list[list[int]]
    pools: list[list[int]]
    limit: int

    def items(self) -> list[int]:
        return [item for pool in self.pools for item in pool]


Answer = tuple[str, int, str, str]  # benchmark, item, text, "stop" or "length"


@script
@finished_run.unless_diverged
def main(job: dict) -> None:
    params = job["params"]
    finished_run.read(job, job["input"]["last"])
    head = made_from.describe(job)
    model_folder = manifests.folder(job["input"]["model"])
    prompt = prompts.Prompt(params["prompt"], causal_lm.load_tokenizer(model_folder), model_folder)
    datasets = as_list(job["input"]["datasets"])
    parts = {
        name: part_of(job, name, manifests.folder(manifest), prompt)
        for name, manifest in zip(params["benchmarks"], datasets, strict=True)
    }
    run = Run(job, model_folder, prompt)
    for one in parts.values():
        run.check_lengths(one)
    generation, wanted = params["generation"], [one for one in parts.values() if one.pools]
    lines = [
        {
            "benchmark": benchmark,
            "item": item,
            "prompt": parts[benchmark].prompts[item],
            "output": cut(text, generation["stop"]),
            "finish": finish,
            "backend": run.backend,
            "serve": generation["serve"],
        }
        for benchmark, item, text, finish in (run.answers(wanted) if wanted else ())
    ]
    predictions.write(job["output"]["shard"], sorted(lines, key=lambda line: (line["benchmark"], line["item"])), head)
    for name, one in parts.items():
        print(f"{name}: {len(one.items())} of {len(one.prompts)} items answered")


def part_of(job: dict, benchmark: str, folder: Path, prompt: prompts.Prompt) -> Part:
    """Read the questions of a benchmark and select those of this shard."""
    from pyarrow import parquet

    entry = job["params"]["benchmarks"][benchmark]
    questions = parquet.read_table(folder / f"{entry['split']}.parquet")["question"].to_pylist()
    place = (int(job["wildcards"][name]) for name in ("shard", "n_shards"))
    return part(job["params"], benchmark, questions, entry["max_new_tokens"], prompt, *place)


def part(params: dict, name: str, questions: list[str], limit: int, prompt, index: int = 0, count: int = 1) -> Part:
    """Return the part of shard `index` of `count`, for questions with answers of at most `limit` tokens."""
    texts = [prompt.text(question) for question in questions]
    ids = [prompt.ids(text) for text in texts]
    size = POOL * params["generation"]["batch_size"]
    return Part(name, texts, ids, shard([len(row) for row in ids], size, index, count), limit)


def shard(lengths: list[int], size: int, index: int, count: int) -> list[list[int]]:
    """Return the pools of shard `index` of `count` as lists of items."""
    order = sorted(range(len(lengths)), key=lambda item: (-lengths[item], item))
    pools = [order[first : first + size] for first in range(0, len(order), size)]
    return pools[index::count]


def cut(text: str, stop: list[str]) -> str:
    """Return the text before the first stop string."""
    ends = [place for place in (text.find(string) for string in stop) if place >= 0]
    return text[: min(ends)] if ends else text


class Run:
    """Generates answers with a run's model."""

    def __init__(self, job: dict, model_folder: Path, prompt: prompts.Prompt):
        self.params, self.prompt, self.model_folder = job["params"], prompt, model_folder
        self.weights = Path(job["input"]["last"])
        self.generation = self.params["generation"]
        self.precision = self.params["precision"]
        self.device = provenance.pick_device(job)
        self.rows, self.backend = self.generation["batch_size"], f"transformers {provenance.version('transformers')}"

    def check_lengths(self, asked: Part) -> None:
        """Raise JobError if a question and `max_new_tokens` do not fit into the model's context."""
        limit = context.limit(causal_lm.config_of(self.model_folder)) - asked.limit
        if long := [item for item in asked.items() if len(asked.ids[item]) > limit]:
            raise JobError(
                f"{asked.benchmark}, item {long[0]}: the question takes {len(asked.ids[long[0]])} tokens, and "
                f"max_new_tokens = {asked.limit} leaves {limit} of the model's context. Lower max_new_tokens."
            )

    def answers(self, parts: list[Part]) -> Iterable[Answer]:
        from tqdm import tqdm

        from hra_workflow.models import decoding

        model = causal_lm.load_run(
            self.model_folder,
            self.params["method"],
            self.weights,
            self.precision,
            self.device,
            self.params.get("quantization"),
            merge=self.generation["serve"] == "merged",
        )
        model = model.get_base_model() if hasattr(model, "get_base_model") else model  # with its adapter's layers
        answer = self.in_slots if decoding.is_supported(model) else self.in_batches
        started, count = rates.clock(), sum(len(one.items()) for one in parts)
        with tqdm(total=count, desc="generate", unit="item", disable=None) as progress:
            for one in parts:
                for pool in one.pools:
                    for item, tokens in answer(model, one, pool):
                        progress.update()
                        yield one.benchmark, item, *self.read(tokens)
        rates.report(count, rates.clock() - started, self.device)

    def in_slots(self, model, asked: Part, pool: list[int]) -> Iterable[tuple[int, list[int]]]:
        """Yield (item, new tokens); if memory runs out, halve the number of answers at a time permanently."""
        import torch

        from hra_workflow.models import decoding

        most = max(len(asked.ids[item]) for item in pool) + asked.limit
        fitting, why = decoding.fitting_rows(model, most)
        if fitting < min(self.rows, len(pool)):
            print(f"{fitting} instead of {self.rows} answers at a time: {why}")
        left = set(pool)
        while left:
            items, rows = [item for item in pool if item in left], min(self.rows, fitting)
            try:
                ids = [asked.ids[item] for item in items]
                for index, tokens in decoding.greedy(model, ids, asked.limit, rows, self.ended):
                    left.remove(items[index])
                    yield items[index], tokens
                return
            except torch.cuda.OutOfMemoryError:
                if rows == 1:
                    raise
            # Outside of the handler, whose traceback would keep the tensors alive.
            torch.cuda.empty_cache()
            self.rows = rows // 2
            print(f"out of memory with a batch of {rows} answers; continuing with half of it")

    def ended(self, tokens: list[int]) -> bool:
        """Return whether new tokens end an answer. Stop strings are searched in every eighth step."""
        if tokens[-1] in self.prompt.ends:
            return True
        stop = self.generation["stop"]
        if not stop or len(tokens) % LOOK:
            return False
        longest = max(len(string.encode()) for string in stop)
        tail = self.prompt.tokenizer.decode(tokens[-longest - 2 * LOOK :], skip_special_tokens=True)
        return any(string in tail for string in stop)

    def in_batches(self, model, asked: Part, pool: list[int]) -> Iterable[tuple[int, list[int]]]:
        """Do the same with transformers' `generate`, for models whose state is not a cache of keys and values."""
        for first in range(0, len(pool), self.rows):
            batch = pool[first : first + self.rows]
            yield from memory.split_on_oom(lambda some: self.batch(model, asked, some), batch, "items")

    def batch(self, model, asked: Part, items: list[int]) -> list[tuple[int, list[int]]]:
        import torch

        tokenizer, strings = self.prompt.tokenizer, self.generation["stop"]
        tokenizer.padding_side = "left"
        padded = tokenizer.pad({"input_ids": [asked.ids[item] for item in items]}, return_tensors="pt")
        stop = {"stop_strings": strings, "tokenizer": tokenizer} if strings else {}
        with torch.inference_mode():
            sequences = model.generate(
                **padded.to(self.device),
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
                max_new_tokens=asked.limit,
                pad_token_id=tokenizer.pad_token_id,
                eos_token_id=self.prompt.ends,
                **stop,
            )
        return list(zip(items, sequences[:, padded["input_ids"].shape[1] :].tolist(), strict=True))

    def read(self, tokens: list[int]) -> tuple[str, str]:
        """Return the text of new tokens, and whether the answer ended by itself ("stop") or at its limit ("length")."""
        end = next((index for index, token in enumerate(tokens) if token in self.prompt.ends), None)
        text = self.prompt.tokenizer.decode(tokens[:end], skip_special_tokens=True)
        ended = end is not None or any(string in text for string in self.generation["stop"])
        return text, "stop" if ended else "length"


if __name__ == "__main__":
    main()
