"""Check the device of a job: torch's build, bf16, and a collective operation between processes (NCCL or gloo).

Without a GPU, two processes are started on the CPU; with one GPU, NCCL has one process.
"""

import os
from pathlib import Path

from hra_workflow.core import files, launcher, provenance
from hra_workflow.core.job import script


@script
def main(job: dict) -> None:
    device = provenance.pick_device(job)
    if device == "cpu" and "RANK" not in os.environ:
        launcher.torchrun(__file__, job, 2)
        return
    import torch

    found = [torch_build(device), bf16(device), collective(device)]
    if int(os.environ.get("RANK", 0)) == 0:
        files.write_json(Path(job["output"]["report"]), found)
        print("\n".join(f"{one['check']}: {one['text']}" for one in found))
    torch.distributed.destroy_process_group()


def finding(check: str, ok: bool, text: str) -> dict:
    return {"check": check, "ok": ok, "text": text}


def torch_build(device: str) -> dict:
    import torch

    name = provenance.device_name(device)
    if device == "cpu":
        return finding("torch", True, f"{torch.__version__} on {name}; the config requests no GPU")
    return finding("torch", True, f"{torch.__version__} with CUDA {torch.version.cuda} on {name}")


def bf16(device: str) -> dict:
    import torch

    supported = device == "cpu" or torch.cuda.is_bf16_supported(including_emulation=False)
    one = torch.ones(64, 64, dtype=torch.bfloat16, device=device)
    right = supported and bool((one @ one == 64).all())
    remedy = "set `precision: fp16` or float32 in the presets, or use GPUs from Ampere (A100) on"
    return finding("bf16", right, "works" if right else f"not supported: {remedy}")


def collective(device: str) -> dict:
    import torch
    from torch import distributed

    backend = "nccl" if device == "cuda" else "gloo"
    if device == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    alone = {} if "RANK" in os.environ else {"store": distributed.HashStore(), "rank": 0, "world_size": 1}
    distributed.init_process_group(backend, **alone)
    total = torch.ones(1, device=device)
    distributed.all_reduce(total)
    count = distributed.get_world_size()
    return finding(backend, int(total) == count, f"{count} process{'es' * (count > 1)} added up {int(total)}")


if __name__ == "__main__":
    main()
