"""The optimiser of a training run: AdamW, with LoRA+'s learning rates (arXiv 2402.12354) if a variant sets them."""

import torch

RATIO = "loraplus_lr_ratio"


def adamw(model, method: dict, optimizer: type = torch.optim.AdamW, **arguments) -> torch.optim.Optimizer:
    """Build the optimiser of the trainable parameters; `arguments`: at least `lr` and `weight_decay`.

    LoRA+ trains B, and every vector such as a bias of the head, with `loraplus_lr_ratio` times the learning rate, and
    vectors without weight decay, as in the authors' code, which PEFT contains.
    """
    if RATIO not in method:
        return optimizer([one for one in model.parameters() if one.requires_grad], **arguments)
    from peft.optimizers import create_loraplus_optimizer

    plus = {RATIO: method[RATIO], "loraplus_weight_decay": arguments.pop("weight_decay")}
    return create_loraplus_optimizer(model, optimizer, **plus, **arguments)
