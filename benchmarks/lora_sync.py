"""Measure a trainer's part of a weight sync: merging and unmerging, or an export as LoRA.

python -m benchmarks.lora_sync
"""

import shutil
import statistics
import tempfile
import time

import peft
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import hra

SIZES = {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 2, "vocab_size": 1000}
SIZES |= {"num_attention_heads": 32, "num_key_value_heads": 8}
ROUNDS = 6  # the first is not counted


def adapted(dtype: torch.dtype) -> peft.PeftModel:
    torch.manual_seed(0)
    base = LlamaForCausalLM(LlamaConfig(**SIZES)).to(dtype)
    return peft.get_peft_model(base, peft.HRAConfig(r=32, target_modules="all-linear", init_weights=False))


def main() -> None:
    hra.install()
    torch.set_num_threads(1)
    for dtype in (torch.float32, torch.bfloat16):
        model = adapted(dtype)

        def merge(model=model) -> None:
            model.merge_adapter()
            model.unmerge_adapter()

        def export(model=model) -> None:
            folder = tempfile.mkdtemp(dir="/dev/shm")
            hra.to_lora(model, folder)
            shutil.rmtree(folder)

        seconds: dict = {merge: [], export: []}
        for _ in range(ROUNDS):  # alternating, so that other work on the machine slows both
            for step, of_step in seconds.items():
                began = time.perf_counter()
                step()
                of_step.append(time.perf_counter() - began)
        merging, exporting = (statistics.median(of_step[1:]) for of_step in seconds.values())
        of_base = [parameter for name, parameter in model.named_parameters() if "hra_" not in name]
        weights, factors = (sum(one.nbytes for one in some) / 1e6 for some in (of_base, hra.to_lora(model)[1].values()))
        print(
            f"{dtype}: merge and unmerge {1e3 * merging:.0f} ms, {weights:.0f} MB to send; export as LoRA "
            f"{1e3 * exporting:.0f} ms ({exporting / merging:.2f} times), {factors:.1f} MB"
        )


if __name__ == "__main__":
    main()
