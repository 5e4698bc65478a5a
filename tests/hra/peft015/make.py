"""Made the files here, once, with peft 0.15.2, transformers 4.51.3 and torch 2.13: an adapter after 20 training steps,
and its base model with an input and the adapted model's output."""

import torch
from peft import HRAConfig, get_peft_model
from safetensors.torch import save_file
from torch import nn


class Old(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 2)
        self.linear = nn.Linear(27, 4)

    def forward(self, x):
        return self.linear(torch.tanh(self.conv(x)).flatten(1))


if __name__ == "__main__":
    torch.manual_seed(0)
    base = Old()
    tensors = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    x = torch.randn(3, 2, 4, 4)
    model = get_peft_model(base, HRAConfig(r=4, target_modules=["conv", "linear"]))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    target = torch.randn(3, 4)
    for _ in range(20):
        (model(x) - target).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(".")
    save_file(tensors | {"x": x, "y": model(x).detach()}, "model.safetensors")
