"""Estimate the host time per kernel launch, from published steps that the GPU does not limit.

    python -m fakegpu.workflow.published.launches

launches.csv has the milliseconds with their sources; the kernels of the same model and batch are counted here, on a
fake GPU. A step also includes time without kernels, such as the Trainer's or the pipeline's Python, so the quotient is
an upper bound of the time per launch.
"""

import csv
from collections.abc import Callable
from pathlib import Path

from fakegpu import cuda
from fakegpu.workflow import model_sizes


def built(name: str, kind: str, **arguments):
    """Build a model of transformers on the fake device; `kind`: the name of its auto class."""
    import torch
    import transformers

    sizes = dict(model_sizes.TRANSFORMERS[name])
    config = transformers.AutoConfig.for_model(sizes.pop("model_type"), **sizes)
    with torch.device("cuda"):
        return getattr(transformers, kind).from_config(config, **arguments)


def deberta() -> Callable[[], None]:
    import torch

    model = built("deberta-v3-base", "AutoModelForTokenClassification").train()
    optimizer, tokens = torch.optim.AdamW(model.parameters()), ones(2, 16)

    def step() -> None:
        model(input_ids=tokens, attention_mask=tokens, labels=tokens).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def llama_forward() -> Callable[[], None]:
    import torch

    model, tokens = built("llama-3.2-1b", "AutoModelForCausalLM", dtype=torch.bfloat16).eval(), ones(1, 512)
    return torch.no_grad()(lambda: model(input_ids=tokens))


def llama_backward() -> Callable[[], None]:
    import torch

    model, tokens = built("llama-3.2-1b", "AutoModelForCausalLM", dtype=torch.bfloat16).train(), ones(1, 512)
    model.gradient_checkpointing_enable()
    return lambda: model(input_ids=tokens, labels=tokens, use_cache=False).loss.backward()


def unet() -> Callable[[], None]:
    import torch
    from diffusers import UNet2DConditionModel

    with torch.device("cuda"):
        model = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8).half().eval()
        latents, text = torch.randn(2, 4, 64, 64).half(), torch.randn(2, 77, 768).half()
    return torch.no_grad()(lambda: model(latents, ones(), encoder_hidden_states=text))


def ones(*shape: int):
    import torch

    return torch.ones(shape, dtype=torch.int64, device="cuda")


STEPS = {"deberta": deberta, "llama-forward": llama_forward, "llama-backward": llama_backward, "unet": unet}


def main() -> None:
    torch = cuda.load()
    from fakegpu import fake_mode
    from fakegpu.observer import Observer

    card = cuda.CARDS["a100"]
    observer, kernels = Observer(torch, card.speed), {}
    cuda.imitate(torch, card, observer)
    with fake_mode.entered(torch, observer):
        for name, build in STEPS.items():
            step = build()
            step()  # the first pass also makes tensors that later ones keep
            before = observer.started
            step()
            kernels[name] = observer.started - before
    with open(Path(__file__).with_name("launches.csv"), newline="") as file:
        for row in csv.DictReader(file):
            count = kernels[row["step"]]
            low, high = (float(row[f"{end}_milliseconds"]) * 1e3 / count for end in ("low", "high"))
            print(f"{row['conditions']}; {row['machine']}: {count} kernels, {low:.0f} to {high:.0f} µs each")


if __name__ == "__main__":
    main()
