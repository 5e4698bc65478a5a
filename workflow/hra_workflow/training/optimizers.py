"""The optimiser of a training run: AdamW, with the steps that a variant sets for its own parameters.

LoRA+ (arXiv 2402.12354) trains B with a multiple of the learning rate. HRA's pairs of columns can be trained in their
sum and difference (docs/mathematics.md).
"""

import torch

from hra_workflow.models import built_adapters

RATIO = "loraplus_lr_ratio"
SUM_DIFFERENCE = "sum_difference_lr_ratio"


def adamw(model, method: dict, optimizer: type = torch.optim.AdamW, **arguments) -> torch.optim.Optimizer:
    """Build the optimiser of the trainable parameters; `arguments`: at least `lr` and `weight_decay`.

    LoRA+ trains B, and every vector such as a bias of the head, with `loraplus_lr_ratio` times the learning rate, and
    vectors without weight decay, as in the authors' code, which PEFT contains.
    """
    if RATIO not in method:
        built = optimizer([one for one in model.parameters() if one.requires_grad], **arguments)
        return with_own_steps(built, model, method)
    from peft.optimizers import create_loraplus_optimizer

    plus = {RATIO: method[RATIO], "loraplus_weight_decay": arguments.pop("weight_decay")}
    return create_loraplus_optimizer(model, optimizer, **plus, **arguments)


def with_own_steps(optimizer: torch.optim.Optimizer, model, method: dict) -> torch.optim.Optimizer:
    """Let a new optimiser step as the variant says."""
    if SUM_DIFFERENCE in method:
        import hra

        hra.train_sum_and_difference(model, optimizer, ratio=method[SUM_DIFFERENCE])
    return optimizer


def set_head_rate(optimizer: torch.optim.Optimizer, model, head: list[str], rate: float) -> None:
    """Give the parameters of the head, in a new optimiser, a learning rate of their own."""
    of_head = {id(parameter) for name, parameter in model.named_parameters() if built_adapters.within(name, head)}
    for group in list(optimizer.param_groups):
        moved = [parameter for parameter in group["params"] if id(parameter) in of_head]
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in of_head]
        if moved:
            optimizer.add_param_group(group | {"params": moved, "lr": rate})
    optimizer.param_groups = [group for group in optimizer.param_groups if group["params"]]
