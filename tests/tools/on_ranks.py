"""Training by transformers' Trainer on one process, or on two whose parameters FSDP or DeepSpeed shards.

The Python of .venv-deepspeed runs this file as a script, since DeepSpeed is not in the main environment.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import transformers
from accelerate import DistributedType, PartialState
from peft import HRAConfig, get_peft_model, load_peft_weights
from sidebyside import llama

import hra
from two_ranks import on_two_ranks

OPTIONS = {"max_steps": 4, "learning_rate": 0.05, "lr_scheduler_type": "constant", "save_steps": 2, "logging_steps": 1}
HRA = {"r": 4, "target_modules": ["q_proj", "up_proj"], "init_weights": False, "task_type": "CAUSAL_LM"}
# Of four evaluations, the second is the best.
BEST = {"eval_strategy": "steps", "eval_steps": 1, "save_steps": 1, "load_best_model_at_end": True}
BEST |= {"metric_for_best_model": "rank", "greater_is_better": False}
QUIET = {"report_to": [], "disable_tqdm": True}
ROWS = [{"input_ids": ids, "labels": ids} for ids in torch.randint(50, (16, 6), generator=torch.Generator())]


def on_two_processes(kind: str) -> dict[str, Any]:
    """Return the options of TrainingArguments with which accelerate shards on a CPU.

    accelerate 1.15 does not by itself: with `use_cpu`, it ignores FSDP (state.py: AcceleratorState.__init__ sets a
    plugin for MULTI_GPU and others, not for MULTI_CPU); without it, PartialState._prepare_backend finds no backend, so
    that each process of DeepSpeed takes all rows.
    """
    if kind == "deepspeed":
        import deepspeed

        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False  # would be compiled; gloo does as well
        os.environ["ACCELERATE_USE_DEEPSPEED"] = "true"
    state = PartialState(cpu=kind == "fsdp")
    if state.distributed_type == DistributedType.MULTI_CPU:  # not yet FSDP, of an earlier Trainer
        state.distributed_type, state.device = DistributedType.MULTI_GPU, torch.device("cpu")  # FSDP1 refuses cpu:0
    state.backend, state.num_processes, state.process_index = "gloo", 2, dist.get_rank()
    return {"accelerator_config": {"use_configured_state": True}}


def trained(
    folder: Path,
    kind: str = "",
    code: str = "",
    lam: float = 0.0,
    resume: str | bool | None = None,
    best: bool = False,
    **options: Any,
) -> transformers.Trainer:
    """Train with the TrainingArguments and the Trainer of the page's `code`, if it has them, on the model in `folder`.

    kind: fsdp, deepspeed, or "" for one process, which takes the rows of both, in micro-batches of one row. options: of
    TrainingArguments. best: load the checkpoint of step 2 at the end.
    """
    place = on_two_processes(kind) if kind else {"use_cpu": True}
    batches = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 2 if kind else 4}
    options = OPTIONS | QUIET | place | batches | (BEST if best else {}) | options
    names: dict[str, Any] = {"hra": hra, "transformers": transformers, "lam": lam, "options": options}
    exec(code.replace('"out"', f'"{folder / "out"}", **options'), names)
    arguments = names.get("arguments") or transformers.TrainingArguments(str(folder / "out"), **options)
    # Only now: ZeRO-3 partitions the base model while it is loaded.
    model = transformers.AutoModelForCausalLM.from_pretrained(folder / "base")
    torch.manual_seed(1)
    cls = names.get("PenalisedTrainer", transformers.Trainer)
    callbacks = [hra.OrthogonalityCallback(lam)] if lam and cls is transformers.Trainer else []
    ranks = iter([2, 1, 3, 4])
    given = {"eval_dataset": ROWS[:4], "compute_metrics": lambda _: {"rank": next(ranks)}} if best else {}
    trainer = cls(get_peft_model(model, HRAConfig(**HRA)), arguments, train_dataset=ROWS, callbacks=callbacks, **given)
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def saved(trainer: transformers.Trainer, folder: Path) -> dict[str, torch.Tensor]:
    """Return the adapter that the Trainer saves."""
    trainer.save_model(str(folder))
    if dist.is_initialized():
        dist.barrier()
    return load_peft_weights(str(folder), device="cpu")


def on_a_rank(folder: Path, place: Path, kind: str, code: str, options: dict[str, Any]) -> dict[str, Any]:
    trainer = trained(folder, kind, code, **options)
    parameters = [getattr(p, "ds_tensor", getattr(p, "_local_tensor", p)) for p in trainer.model.parameters()]
    found = {"held": sum(p.numel() for p in parameters), "weights": saved(trainer, place / "saved"), "errors": []}
    for write in (lambda: hra.to_lora(trainer.model), trainer.model.merge_adapter):
        try:
            write()
        except (TypeError, ValueError) as error:
            found["errors"].append(str(error))
    if kind == "deepspeed":
        import deepspeed

        with deepspeed.zero.GatheredParameters(list(trainer.model.parameters())):
            if not found["errors"]:
                trainer.model.unmerge_adapter()
            found |= written(trainer.model)
    return found


@torch.no_grad()
def written(model: Any) -> dict[str, Any]:
    """Return the exported LoRA and the outputs of the merged model."""
    found = {"lora": {name: tensor.clone() for name, tensor in hra.to_lora(model)[1].items()}}
    model.eval().merge_adapter()
    found["merged"] = {"logits": model(input_ids=ROWS[0]["input_ids"][None]).logits}
    model.unmerge_adapter()
    return found


def on_ranks(folder: Path, kind: str, code: str, options: dict[str, Any]) -> None:
    """Train on the base model in `folder`, from the middle, and to load the best: RANK.pt in whole, resumed and best.

    Each has the saved adapter, how many numbers of the model the process held, and what exporting and merging gave.
    """
    ways = {"whole": {}, "resumed": {"resume": str(folder / "out/checkpoint-2")}, "best": {"best": True}}
    for name, way in ways.items():
        (place := folder / name).mkdir()
        on_two_ranks(on_a_rank, place, folder, place, kind, code, options | way)


def base(folder: Path) -> None:
    torch.manual_seed(0)
    llama(2).save_pretrained(folder / "base")


if __name__ == "__main__":
    on_ranks(Path(sys.argv[1]), *json.loads(sys.argv[2]))
