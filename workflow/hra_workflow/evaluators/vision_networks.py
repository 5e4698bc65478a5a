"""Networks of LPIPS, with VGG16 and with the shift-tolerant AlexNet, whose weights are plain state dicts.

Module names are those of the files; each class loads exactly the tensors in its file.
"""

from itertools import pairwise

import numpy
import torch
import torchvision
from PIL import Image
from torch import nn
from torch.nn import functional

# Standard LPIPS input: (x − shift) / scale for x in −1 to 1 is ImageNet's normalisation.
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


def resized_tensor(images: list, side: int) -> torch.Tensor:
    """Convert RGB images to (N, 3, side, side) in 0 to 1, without keeping their aspect ratio."""
    resized = [image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC) for image in images]
    return torch.from_numpy(numpy.stack([numpy.asarray(image) for image in resized])).permute(0, 3, 1, 2) / 255


class Lpips(nn.Module):
    """LPIPS (Zhang et al. 2018) as an embedding: the distance of two images is |a − b|² of their vectors.

    LPIPS is the sum over layers l of the mean over positions of Σ_c w_lc (f_lc − g_lc)², with f and g of unit length
    over c; so the vector consists of every layer's f·√w / √positions.
    """

    def __init__(self, slices: list[nn.Module], channels: tuple[int, ...]):
        super().__init__()
        self.slices = nn.ModuleList(slices)
        self.weights = nn.ParameterList(nn.Parameter(torch.zeros(count)) for count in channels)
        self.register_buffer("shift", torch.tensor(SHIFT)[:, None, None])
        self.register_buffer("scale", torch.tensor(SCALE)[:, None, None])

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Embed (N, 3, height, width) in −1 to 1 as (N, d)."""
        found, x = [], (pixels - self.shift) / self.scale
        for part, weight in zip(self.slices, self.weights, strict=True):
            x = part(x)
            unit = x / (x.norm(dim=1, keepdim=True) + 1e-10)
            found.append((unit * (weight / x[0, 0].numel()).sqrt()[:, None, None]).flatten(1))
        return torch.cat(found, 1)


def lpips_vgg(backbone: dict, layers: dict) -> Lpips:
    """Build LPIPS from torchvision's vgg16 weights and lpips' v0.1 linear layers."""
    with torch.device("meta"):  # the file's tensors take the place of all others
        network = torchvision.models.vgg16(init_weights=False).features
    known = network.state_dict()
    network.load_state_dict({name: backbone[f"features.{name}"] for name in known}, assign=True)
    slices = [network[start:end] for start, end in pairwise((0, 4, 9, 16, 23, 30))]  # each after the first with a pool
    return with_layers(Lpips(slices, (64, 128, 256, 512, 512)), layers)


def st_lpips(state: dict) -> Lpips:
    """Build shift-tolerant LPIPS (Ghildyal and Liu 2022), AlexNet, from stlpips-pytorch's alex_shift_tolerant.pth."""
    channels = (64, 192, 384, 256, 256)
    slices = [
        nn.Sequential(nn.Conv2d(3, 64, 11, padding=2), Blur(64), nn.ReLU()),
        nn.Sequential(nn.MaxPool2d(3, 1), Blur(64), nn.Conv2d(64, 192, 5, padding=2), nn.ReLU()),
        nn.Sequential(nn.MaxPool2d(3, 1), Blur(192), nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
        nn.Sequential(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        nn.Sequential(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
    ]
    convolutions = [layer for part in slices for layer in part if isinstance(layer, nn.Conv2d)]
    for layer, name in zip(convolutions, ("1.0", "2.5", "3.9", "4.11", "5.13"), strict=True):
        layer.load_state_dict({kind: state[f"net.slice{name}.{kind}"] for kind in ("weight", "bias")})
    return with_layers(Lpips(slices, channels), state)


def with_layers(network: Lpips, layers: dict) -> Lpips:
    for index, weight in enumerate(network.weights):
        weight.data.copy_(layers[f"lin{index}.model.1.weight"].flatten())
    return network


class Blur(nn.Module):
    """Binomial 3 × 3 filter with stride 2, two reflected pixels at each edge."""

    def __init__(self, channels: int):
        super().__init__()
        line = torch.tensor([0.25, 0.5, 0.25])
        self.register_buffer("filter", (line[:, None] * line).expand(channels, 1, 3, 3).clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.conv2d(
            functional.pad(x, (2, 2, 2, 2), mode="reflect"), self.filter, stride=2, groups=x.shape[1]
        )
