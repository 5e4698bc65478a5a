"""A step of PEFT's GRPO benchmark on a fake GPU: python -m studies.peft_rlmath.step lora|hra|peft [RANK] [CARD].

The model has the sizes of Qwen3.5-4B, the step those of `method_comparison/RLMath` in pull request 3078 of
huggingface/peft at d2587c8: four answers, one at a time, with gradient checkpointing and the loss of a reference model,
then the merge and unmerge that send the weights to vLLM. The answers themselves are not generated.
"""

import json
import sys

from fakegpu import cuda
from fakegpu.workflow import job, model_sizes

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
ANSWERS, TOKENS, ANSWER_TOKENS = 4, 750, 650  # a step reads 3,000 tokens (`num_tokens` of its results)


def step(torch, observer, kind: str, rank: int) -> dict[str, float]:
    """Return the milliseconds of each part of a step; all answers take the same time, so one is computed."""
    import peft
    from transformers import AutoConfig, AutoModelForCausalLM

    import hra

    if kind == "hra":
        hra.install()
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**model_sizes.TRANSFORMERS["qwen3.5-4b"]))
    torch.set_default_dtype(torch.float32)
    config = peft.LoraConfig if kind == "lora" else peft.HRAConfig
    model = peft.get_peft_model(model, config(r=rank, target_modules=TARGETS)).train()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model.enable_input_require_grads()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained)
    inputs = {
        "input_ids": torch.ones(1, TOKENS, dtype=torch.int64, device="cuda"),
        "logits_to_keep": ANSWER_TOKENS,
        "use_cache": False,
    }

    def reference():
        with torch.no_grad(), model.disable_adapter(), torch.autocast("cuda", torch.bfloat16):
            model(**inputs)

    def forward_and_backward():
        with torch.autocast("cuda", torch.bfloat16):
            loss = model(**inputs).logits.float().logsumexp(-1).mean()
        loss.backward()

    def merge_and_unmerge():
        with torch.no_grad():
            model.merge_adapter()
            model.unmerge_adapter()

    parts = {}
    for name, times, part in (
        ("reference", ANSWERS, reference),
        ("forward and backward", ANSWERS, forward_and_backward),
        ("optimizer", 1, optimizer.step),
        ("merge and unmerge", 1, merge_and_unmerge),
    ):
        before = observer.clock()
        part()
        parts[name] = round(times * 1e3 * (observer.clock() - before), 1)
    return parts | {"sum": round(sum(parts.values()), 1), "peak_gb": round(observer.peak / 1e9, 1)}


def main(kind: str, rank: str = "16", card: str = "h100") -> None:
    torch, found = cuda.load(), cuda.CARDS[card]
    from fakegpu import fake_mode
    from fakegpu.observer import Observer

    observer = Observer(torch, found.speed)
    cuda.imitate(torch, found, observer)
    job.prepare()
    with fake_mode.entered(torch, observer):
        parts = step(torch, observer, kind, int(rank))
    print(json.dumps({"layer": kind, "r": int(rank), "card": found.name} | parts))


if __name__ == "__main__":
    main(*sys.argv[1:])
