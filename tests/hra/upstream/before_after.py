"""Compare PEFT's HRA before and after a change, on real models, as PEFT's `.ai/skills/peft-method-changes` asks.

    PYTHONPATH=BEFORE python before_after.py before.json --checkpoints FOLDER
    PYTHONPATH=AFTER python before_after.py after.json --checkpoints FOLDER
    python before_after.py before.json after.json

BEFORE and AFTER contain a folder `peft`. The first command trains the adapters and saves them in FOLDER, the second
loads them. Both measure outputs (unmerged, merged, unmerged again) and gradients, with `autocast_adapter_dtype=False`,
on the CPU and, where CUDA exists, on the GPU; and the losses of training from the start, in float32 on the CPU. The
third prints a table, and names the rows beyond the limits. Models: a language model (linear layers) and a diffusion
UNet (also convolutions), folders or names on the Hub; by default those of this repository.
"""

import argparse
import itertools
import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import diffusers
import peft
import torch
from peft import HRAConfig, PeftModel, get_peft_model
from torch import nn
from transformers import AutoModelForCausalLM

WORKFLOW = Path(__file__).parents[3] / "workflow"
FORMS = {  # dtype of the model, and whether the adapter is in float32 under autocast
    "float32": (torch.float32, False),
    "float16": (torch.float16, False),
    "bfloat16": (torch.bfloat16, False),
    "bfloat16, autocast": (torch.bfloat16, True),
}
LIMIT = 1e-4  # of losses, and of relative differences in float32
RATIO = 4  # of the errors of 16 bits, relative to float32, after and before: largest differences, which vary
NAMES = ["default", "second", "third"]
STEPS, VALUES = 10, 512  # of training; of a tensor that are kept
# Of the UNet, only the narrowest layers: before the change, a convolution of C channels multiplies (9 C, 9 C) matrices.
TARGETS = {
    "llama": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    "unet": r"down_blocks\.(0\..*(to_q|to_v|to_out\.0|conv1|conv2|conv)|1\.resnets\.0\.conv_shortcut)",
}
# The options of each adapter of a case; several adapters are active at the same time.
CASES: dict[str, list[dict[str, Any]]] = {
    "default": [{"r": 8}],
    "random, r = 8": [{"r": 8, "init_weights": False}],
    "random, r = 5": [{"r": 5, "init_weights": False}],
    "apply_GS, random": [{"r": 8, "apply_GS": True, "init_weights": False}],
    "apply_GS, default": [{"r": 8, "apply_GS": True}],
    "two adapters": [{"r": 8}, {"r": 4, "init_weights": False}],
    "three adapters": [{"r": 8}, {"r": 4, "init_weights": False}, {"r": 2, "apply_GS": True, "init_weights": False}],
}


def load(kind: str, models: argparse.Namespace, device: str, dtype: torch.dtype) -> nn.Module:
    if kind == "llama":
        model = AutoModelForCausalLM.from_pretrained(models.llama, dtype=dtype)
    else:
        name, _, folder = models.unet.partition(":")
        model = diffusers.UNet2DConditionModel.from_pretrained(name, subfolder=folder or None, torch_dtype=dtype)
    return model.to(device).eval()


