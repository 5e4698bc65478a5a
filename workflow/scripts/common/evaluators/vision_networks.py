"""Networks whose weights come as plain state dicts: LPIPS with VGG16 and shift-tolerant AlexNet, EfficientNet-Lite0.

Module names are those of the files; each class takes exactly the tensors that its file holds.
"""

import numpy
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

# Standard LPIPS input: (x − shift) / scale for x of −1 to 1 is ImageNet's normalisation.
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


def resized_tensor(images: list, side: int) -> torch.Tensor:
    """(N, 3, side, side) of 0 to 1, of RGB images; plain resize, as in the official evaluation."""
    resized = [image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC) for image in images]
    return torch.from_numpy(numpy.stack([numpy.asarray(image) for image in resized])).permute(0, 3, 1, 2) / 255


class Lpips(nn.Module):
    """LPIPS (Zhang et al. 2018) as a vector: the distance of two images is |a − b|² of theirs.

    Σ over layers l of the mean over positions of Σ_c w_lc (f_lc − g_lc)², f and g with unit length over c; so each
    layer's f·√w / √positions goes into the vector.
    """

    def __init__(self, slices: list[nn.Module], channels: tuple[int, ...]):
        super().__init__()
        self.slices = nn.ModuleList(slices)
        self.weights = nn.ParameterList(nn.Parameter(torch.zeros(count)) for count in channels)
        self.register_buffer("shift", torch.tensor(SHIFT)[:, None, None])
        self.register_buffer("scale", torch.tensor(SCALE)[:, None, None])

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(N, 3, height, width) of −1 to 1 to (N, d)."""
        found, x = [], (pixels - self.shift) / self.scale
        for part, weight in zip(self.slices, self.weights, strict=True):
            x = part(x)
            unit = x / (x.norm(dim=1, keepdim=True) + 1e-10)
            found.append((unit * (weight / x[0, 0].numel()).sqrt()[:, None, None]).flatten(1))
        return torch.cat(found, 1)


def lpips_vgg(backbone: dict, layers: dict) -> Lpips:
    """From torchvision's vgg16 weights and lpips' v0.1 linear layers."""
    channels = (64, 128, 256, 512, 512)
    slices, index, before = [], 0, 3
    for level, (width, count) in enumerate(zip(channels, (2, 2, 3, 3, 3), strict=True)):
        part = nn.Sequential()
        if level:
            part.append(nn.MaxPool2d(2))
            index += 1
        for _ in range(count):
            conv = nn.Conv2d(before, width, 3, padding=1)
            conv.load_state_dict({name: backbone[f"features.{index}.{name}"] for name in ("weight", "bias")})
            part.extend([conv, nn.ReLU()])
            index, before = index + 2, width
        slices.append(part)
    return with_layers(Lpips(slices, channels), layers)


def st_lpips(state: dict) -> Lpips:
    """Shift-tolerant LPIPS (Ghildyal and Liu 2022), AlexNet, from stlpips-pytorch's alex_shift_tolerant.pth."""
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


class SameConv(nn.Conv2d):
    """TensorFlow's SAME padding on sides that the stride divides: what is odd goes right and below."""

    def __init__(self, before: int, after: int, kernel: int, stride: int = 1, groups: int = 1):
        super().__init__(before, after, kernel, stride, groups=groups, bias=False)
        total = kernel - stride
        self.around = (total // 2, total - total // 2) * 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(functional.pad(x, self.around))


class Bottleneck(nn.Module):
    """EfficientNet-Lite's inverted bottleneck: no squeeze-and-excitation, ReLU6."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, expand: int):
        super().__init__()
        wide = before * expand
        if expand > 1:
            self._expand_conv, self._bn0 = SameConv(before, wide, 1), nn.BatchNorm2d(wide, eps=1e-3)
        self._depthwise_conv, self._bn1 = SameConv(wide, wide, kernel, stride, wide), nn.BatchNorm2d(wide, eps=1e-3)
        self._project_conv, self._bn2 = SameConv(wide, after, 1), nn.BatchNorm2d(after, eps=1e-3)
        self.expand, self.skip = expand > 1, stride == 1 and before == after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.relu6(self._bn0(self._expand_conv(x))) if self.expand else x
        y = functional.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.skip else y


class EfficientNetLite0(nn.Module):
    """ImageNet classifier of 4.7 M parameters, for 224 × 224 pixels of (x − 127) / 128."""

    BLOCKS = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112))
    BLOCKS += ((4, 5, 2, 6, 192), (1, 3, 1, 6, 320))  # how many, kernel, stride of the first, expansion, channels

    def __init__(self):
        super().__init__()
        self._conv_stem, self._bn0 = SameConv(3, 32, 3, 2), nn.BatchNorm2d(32, eps=1e-3)
        self._blocks, before = nn.ModuleList(), 32
        for count, kernel, stride, expand, after in self.BLOCKS:
            for index in range(count):
                self._blocks.append(Bottleneck(before, after, kernel, 1 if index else stride, expand))
                before = after
        self._conv_head, self._bn1 = SameConv(320, 1280, 1), nn.BatchNorm2d(1280, eps=1e-3)
        self._fc = nn.Linear(1280, 1000)

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """(N, 3, 224, 224) to the pooled (N, 1280)."""
        x = functional.relu6(self._bn0(self._conv_stem(pixels)))
        for block in self._blocks:
            x = block(x)
        return functional.relu6(self._bn1(self._conv_head(x))).mean((2, 3))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self._fc(self.features(pixels))
