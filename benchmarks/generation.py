"""Generation of answers by a small LLaMA: a batch that answers leave and prompts join, against transformers' generate.

The answers' lengths are those of a log-normal distribution, cut off at the limit, as of answers that never end. Both
decode the same tokens, 32 answers at a time.
"""

import random
import time
from collections.abc import Iterator

LIMITS = (32, 128, 512)  # the most new tokens
PROMPTS, ROWS = 128, 32


def seconds(limit: int) -> dict[str, float]:
    """Measure both ways of decoding with one model."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

    from hra_workflow.models import decoding

    torch.manual_seed(0)
    sizes = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 512}
    config = AutoConfig.for_model("llama", vocab_size=300, max_position_embeddings=1024, pad_token_id=0, **sizes)
    model = AutoModelForCausalLM.from_config(config).eval()
    model.generation_config.eos_token_id = None
    generator = random.Random(0)
    prompts = [[generator.randrange(300) for _ in range(generator.randrange(20, 60))] for _ in range(PROMPTS)]
    lengths = [max(2, min(limit, round(generator.lognormvariate(0, 1) * limit / 8))) for _ in range(PROMPTS)]
    order = sorted(range(PROMPTS), key=lambda index: -len(prompts[index]))

    def batches() -> None:
        for first in range(0, PROMPTS, ROWS):
            some = [prompts[index] for index in order[first : first + ROWS]]
            width = max(map(len, some))
            ids = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in some])
            mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in some])
            longest = max(lengths[index] for index in order[first : first + ROWS])
            settings = GenerationConfig(do_sample=False, max_new_tokens=longest, pad_token_id=0)
            with torch.inference_mode():
                model.generate(ids, attention_mask=mask, generation_config=settings)

    def joining() -> None:
        # Every answer ends at its own length: the first prompts that start are the first in `order`.
        waiting, wanted = iter(order), {}

        def ended(new: list[int]) -> bool:
            if id(new) not in wanted:
                wanted[id(new)] = (new, lengths[next(waiting)])  # keeps `new`, whose id is then not used again
            return len(new) >= wanted[id(new)][1]

        for _ in decoding.greedy(model, prompts, limit, ROWS, ended):
            pass

    measured = {}
    for name, work in {"transformers' generate": batches, "answers leave, prompts join": joining}.items():
        started = time.perf_counter()
        work()
        measured[name] = time.perf_counter() - started
    return measured


def cases() -> Iterator[tuple[int, str, float, float]]:
    """Yield limit, case, wall seconds, and the ratio to the first case."""
    for limit in LIMITS:
        measured = seconds(limit)
        first = next(iter(measured.values()))
        for case, wall in measured.items():
            yield limit, case, wall, first / wall