def compute(model: PeftModel, kind: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return output and loss of fixed inputs, which are the same on each device and in each dtype."""
    random, base = torch.Generator().manual_seed(1), model.get_base_model()
    if kind == "llama":
        tokens = torch.randint(3, base.config.vocab_size, (2, 24), generator=random).to(base.device)
        done = model(input_ids=tokens, labels=tokens)
        return done.logits, done.loss
    size, channels = min(base.config.sample_size, 32), base.config.in_channels
    like = {"device": base.device, "dtype": base.dtype}
    image = torch.randn(2, channels, size, size, generator=random).to(**like)
    text = torch.randn(2, 8, base.config.cross_attention_dim, generator=random).to(**like)
    output = model(image, 500, encoder_hidden_states=text).sample
    return output, (output - image).float().square().mean()


def adapted(model: nn.Module, kind: str, case: str) -> PeftModel:
    first, *others = [HRAConfig(target_modules=TARGETS[kind], **one) for one in CASES[case]]
    model = get_peft_model(model, first)
    for name, config in zip(NAMES[1:], others, strict=False):
        model.add_adapter(name, config)
    model.base_model.set_adapter(NAMES[: len(CASES[case])])
    return model


def train(model: PeftModel, kind: str) -> list[float]:
    losses, optimizer = [], torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    for _ in range(STEPS):
        loss = compute(model, kind)[1]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def reload(model: nn.Module, case: str, folder: Path, autocast: bool) -> PeftModel:
    where = {name: folder if name == "default" else folder / name for name in NAMES[: len(CASES[case])]}
    options = {"autocast_adapter_dtype": autocast, "is_trainable": True}
    model = PeftModel.from_pretrained(model, where.pop("default"), **options)
    for name, path in where.items():
        model.load_adapter(path, name, **options)
    model.base_model.set_adapter(NAMES[: len(CASES[case])])
    return model.eval()


def some(tensor: torch.Tensor) -> list[float]:
    flat = tensor.detach().float().flatten().cpu()
    return flat[torch.linspace(0, len(flat) - 1, min(VALUES, len(flat))).long()].tolist()


def evaluate(model: PeftModel, kind: str) -> dict[str, list[float]]:
    """Return some values of the outputs and of the gradient."""
    output, loss = compute(model, kind)
    loss.backward()
    gradients = [p.grad.float().flatten() for p in model.parameters() if p.requires_grad and p.grad is not None]
    found = {"unmerged": some(output), "gradient": some(torch.cat(gradients))}
    with torch.no_grad():
        model.merge_adapter()
        found["merged"] = some(compute(model, kind)[0])
        model.unmerge_adapter()
        found["unmerged again"] = some(compute(model, kind)[0])
    return found


def measure(arguments: argparse.Namespace) -> None:
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    torch.backends.cudnn.allow_tf32 = False
    results: dict[str, Any] = {"peft": peft.__version__, "torch": torch.__version__, "devices": devices, "cases": {}}
    for kind, case in itertools.product(TARGETS, CASES):
        folder = arguments.checkpoints / kind / case.replace(" ", "_").replace(",", "")
        torch.manual_seed(0)
        model = adapted(load(kind, arguments, "cpu", torch.float32), kind, case)
        row: dict[str, Any] = {"losses": train(model, kind)}
        if not folder.exists():
            model.save_pretrained(folder)
        for device, (form, (dtype, autocast)) in itertools.product(devices, FORMS.items()):
            try:
                model = reload(load(kind, arguments, device, dtype), case, folder, autocast)
                with torch.autocast(device, dtype) if autocast else nullcontext():
                    row[f"{device}, {form}"] = evaluate(model, kind)
            except (RuntimeError, ValueError, TypeError) as error:
                row[f"{device}, {form}"] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        results["cases"][f"{kind}: {case}"] = row
    arguments.results[0].write_text(json.dumps(results))


def far(one: dict[str, list[float]], other: dict[str, list[float]]) -> float:
    """Return the largest difference of outputs and gradient, relative to the largest value of `other`."""
    pairs = [(torch.tensor(one[what]), torch.tensor(values)) for what, values in other.items()]
    return torch.stack([(a - b).abs().max() / b.abs().max() for a, b in pairs]).max().item()  # NaN if any is


def cell(key: str, before: dict[str, Any], after: dict[str, Any]) -> tuple[str, bool]:
    """Return a cell of the table, and whether it is within the limits."""
    old, new = before[key], after[key]
    if isinstance(old, str) or isinstance(new, str):
        texts = [one if isinstance(one, str) else "works" for one in (old, new)]
        return " → ".join(texts), not isinstance(new, str)
    difference = far(new, old)
    if key.endswith("float32"):
        return f"{difference:.0e}", difference <= LIMIT
    reference = before[f"{key.partition(',')[0]}, float32"]
    errors = far(old, reference), far(new, reference)
    return f"{difference:.0e} ({errors[0]:.0e} → {errors[1]:.0e})", errors[1] <= RATIO * errors[0]


def compare(before: dict[str, Any], after: dict[str, Any]) -> None:
    print(f"| | losses | {' | '.join(FORMS)} |\n|---|{'--:|' * (1 + len(FORMS))}")
    beyond = []
    for case, old in before["cases"].items():
        new = after["cases"][case]
        loss = max(abs(a - b) for a, b in zip(old["losses"], new["losses"], strict=True))
        for device in before["devices"]:
            cells, fine = zip(*(cell(f"{device}, {form}", old, new) for form in FORMS), strict=True)
            print(f"| {case}, {device} | {loss:.0e} | {' | '.join(cells)} |")
            if loss > LIMIT or not all(fine):
                beyond.append(f"{case}, {device}")
    sys.exit(f"beyond the limits: {'; '.join(beyond)}" if beyond else 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="+", metavar="JSON")
    parser.add_argument("--checkpoints", type=Path, metavar="FOLDER", help="measure, instead of comparing")
    parser.add_argument("--llama", default=WORKFLOW / "word-problems-llama", help="folder or name on the Hub")
    parser.add_argument("--unet", default=f"{WORKFLOW / 'pictures-sd'}:unet", help="the same, with :SUBFOLDER")
    arguments = parser.parse_args()
    if arguments.checkpoints:
        measure(arguments)
    else:
        compare(*(json.loads(path.read_text()) for path in arguments.results))


if __name__ == "__main__":
    main()
