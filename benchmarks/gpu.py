"""Whole models on a GPU: time, kernel launches and memory of each method, on the same weights in one run.

    python -m benchmarks --device cuda

LLaMA2-7B's shape as in the paper (queries and values, r = 32, bfloat16): a token of cached decoding, and training on
8 x 512 tokens with and without gradient checkpointing. DeBERTaV3-base's shape on 32 x 128 tokens. The UNet of Stable
Diffusion 1.5 at batch 2 and 8. HRA is compared with the frozen model, with PEFT's LoRA and DoRA of the same rank, its
OFT and BOFT of about as many parameters, and its HRA.
Weights are random. Results are written to results/{name of the GPU}.csv after each case.
"""

import csv
import gc
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks import cases
from benchmarks.cases import Case, Step

KINDS = ("frozen", "lora", "dora", "oft", "boft", "peft", "hra")  # and `next` before the last, with --peft
WARM_UP, ROUNDS = 5, 30


def llama7b(batch: int, tokens: int, checkpointing: bool = False) -> Case:
    """Build LLaMA2-7B without its embeddings; one token: cached decoding."""

    def build() -> tuple[nn.Module, torch.Tensor]:
        with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
            model = cases.llama_model(32, cases.LLAMA2_7B)
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        return model.train(checkpointing), torch.randn(batch, tokens, 4096)

    return Case(
        "llama2-7b",
        f"{batch}x{tokens} tokens{', checkpointing' if checkpointing else ''}",
        build,
        ["q_proj", "v_proj"],
        32,
        torch.bfloat16,
        call=cases.decode if tokens == 1 else cases.embeddings,
        inference=tokens == 1,
    )


CASES = [
    llama7b(1, 1),
    llama7b(8, 512),
    llama7b(8, 512, checkpointing=True),
    cases.deberta(8, 32, 128),
    cases.unet(2, width=320, side=64),
    cases.unet(8, width=320, side=64),
]


def seconds(step: Step, device: str) -> float:
    """Measure one step; on a GPU, from the start of its first kernel to the end of its last."""
    if not device.startswith("cuda"):
        start = time.perf_counter()
        step()
        return time.perf_counter() - start
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    step()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3


def launches(step: Step, device: str) -> int | None:
    """Count the kernels, copies and fills that one step starts on a GPU."""
    if not device.startswith("cuda"):
        return None
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        step()
        torch.cuda.synchronize()
    return sum(event.device_type == DeviceType.CUDA for event in profiled.events())


def memory(step: Step, device: str) -> float | None:
    """Measure the peak of a step above what is allocated before it, in MiB."""
    if not device.startswith("cuda"):
        return None
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    step()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def measure(case: Case, device: str, kinds: tuple[str, ...] = KINDS) -> Iterator[dict]:
    """Yield one row per kind. The kinds are timed in turn; a kind that does not fit into memory has no times."""
    case = replace(case, device=device)
    base, x = case.base()
    steps: dict[str, Step] = {}
    values: dict[str, dict] = {}
    for kind in kinds:
        model = cases.adapt(base, kind, case)
        values[kind] = {"parameters": sum(p.numel() for p in model.parameters() if p.requires_grad)}
        step = case.step(model, x)
        try:
            for _ in range(WARM_UP):
                step()
            values[kind] |= {"MiB": memory(step, device), "launches": launches(step, device)}
            steps[kind] = step
        except torch.OutOfMemoryError:
            values[kind]["seconds"] = "out of memory"
        del model, step
        gc.collect()
        torch.cuda.empty_cache()
    times: dict[str, list[float]] = {kind: [] for kind in steps}
    for _ in range(ROUNDS):
        for kind, step in steps.items():
            times[kind].append(seconds(step, device))
    for kind in kinds:
        row = {"case": case.group, "size": case.size, "r": case.r, "dtype": str(case.dtype).removeprefix("torch.")}
        row |= {"what": "inference" if case.inference else "step", "kind": kind}
        row |= dict.fromkeys(("seconds", "10 %", "90 %", "times LoRA", "launches", "MiB"), "") | values[kind]
        if kind in times:
            deciles = statistics.quantiles(times[kind], n=10, method="inclusive")
            median = statistics.median(times[kind])
            row |= {"seconds": f"{median:.4g}", "10 %": f"{deciles[0]:.4g}", "90 %": f"{deciles[-1]:.4g}"}
            if "lora" in times:  # per round, because changes of the machine's speed affect both
                ratios = [one / lora for one, lora in zip(times[kind], times["lora"], strict=True)]
                row["times LoRA"] = round(statistics.median(ratios), 3)
        yield row


def run(device: str, folder: Path) -> None:
    if not torch.cuda.is_available():
        sys.exit(f"benchmarks: expected a GPU for --device {device}, but torch {torch.__version__} finds none")
    # Without its extension, PEFT builds BOFT with one butterfly factor instead of two.
    from hra_workflow.models import butterfly

    butterfly.install()
    name = torch.cuda.get_device_name(device)
    rows: list[dict] = []
    for case in CASES:
        for row in measure(case, device, cases.with_next(KINDS)):
            rows.append(row | {"machine": f"{name}, torch {torch.__version__}"})
            print(*row.values(), sep="  ", flush=True)
        with open(folder / f"{name.replace(' ', '-')}.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
