"""Evaluate a run on general text, to compare with the base model how well it predicts text unrelated to its task.

With `cut: windows`, the rows are joined by empty lines and split into windows of the same number of tokens, each with
the start token before it if the tokenizer has one; the remaining tokens are dropped. With `cut: rows`, every row is a
separate item, of which the first window is used. loss: the mean over all tokens of their negative log-likelihood, in
nats; its exponential is the perplexity.
"""

import time
from pathlib import Path

from hra_workflow.core import finished_run, manifests, predictions, provenance
from hra_workflow.core.errors import JobError
from hra_workflow.core.job import script
from hra_workflow.evaluators import aggregation
from hra_workflow.models import causal_lm, context, memory


@script
@finished_run.unless_diverged
def main(job: dict) -> None:
    import numpy

    started = time.monotonic()
    params, inputs = job["params"], job["input"]
    record = finished_run.read(job, inputs["last"])
    device = provenance.pick_device(job)
    folder = manifests.folder(inputs["model"])
    path = manifests.folder(inputs["dataset"]) / f"{params['split']}.parquet"
    most = context.limit(causal_lm.config_of(folder))
    rows = ITEMS[params["cut"]](path, causal_lm.load_tokenizer(folder), params["window"], most)
    model = causal_lm.load_run(
        folder, params["method"], Path(inputs["last"]), params["precision"], device, params.get("quantization")
    )

    values = losses(model, rows, params["batch_size"], device)
    tokens = [len(row) - 1 for row in rows]  # the first token has no token before it
    loss = aggregation.weighted(numpy.array(values), numpy.array(tokens))
    selections = {"last": {"step": record["steps"], "metrics": {"loss": loss}}}
    lines = zip(values, tokens, strict=True)
    predictions.write(
        job["output"]["predictions"],
        ({"item": i, "loss": value, "tokens": count} for i, (value, count) in enumerate(lines)),
    )
    predictions.write_metrics(job, started, device, record, len(values), "loss", selections)
    print(f"{len(values)} items, {sum(tokens)} tokens: loss {loss['value']:.4f} per token")


def windows(path: Path, tokenizer, length: int, most: float) -> list[list[int]]:
    """Split a text, the rows of a Parquet file, into windows of `length` token IDs; raise JobError if it has none."""
    text = "\n\n".join(texts(path, length, most))
    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    begin = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    step = length - len(begin)
    cut = [begin + ids[first : first + step] for first in range(0, len(ids) - step + 1, step)]
    if not cut:
        raise JobError(f"{path}: expected at least {step} tokens, found {len(ids)}. Lower general_text.window.")
    return cut


def beginnings(path: Path, tokenizer, length: int, most: float) -> list[list[int]]:
    """Return the first `length` token IDs of every row of a Parquet file that has two or more."""
    rows = tokenizer(texts(path, length, most), truncation=True, max_length=length)["input_ids"]
    return [row for row in rows if len(row) > 1]


def texts(path: Path, length: int, most: float) -> list[str]:
    """Read the rows of a Parquet file; raise JobError if the model cannot read `length` tokens."""
    from pyarrow import parquet

    if length > most:
        raise JobError(
            f"general_text.window: expected at most {most} tokens, the model's context, found {length}. Lower it."
        )
    return parquet.read_table(path, columns=["text"])["text"].to_pylist()


ITEMS = {"windows": windows, "rows": beginnings}


def losses(model, rows: list[list[int]], batch_size: int, device: str) -> list[float]:
    """Return the mean negative log-likelihood per token of each row, after its first token, in nats."""
    import torch
    from tqdm import tqdm

    def batch(some: list[list[int]]) -> list[float]:
        width = max(map(len, some))
        ids, mask = (torch.zeros(len(some), width, dtype=torch.long) for _ in range(2))
        for index, row in enumerate(some):
            ids[index, : len(row)], mask[index, : len(row)] = torch.tensor(row), 1
        ids, mask = ids.to(device), mask.to(device)
        found = model(input_ids=ids, attention_mask=mask).logits
        logits = found[:, :-1].float()
        each = torch.nn.functional.cross_entropy(logits.mT, ids[:, 1:], reduction="none")
        return ((each * mask[:, 1:]).sum(dim=1) / mask[:, 1:].sum(dim=1)).tolist()

    found: list[float] = []
    with torch.inference_mode(), tqdm(total=len(rows), desc="evaluate", unit="item", disable=None) as progress:
        for first in range(0, len(rows), batch_size):
            some = rows[first : first + batch_size]
            found += memory.split_on_oom(batch, some, "items")
            progress.update(len(some))
    return found


if __name__ == "__main__":
    main()
