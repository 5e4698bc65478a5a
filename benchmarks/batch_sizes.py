"""Count the greedy answers that change with the batch size, on the demo's language model and its test set.

    python -m benchmarks.batch_sizes    write the table of benchmarks/README.md, in five minutes on one core

Rounding depends on the shape of a batch. An answer changes if this moves a logit by more than the margin between the
two most likely tokens. The base model answers the 300 questions of the demo's test set as `generate_math` does: in
pools of similar length, with hra_workflow.models.decoding.
"""

from collections.abc import Iterator

import torch

from benchmarks.tables import ROOT, put
from hra_workflow.demo import text_tasks
from hra_workflow.models import causal_lm, decoding
from hra_workflow.models.prompts import Prompt
from hra_workflow.report.markdown_text import table

PAGE = ROOT / "benchmarks/README.md"
MODEL = ROOT / "workflow/word-problems-llama"
QUESTIONS, LIMIT, POOL = 300, 100, 8  # of the demo's config and of generate_math.py
SIZES = (1, 8, 64)

Answers = dict[int, list[int]]  # new tokens by question


def prompts() -> tuple[Prompt, list[list[int]]]:
    """Return the demo's prompt, and the prompts of its test set as tokens, longest first."""
    prompt = Prompt({"template": "{question}\n"}, causal_lm.load_tokenizer(MODEL), MODEL)
    rows = text_tasks.gsm8k({"test": QUESTIONS}, 0)["test"]
    return prompt, sorted((prompt.ids(prompt.text(row["question"])) for row in rows), key=len, reverse=True)


def answers(model, prompt: Prompt, ids: list[list[int]], size: int) -> Answers:
    """Generate the answers with at most `size` at a time."""
    found, pool = {}, POOL * size
    for first in range(0, len(ids), pool):
        generated = decoding.greedy(
            model, ids[first : first + pool], LIMIT, size, lambda tokens: tokens[-1] in prompt.ends
        )
        found |= {first + index: tokens for index, tokens in generated}
    return found


def differing(a: Answers, b: Answers) -> int:
    return sum(a[index] != b[index] for index in a)


@torch.inference_mode()
def logits(model, ids: list[list[int]], new: Answers, size: int) -> Iterator[torch.Tensor]:
    """Yield the logits (new tokens, vocabulary) of each answer, computed in padded batches of `size`."""
    texts = [[*row, *new[index]] for index, row in enumerate(ids)]
    for first in range(0, len(texts), size):
        some = texts[first : first + size]
        width = max(map(len, some))
        batch = torch.tensor([[0] * (width - len(row)) + row for row in some])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in some])
        position = (mask.cumsum(1) - 1).clamp(min=0)
        found = model(input_ids=batch, attention_mask=mask, position_ids=position).logits.float()
        for row, one in enumerate(found):
            yield one[-len(new[first + row]) - 1 : -1]


def row(precision: str) -> dict[str, str | int]:
    """Return the row of a precision: changed answers, and how far logits move."""
    model, (prompt, ids) = causal_lm.load_model(MODEL, precision).eval(), prompts()
    found = {size: answers(model, prompt, ids, size) for size in SIZES}
    first, *_, last = SIZES
    alone, together = (torch.cat([*logits(model, ids, found[first], size)]) for size in (first, last))
    change, best = (alone - together).abs().max().item(), alone.topk(2).values
    pairs = [(a, b) for index, a in enumerate(SIZES) for b in SIZES[index + 1 :]]
    return {
        "precision": precision,
        **{f"batch {a} and {b}: changed answers": differing(found[a], found[b]) for a, b in pairs},
        f"{first} and {last}: largest change of a logit": f"{change:.2g}",
        "tokens with a smaller margin": f"{int((best[:, 0] - best[:, 1] < change).sum())} of {len(best):,}",
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    rows = [row(precision) for precision in ("float32", "bf16")]
    lines = [[*rows[0]], *([*map(str, one.values())] for one in rows)]
    put(PAGE, "batch sizes", [table(lines, ["left", *["right"] * (len(rows[0]) - 1)])])
